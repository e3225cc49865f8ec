"""Figures of what augmentation does to scans."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from medwb.plots.style import NEUTRAL, REFERENCE, SPLIT_COLOURS, empty_figure, escape, styled

BEFORE_AFTER = {"before": NEUTRAL, "after": SPLIT_COLOURS["train"]}
"""Colours of `medwb.augment.preview.histograms`, for `intensity_histograms`."""

_BINS = 20


def kept_histogram(shares: npt.NDArray[np.float64], warned_below: float = 0.2) -> go.Figure:
    """How much of the foreground the draws leave: a bar a twentieth.

    Args:
        shares: float64 (n,) in 0..1, without NaN.
        warned_below: Shares below this are drawn in the colour of a warning.
    """
    if not len(shares):
        return empty_figure("No scan has a foreground to measure.")
    counts, edges = np.histogram(shares, _BINS, (0, 1))
    centres = (edges[:-1] + edges[1:]) * 50
    figure = go.Figure()
    figure.add_bar(
        x=centres,
        y=counts * 100 / len(shares),
        width=100 / _BINS * 0.92,
        marker={
            "color": [REFERENCE if centre < warned_below * 100 else SPLIT_COLOURS["train"] for centre in centres]
        },
        hovertemplate="%{y:.1f} % of the draws leave about %{x:.0f} %<extra></extra>",
        showlegend=False,
    )
    mean = float(shares.mean()) * 100
    figure.add_vline(x=mean, line={"color": NEUTRAL, "dash": "dot"}, annotation_text=f"mean {mean:.0f} %")
    figure.update_xaxes(title="Share of the foreground that is left, %", range=[0, 100])
    figure.update_yaxes(title="Share of the draws, %")
    return styled(figure, height=300)


def taken_bars(names: Sequence[str], taken: Sequence[float]) -> go.Figure:
    """How much more of the foreground would be left without each transform.

    Args:
        names: A transform each.
        taken: Differences of shares; a step that brings something back has less than 0.
    """
    if not names:
        return empty_figure("No step is switched on.")
    figure = go.Figure()
    figure.add_bar(
        x=[100 * share for share in taken],
        y=[escape(name) for name in names],
        orientation="h",
        marker={"color": SPLIT_COLOURS["train"]},
        hovertemplate="without %{y}, %{x:+.1f} points more<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title="Left without it, points more")
    figure.update_yaxes(autorange="reversed", type="category")
    return styled(figure, height=90 + 26 * len(names))


def preservation_lines(
    table: pd.DataFrame, colours: Mapping[str, str], unit: str = "", neutral: float | None = None
) -> go.Figure:
    """How well a run tells each label apart along a slider: crosses where a label is harmed, triangles where it is
    lower than unchanged but not harmed.

    Args:
        table: Rows of one slider of `medwb.augment.preservation.Preservation.table`: `value`, `label`, `auc`, `low`,
            `high`, `harmed`, `lower`.
        colours: Label to colour.
        unit: Of the values.
        neutral: The position that changes nothing.
    """
    if table.empty:
        return empty_figure("Nothing was tested.")
    figure = go.Figure()
    for label, part in table.groupby("label", sort=False):
        colour = colours.get(str(label), NEUTRAL)
        marks = np.select([part["harmed"], part["lower"]], ["x", "triangle-down"], "circle")
        figure.add_scatter(
            x=part["value"],
            y=part["auc"],
            error_y={"array": part["high"] - part["auc"], "arrayminus": part["auc"] - part["low"], "thickness": 1},
            name=escape(str(label)),
            mode="lines+markers",
            line={"color": colour},
            marker={
                "size": [6 if mark == "circle" else 11 for mark in marks],
                "symbol": list(marks),
                "color": [REFERENCE if mark == "x" else colour for mark in marks],
            },
            hovertemplate="%{y:.3f} at %{x:g} " + escape(unit),
        )
    if neutral is not None:
        figure.add_vline(x=neutral, line={"color": NEUTRAL, "dash": "dot"})
    figure.update_xaxes(title=escape(f"Position of the slider, {unit}".removesuffix(", ")))
    figure.update_yaxes(title="ROC AUC, 95 % interval")
    return styled(figure, height=340)
