"""One function a figure: data in, plotly Figure out.

A split and a label have the same colour in every figure. The colours are told apart by colour-blind readers:
Okabe and Ito's for splits, Paul Tol's "bright" and "light" schemes for labels and his "vibrant" one for runs. Text
from a dataset is escaped, because plotly reads a subset of HTML. A figure without data says so instead of showing
empty axes.
"""

import html
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.dataset import Dataset
from medwb.table import SCORE_TITLES, ScoreTable

SPLIT_COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}
LABEL_PALETTE = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
    *("#EE8866", "#77AADD", "#44BB99", "#AAAA00", "#FFAABB", "#99DDFF", "#BBCC33", "#EEDD88"),
)
RUN_PALETTE = ("#0077BB", "#EE7733", "#009988", "#CC3311", "#33BBEE", "#EE3377")
NEUTRAL = "#7B8794"
REFERENCE = "#D55E00"
SEQUENTIAL = "Blues"

_HISTORY_TITLES = {"loss": "Cross-entropy, nats", "f1": "Macro F1 at 0.5", "accuracy": "Accuracy at 0.5"}


def label_colours(label_names: Sequence[str]) -> dict[str, str]:
    """The colour of each label: by its place among the dataset's labels, the palette repeating after 14."""
    return dict(zip(label_names, cycle(LABEL_PALETTE), strict=False))


def label_counts(dataset: Dataset) -> pd.DataFrame:
    """How often each label is what in each split.

    Returns:
        One row a label and split: `label`, `split`, `positive`, `negative`, `unknown` (int), and `share` (float):
        positives of those known, NaN where nothing is known.
    """
    rows = []
    counts = dataset.count_labels()
    for split in dataset.splits:
        for label in dataset.label_names:
            positive, negative, unknown = counts[label][split].values()
            share = positive / (positive + negative) if positive + negative else np.nan
            rows.append((label, split, positive, negative, unknown, share))
    return pd.DataFrame(rows, columns=["label", "split", "positive", "negative", "unknown", "share"])


def label_set_counts(dataset: Dataset) -> pd.DataFrame:
    """How often each combination of positive labels occurs.

    Returns:
        One row a combination, the commonest first: `labels` (text: "a + b", "no finding", "nothing known"), an int
        column a split, `total` (int) and `share` (float, of all samples). Unknown labels count as not positive.
    """
    values = dataset.labels
    powers = np.array([1 << bit for bit in range(len(dataset.label_names))], dtype=object)
    code = ((values == 1) * powers).sum(1) if len(powers) > 62 else (values == 1) @ powers.astype(np.int64)
    code = np.where(np.isnan(values).all(1), -1, code)
    table = pd.crosstab(pd.Series(code, name="code"), dataset.samples["split"].reset_index(drop=True))
    table = table[[split for split in dataset.splits if split in table]].assign(total=lambda t: t.sum(axis=1))
    table = table.sort_values("total", ascending=False, kind="stable")
    names = [_label_set(int(number), dataset.label_names) for number in table.index]
    table.insert(0, "labels", names)
    return table.assign(share=table["total"] / max(len(dataset), 1)).reset_index(drop=True).rename_axis(columns=None)


def cooccurrence_counts(dataset: Dataset, *, conditional: bool = False) -> pd.DataFrame:
    """How often labels are positive together.

    Args:
        dataset: What to count.
        conditional: Shares instead of counts: of the samples where the row's label is positive and the column's
            is known, the share where the column's is positive; NaN where there is no such sample.

    Returns:
        Square, label names on both sides. Counts have the label's positives on the diagonal.
    """
    positive = (dataset.labels == 1).astype(np.float64)
    together = positive.T @ positive
    if conditional:
        base = positive.T @ (~np.isnan(dataset.labels)).astype(np.float64)
        together = np.divide(together, base, out=np.full_like(together, np.nan), where=base > 0)
    names = list(dataset.label_names)
    return pd.DataFrame(together if conditional else together.astype(int), index=names, columns=names)


def label_prevalence(counts: pd.DataFrame, *, unit: Literal["share", "count"] = "share") -> go.Figure:
    """Positives, negatives and unknowns of each label, one stacked bar a split.

    Args:
        counts: As `label_counts` gives it.
        unit: Height of a bar: "share" of the split's samples, or "count".
    """
    if counts.empty:
        return empty_figure("The dataset has no labels to count.")
    figure = go.Figure()
    patterns = {"positive": ("", 1.0), "negative": ("", 0.28), "unknown": ("/", 0.12)}
    for split in counts["split"].unique():
        part = counts[counts["split"] == split]
        total = part[["positive", "negative", "unknown"]].sum(axis=1)
        for answer, (pattern, opacity) in patterns.items():
            if not part[answer].any():
                continue
            shown = part[answer] / total * 100 if unit == "share" else part[answer]
            figure.add_bar(
                x=_plain(part["label"]),
                y=shown,
                name=split,
                showlegend=answer == "positive",
                offsetgroup=split,
                legendgroup=split,
                marker={"color": SPLIT_COLOURS[split], "opacity": opacity, "pattern_shape": pattern},
                text=[_percent(share) for share in part["share"]] if answer == "positive" else None,
                textposition="inside" if len(counts) <= 18 else "none",
                textangle=0,
                insidetextanchor="end",
                customdata=np.stack([part[answer], part["share"] * 100, total], axis=1),
                hovertemplate=f"%{{x}}<br>{split}: %{{customdata[0]:,}} {answer} of %{{customdata[2]:,}} samples"
                "<br>%{customdata[1]:.1f} % positive of those known<extra></extra>",
            )
    key = "solid: positive, pale: negative" + (", hatched: unknown" if counts["unknown"].any() else "")
    title = "Share of samples, %" if unit == "share" else "Samples"
    axis = {"title": f"{title}<br>{key}", "range": _share_range(counts["share"]) if unit == "share" else None}
    return _styled(figure, height=380).update_layout(barmode="stack", yaxis=axis, xaxis={"title": "Label"})


