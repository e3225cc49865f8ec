"""Figures of runs: training curves and scores."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.plots.style import NEUTRAL, REFERENCE, RUN_PALETTE, empty_figure, escape, label_colours, plain, styled
from medwb.table import ScoreTable, column_title, score_title

__all__ = ["row_names", "score_bars", "score_title", "training_curves"]

_HISTORY_TITLES = {"loss": "Cross-entropy, nats", "f1": "Macro F1 at 0.5", "accuracy": "Accuracy at 0.5"}


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
                    name=escape(name),
                    mode="lines+markers",
                    line={"color": colour, "dash": dash, "width": 2},
                    marker={"size": 5},
                    legendgroup=name,
                    showlegend=column == 1 and side == "val",
                    hovertemplate=f"{escape(name)}<br>epoch %{{x}}, {side} {quantity} %{{y:.4f}}<extra></extra>",
                    row=1,
                    col=column,
                )
    last = max(int(history["epoch"].max()) for history in shown.values())
    for column, quantity in enumerate(("loss", metric), start=1):
        figure.update_xaxes(title="Epoch (dotted: train, solid: validation)", col=column, dtick=-(-last // 12))
        figure.update_yaxes(title=_HISTORY_TITLES[quantity], col=column)
    return styled(figure, height=340)


def score_bars(table: ScoreTable, columns: Sequence[str] | None = None) -> go.Figure:
    """Scores of each architecture as grouped bars with their 95 % intervals, the study's score as a marker.

    What lies above a ceiling below 1 is hatched: no function of the image gets there.

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
    averages = [column for column in columns if ":" not in column]
    colours_of_averages = dict(zip(averages, [NEUTRAL, *RUN_PALETTE * len(averages)], strict=False))
    names = plain(row_names(rows), line_break=True)
    figure = go.Figure()
    for column in columns:
        title = column_title(column)
        figure.add_bar(
            x=names,
            y=rows[column],
            name=escape(title),
            offsetgroup=column,
            marker_color=colours_of_averages.get(column) or colours.get(column.partition(":")[2], NEUTRAL),
            error_y={
                "type": "data",
                "array": rows[f"{column}_high"] - rows[column],
                "arrayminus": rows[column] - rows[f"{column}_low"],
                "color": "#52606D",
                "thickness": 1.5,
                "width": 3,
            },
            customdata=rows[[f"{column}_low", f"{column}_high", "runs"]].to_numpy(np.float64),
            hovertemplate=f"%{{x}}<br>{escape(title)} %{{y:.3f}}, 95 % interval %{{customdata[0]:.3f}} to "
            "%{customdata[1]:.3f}<br>runs: %{customdata[2]}<extra></extra>",
        )
    capped = {column: limit for column, limit in table.capped.items() if column in columns}
    for place, (column, limit) in enumerate(capped.items()):
        figure.add_bar(
            x=names,
            y=[1 - limit] * len(names),
            base=limit,
            name="Out of reach: identical scans contradict",
            offsetgroup=column,
            legendgroup="ceiling",
            showlegend=place == 0,
            marker={
                "color": "rgba(0,0,0,0)",
                "pattern": {"shape": "/", "size": 5, "solidity": 0.2, "fgcolor": NEUTRAL},
                "line": {"color": NEUTRAL, "width": 1},
            },
            hovertemplate=f"Ceiling of {escape(score_title(column))}: {table.ceiling_text(column)}<br>"
            f"{table.contradictory:,} scans of {table.split} are identical images whose labels contradict,<br>"
            "so no function of the image scores higher<extra></extra>",
        )
    if any(column.startswith("f1:") or column.endswith("_f1") for column in columns):
        figure.add_scatter(
            x=names,
            y=rows["reference_score"],
            name="Reference study's F1",
            mode="markers",
            marker={"symbol": "diamond", "size": 11, "color": REFERENCE, "line": {"color": "white", "width": 1.5}},
            hovertemplate="%{x}<br>reported by the reference study: %{y:.3f}<extra></extra>",
        )
    lowest = min(0.0, *(float(rows[f"{column}_low"].min(skipna=True)) for column in columns))
    axis = {"title": "Score (95 % interval)", "range": [1.04 * lowest, 1.04]}
    figure.update_layout(barmode="group", bargap=0.25, yaxis=axis)
    return styled(figure, height=420)


def row_names(rows: pd.DataFrame) -> list[str]:
    """What a figure calls each row of a ScoreTable: title, then its settings on a second line."""
    return [
        title + (f"\n{settings}" if settings else "")
        for title, settings in zip(rows["title"], rows["settings"], strict=True)
    ]
