"""Figures of calibration."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.plots.style import NEUTRAL, REFERENCE, SPLIT_COLOURS, empty_figure, styled


def reliability_diagram(before: pd.DataFrame, after: pd.DataFrame | None = None) -> go.Figure:
    """How often samples of a score have the label: a point a bin with its interval, above the bins' counts.

    Args:
        before: `medwb.calibration.reliability` of one label's scores as they are.
        after: The same of its calibrated scores, best those that were cross-fitted; None for none.
    """
    if before.empty:
        return empty_figure("No sample of this label is known.")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.04)
    line = {"color": NEUTRAL, "dash": "dot", "width": 1.5}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="Calibrated", line=line, hoverinfo="skip", row=1, col=1)
    shown = [("As they are", before, REFERENCE, "circle-open")]
    if after is not None and not after.empty:
        shown.append(("Calibrated, cross-fitted", after, SPLIT_COLOURS["train"], "circle"))
    for name, bins, colour, symbol in shown:
        facts = bins[["low", "high", "count", "units", "positives", "share_low", "share_high"]]
        figure.add_scatter(
            x=bins["score"],
            y=bins["share"],
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 9, "symbol": symbol, "color": colour},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": bins["share_high"] - bins["share"],
                "arrayminus": bins["share"] - bins["share_low"],
                "color": colour,
                "thickness": 1.2,
                "width": 3,
            },
            customdata=facts,
            hovertemplate="mean score %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<br>share of positives "
            "%{y:.3f}, 95 % interval %{customdata[5]:.3f} to %{customdata[6]:.3f}<br>%{customdata[4]} of "
            "%{customdata[2]} samples, %{customdata[3]} units<extra></extra>",
            row=1,
            col=1,
        )
        figure.add_bar(
            x=bins["score"],
            y=bins["count"],
            width=0.012,
            marker={"color": colour},
            showlegend=False,
            hovertemplate="%{y} samples of mean score %{x:.3f}<extra></extra>",
            row=2,
            col=1,
        )
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_xaxes(title="Mean score of the bin", row=2, col=1)
    figure.update_yaxes(title="Share of positives (95 % interval)", range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(title="Samples", row=2, col=1)
    figure.update_layout(barmode="overlay")
    return styled(figure, height=460)
