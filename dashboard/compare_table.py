"""The table of scores on the page Compare: which columns, its chart, and the files that leave the workbench."""

import json

import controls
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.dataset import Dataset
from medwb.metrics import METRICS
from medwb.table import AGREEING, FACTS, ScoreTable, all_columns, column_title

_FEW_LABELS = 5  # with more labels, the F1 of each is chosen, not shown from the start
_BARS = 6  # scores that a chart shows at most: more bars an architecture cannot be read


def panel(data: Dataset, table: ScoreTable) -> None:
    """Draw the table with its columns to choose, its notes, its downloads and its chart."""
    columns = _chosen(table)
    _dataframe(table, columns)
    _notes(data, table)
    _downloads(table, columns)
    scores = [column for column in columns if column not in FACTS]
    unchanged = set(scores) >= set(table.default_columns) - set(FACTS)
    _chart(table, None if unchanged else scores[:_BARS])


def _chosen(table: ScoreTable) -> list[str]:
    """The columns that the user wants, in the order of the choice."""
    start = table.default_columns
    if len(table.label_names) > _FEW_LABELS:
        start = [column for column in start if not column.startswith("f1:")]
    start = ["macro_f1", *(column for column in start if column != "macro_f1")]
    options = [column for column in all_columns(table.label_names) if column != AGREEING or table.contradictory]
    columns: list[str] = st.multiselect(
        "Columns",
        options,
        start,
        format_func=column_title,
        key=f"table-columns-{table.dataset}-{'disputed' if table.contradictory else 'agreed'}",
        persist_state="session",
        help="Every score, averaged over labels or of one label, and facts of the runs. ↓: lower is better.",
    )
    return [column for column in columns if column != "runs"] or ["macro_f1"]


def _dataframe(table: ScoreTable, columns: list[str]) -> None:
    """Each score with its interval, in fixed digits, so that a click on a title sorts by value."""
    rows = table.rows
    marks = ["⚠ " if collapsed else "" for collapsed in rows["collapsed"]]
    shown = pd.DataFrame(
        {
            "Architecture": [f"{mark}{title}" for mark, title in zip(marks, rows["title"], strict=True)],
            "Settings": rows["settings"].replace("", "default"),
            "Runs": rows["runs"].astype("Int64"),
        }
    )
    scores = [column for column in columns if column not in FACTS]
    texts = pd.DataFrame(table.texts(scores), columns=pd.Index(scores))
    for column in columns:
        shown[column_title(column)] = rows[column] if column in FACTS else texts[column]
    if table.capped:
        limits = {column_title(column): table.ceiling_text(column) for column in scores}
        shown = pd.concat([shown, pd.DataFrame([{"Architecture": "Ceiling", "Settings": "", **limits}])])
    formats = {",.0f": "localized", ".0f": "%.0f", ".1f": "%.1f", ".3f": "%.3f"}
    config = {
        "Architecture": st.column_config.TextColumn(
            pinned=True,
            help="⚠ collapsed: one answer for every image. Ceiling: the best any function of the image can reach.",
        )
    }
    for column in columns:
        if column in FACTS:
            fact = FACTS[column]
            config[fact.title] = st.column_config.NumberColumn(format=formats[fact.spec], help=fact.help)
        else:
            config[column_title(column)] = st.column_config.TextColumn(help=_explained(column))
    st.dataframe(
        shown,
        hide_index=True,
        placeholder="–",
        height="content" if len(shown) <= 12 else 460,
        column_config=config,
    )


def _explained(column: str) -> str:
    """What a score is, in a sentence."""
    if column == AGREEING:
        return "Macro F1 without identical scans whose labels contradict."
    entry = METRICS.get(column.partition(":")[0])
    mean = " Mean over labels." if entry.kind == "label" and ":" not in column else ""
    return controls.plain(f"{entry.summary}{mean}")


def _notes(data: Dataset, table: ScoreTable) -> None:
    if table.capped:
        limits = (f"{controls.plain(column_title(name))} {table.ceiling_text(name)}" for name in table.capped)
        st.caption(
            f"**Ceiling**, the best that any function of the image can reach on {table.split}, whatever the "
            f"threshold: {' · '.join(limits)}. Intervals may reach above it: each replicate draws other samples."
        )
    for note in table.notes:
        st.warning(controls.plain(note), icon=":material/info:")
    st.caption(
        f"Threshold 0.5; 95 % bootstrap intervals over {table.drawn} of {controls.plain(data.name)} and seeds. "
        "A row with one run does not show how much the seed matters."
    )


def _downloads(table: ScoreTable, columns: list[str]) -> None:
    """Files with the chosen columns; CSV and JSON have all. They are made when they are asked for."""
    name = f"{table.dataset}-{table.split}-table"
    files = {
        "CSV": (table.to_csv, "csv", "text/csv"),
        "Markdown": (lambda: table.to_markdown(columns), "md", "text/markdown"),
        "LaTeX": (lambda: table.to_latex(columns), "tex", "application/x-tex"),
        "JSON": (lambda: json.dumps(table.to_json(), indent=1, allow_nan=False), "json", "application/json"),
    }
    for place, (title, (make, ending, kind)) in zip(st.columns([1, 1, 1, 1, 2]), files.items(), strict=False):
        place.download_button(
            title, make, f"{name}.{ending}", kind, icon=":material/download:", width="stretch", key=f"table-{ending}"
        )


def _chart(table: ScoreTable, columns: list[str] | None) -> None:
    st.subheader("Scores by architecture")
    if columns == []:
        st.info("Choose a score above to see it as a chart.", icon=":material/bar_chart:")
        return
    figure = plots.score_bars(table, columns)
    saves, button, _ = st.columns([2, 1, 3], vertical_alignment="bottom")
    kind = saves.segmented_control(
        "The chart's camera saves", ["png", "svg"], default="png", required=True, format_func=str.upper, key="camera"
    )
    name = f"{table.dataset}-{table.split}-scores"
    camera = {"toImageButtonOptions": {"format": kind, "filename": name, "scale": 2}, "displaylogo": False}
    button.download_button(
        "HTML", lambda: figure.to_html(include_plotlyjs=True, config=camera), f"{name}.html", "text/html",
        icon=":material/download:", width="stretch", key="scores-html",
        help="The chart as a page of its own, which needs no network.",
    )  # fmt: skip
    st.plotly_chart(figure, key="scores", config=camera)