def cooccurrence(matrix: pd.DataFrame, *, conditional: bool = False) -> go.Figure:
    """Matrix of labels that are positive together, as `cooccurrence_counts` gives it (same `conditional`)."""
    if matrix.empty:
        return empty_figure("The dataset has no labels to compare.")
    values = matrix.to_numpy(np.float64) * (100 if conditional else 1)
    unit = "%{z:.1f} % of its positives" if conditional else "%{z:,} samples"
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=_plain(matrix.columns),
            y=_plain(matrix.index),
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=100 if conditional else max(1.0, float(np.nanmax(values))),
            texttemplate="%{z:.0f}" if conditional else "%{z:,}",
            hovertemplate=f"%{{y}} with %{{x}}<br>{unit}<extra></extra>",
            colorbar={"title": "%" if conditional else "samples", "thickness": 12},
            xgap=2,
            ygap=2,
        )
    )
    figure.update_yaxes(autorange="reversed", title="Given this label" if conditional else "Label")
    figure.update_xaxes(title="share with this label" if conditional else "Label")
    return _styled(figure, height=max(320, 150 + 26 * len(matrix)))


def label_sets(table: pd.DataFrame, *, top: int = 12) -> go.Figure:
    """The commonest label combinations, stacked by split, as `label_set_counts` gives them."""
    if table.empty:
        return empty_figure("The dataset has no samples.")
    shown = table.head(top).iloc[::-1]
    splits = [split for split in SPLIT_COLOURS if split in shown]
    figure = go.Figure()
    for split in splits:
        figure.add_bar(
            y=_plain(_shorten(shown["labels"])),
            x=shown[split],
            name=split,
            orientation="h",
            marker_color=SPLIT_COLOURS[split],
            customdata=_plain(shown["labels"]),
            hovertemplate=f"%{{customdata}}<br>{split}: %{{x:,}} samples<extra></extra>",
        )
    figure.add_scatter(
        y=_plain(_shorten(shown["labels"])),
        x=shown["total"],
        mode="text",
        text=[f" {_percent(share)}" for share in shown["share"]],
        textposition="middle right",
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(barmode="stack", xaxis={"title": "Samples"}, yaxis={"title": "Positive labels"})
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(range=[0, float(shown["total"].max()) * 1.15])
    return _styled(figure, height=max(320, 130 + 24 * len(shown)))


def intensity_histograms(table: pd.DataFrame, colours: Mapping[str, str]) -> go.Figure:
    """How bright pixels are, one line a group.

    Args:
        table: As `medwb.gallery.intensity_table` gives it: `group`, `intensity` (0..255, a bin's centre), `share`.
        colours: Group (a split or a label) to colour; others are grey.
    """
    if table.empty:
        return empty_figure("There are no images to measure.")
    figure = go.Figure()
    for group in table["group"].unique():
        part = table[table["group"] == group]
        figure.add_scatter(
            x=part["intensity"],
            y=part["share"] * 100,
            name=_escape(group),
            mode="lines",
            line={"color": colours.get(group, NEUTRAL), "shape": "hvh", "width": 2},
            hovertemplate="%{y:.3f} % of pixels near %{x:.0f}",
        )
    figure.update_layout(hovermode="x unified")
    figure.update_yaxes(title="Share of pixels, % (log scale)", type="log")
    figure.update_xaxes(title="Intensity, 0 (black) to 255 (white)", range=[0, 255])
    return _styled(figure, height=360)


def training_curves(histories: Mapping[str, pd.DataFrame], *, metric: str = "f1") -> go.Figure:
    """Loss and one more quantity over the epochs of several runs: train dotted, validation solid.

    Args:
        histories: Name of a run to its `Run.history()`; runs without an epoch yet are left out.
        metric: "f1" or "accuracy": what the second panel shows; for "loss" it shows f1.
    """
    shown = {name: history for name, history in histories.items() if not history.empty}
    if not shown:
        return empty_figure("No epoch is done yet.")
    metric = "f1" if metric == "loss" else metric
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.1)
    lines = [
        (f"{name} · {head}" if history["head"].nunique() > 1 else name, part)
        for name, history in shown.items()
        for head, part in history.groupby("head", sort=False)
    ]
    for (name, part), colour in zip(lines, cycle(RUN_PALETTE), strict=False):
        for column, quantity in enumerate(("loss", metric), start=1):
            for side, dash in (("train", "dot"), ("val", "solid")):
                figure.add_scatter(
                    x=part["epoch"],
                    y=part[f"{side}_{quantity}"],
                    name=_escape(name),
                    mode="lines+markers",
                    line={"color": colour, "dash": dash, "width": 2},
                    marker={"size": 5},
                    legendgroup=name,
                    showlegend=column == 1 and side == "val",
                    hovertemplate=f"{_escape(name)}<br>epoch %{{x}}, {side} {quantity} %{{y:.4f}}<extra></extra>",
                    row=1,
                    col=column,
                )
    last = max(int(history["epoch"].max()) for history in shown.values())
    for column, quantity in enumerate(("loss", metric), start=1):
        figure.update_xaxes(title="Epoch (dotted: train, solid: validation)", col=column, dtick=-(-last // 12))
        figure.update_yaxes(title=_HISTORY_TITLES[quantity], col=column)
    return _styled(figure, height=340)


def score_bars(table: ScoreTable, columns: Sequence[str] | None = None) -> go.Figure:
    """Scores of each architecture as grouped bars with their 95 % intervals, the study's score as a marker.

    Args:
        table: The scores.
        columns: Score columns of the table; None takes macro F1 and, for up to five labels, F1 of each label.
    """
    if table.rows.empty:
        return empty_figure("No run has finished yet.")
    if columns is None:
        per_label = [f"f1:{label}" for label in table.label_names] if len(table.label_names) <= 5 else []
        columns = [*per_label, "macro_f1"]
    rows, colours = table.rows, label_colours(table.label_names)
    names = _plain(row_names(rows), line_break=True)
    figure = go.Figure()
    for column in columns:
        title = score_title(column)
        figure.add_bar(
            x=names,
            y=rows[column],
            name=_escape(title),
            marker_color=colours.get(column.removeprefix("f1:"), NEUTRAL),
            error_y={
                "type": "data",
                "array": rows[f"{column}_high"] - rows[column],
                "arrayminus": rows[column] - rows[f"{column}_low"],
                "color": "#52606D",
                "thickness": 1.5,
                "width": 3,
            },
            customdata=rows[[f"{column}_low", f"{column}_high", "runs"]].to_numpy(np.float64),
            hovertemplate=f"%{{x}}<br>{_escape(title)} %{{y:.3f}}, 95 % interval %{{customdata[0]:.3f}} to "
            "%{customdata[1]:.3f}<br>runs: %{customdata[2]}<extra></extra>",
        )
    figure.add_scatter(
        x=names,
        y=rows["reference_score"],
        name="Reference study's F1",
        mode="markers",
        marker={"symbol": "diamond", "size": 11, "color": REFERENCE, "line": {"color": "white", "width": 1.5}},
        hovertemplate="%{x}<br>reported by the reference study: %{y:.3f}<extra></extra>",
    )
    figure.update_layout(barmode="group", bargap=0.25, yaxis={"title": "Score (95 % interval)", "range": [0, 1.04]})
    return _styled(figure, height=420)


def score_title(column: str) -> str:
    """How a score column of a ScoreTable is written: "f1:a" as "F1 a"."""
    return f"F1 {column.removeprefix('f1:')}" if column.startswith("f1:") else SCORE_TITLES.get(column, column)


def row_names(rows: pd.DataFrame) -> list[str]:
    """What a figure calls each row of a ScoreTable: title, then its settings on a second line."""
    return [
        title + (f"\n{settings}" if settings else "")
        for title, settings in zip(rows["title"], rows["settings"], strict=True)
    ]


def empty_figure(message: str) -> go.Figure:
    """A figure without data that says why."""
    figure = go.Figure().add_annotation(text=_escape(message), showarrow=False, font={"size": 15, "color": NEUTRAL})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return _styled(figure, height=220)


def _styled(figure: go.Figure, *, height: int) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
    )


def _share_range(shares: pd.Series) -> list[float]:
    """0 to 100 %, or less where every label is rare and its bar would be a line on the ground."""
    top = float(np.nan_to_num(shares).max())
    return [0, 100] if top >= 0.4 or top == 0 else [0, 130 * top]


def _label_set(code: int, label_names: Sequence[str]) -> str:
    if code < 0:
        return "nothing known"
    return " + ".join(name for bit, name in enumerate(label_names) if code >> bit & 1) or "no finding"


def _shorten(names: pd.Series, width: int = 34) -> list[str]:
    """Cut long names in the middle, unless two would then look the same."""
    short = [name if len(name) <= width else f"{name[: width - 13]}…{name[-12:]}" for name in names]
    return short if len(set(short)) == len(short) else list(names)


def _percent(share: float) -> str:
    if np.isnan(share):
        return "unknown"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def _escape(text: str) -> str:
    return html.escape(str(text), quote=False)


def _plain(texts: Sequence[str] | pd.Series | pd.Index, *, line_break: bool = False) -> list[str]:
    escaped = [_escape(text) for text in texts]
    return [text.replace("\n", "<br>") for text in escaped] if line_break else escaped
