"""Figures of pixels."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from medwb.plots.style import NEUTRAL, empty_figure, escape, styled


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
            name=escape(group),
            mode="lines",
            line={"color": colours.get(group, NEUTRAL), "shape": "hvh", "width": 2},
            hovertemplate="%{y:.3f} % of pixels near %{x:.0f}",
        )
    figure.update_layout(hovermode="x unified")
    figure.update_yaxes(title="Share of pixels, % (log scale)", type="log")
    figure.update_xaxes(title="Intensity, 0 (black) to 255 (white)", range=[0, 255])
    return styled(figure, height=360)
