"""The map of a run's features."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from medwb.errors import unknown_name
from medwb.plots.style import NEUTRAL, SPLIT_COLOURS, empty_figure, escape, plain, styled

COLOURS = {"outcome": "Outcome", "truth": "Truth", "score": "Score", "split": "Split"}
"""What points can be coloured by."""

# Okabe and Ito; the errors are the strong ones, and each has a sign of its own beside its colour.
_OUTCOMES = {
    "true negative": ("#56B4E9", "circle"),
    "true positive": ("#0072B2", "square"),
    "false negative": ("#E69F00", "diamond"),
    "false positive": ("#D55E00", "triangle-up"),
    "unknown": (NEUTRAL, "x-thin-open"),
}
_TRUTHS = {
    "negative": ("#56B4E9", "circle"),
    "positive": ("#D55E00", "diamond"),
    "unknown": (NEUTRAL, "x-thin-open"),
}
_MANY = 2_000  # points from which on WebGL draws them


def embedding_map(
    table: pd.DataFrame, axes: tuple[str, str], colour: str = "outcome", *, label: str = ""
) -> go.Figure:
    """Scans by their place on the map; each point's `customdata` is its id, by which a selection is read.

    Args:
        table: As `medwb.embedding.map_table` makes it.
        axes: Titles of the axes.
        colour: A key of `COLOURS`.
        label: What truth, score and outcome are of, for the text.

    Raises:
        RequestError: Unknown colour.
    """
    if colour not in COLOURS:
        raise unknown_name("colour", colour, COLOURS)
    if table.empty:
        return empty_figure("No scan to show.")
    figure = go.Figure()
    scatter = go.Scattergl if len(table) > _MANY else go.Scatter
    size = 7 if len(table) < 500 else 5 if len(table) < 5_000 else 3.5
    if colour == "score":
        scale = {"title": {"text": "Score"}, "thickness": 12}
        marker = {"color": table["score"], "colorscale": "Viridis", "cmin": 0, "cmax": 1, "colorbar": scale}
        figure.add_trace(_points(scatter, table, "", {**marker, "size": size}))
        figure.update_traces(showlegend=False)
    else:
        looks = {
            "outcome": _OUTCOMES,
            "truth": _TRUTHS,
            "split": {split: (shade, "circle") for split, shade in SPLIT_COLOURS.items()},
        }[colour]
        for name, (shade, symbol) in looks.items():
            part = table[table[colour] == name]
            if len(part):
                marker = {"color": shade, "symbol": symbol, "size": size, "opacity": 0.8}
                if symbol == "x-thin-open":
                    marker["line"] = {"width": 1.5, "color": shade}
                figure.add_trace(_points(scatter, part, f"{name} ({len(part):,})", marker))
    figure.update_xaxes(title=escape(axes[0]), zeroline=False, showticklabels=False)
    figure.update_yaxes(title=escape(axes[1]), zeroline=False, showticklabels=False)
    figure.update_layout(dragmode="lasso", title={"text": escape(label), "font": {"size": 14}} if label else None)
    return styled(figure, height=520)


def _points(scatter: type, part: pd.DataFrame, name: str, marker: dict[str, object]) -> go.Scatter:
    score = part["score"].map(lambda value: "no score" if np.isnan(value) else f"score {value:.3f}")
    text = [
        f"{one}<br>{truth}, {scored}<br>{split}"
        for one, truth, scored, split in zip(plain(part["id"]), part["truth"], score, part["split"], strict=True)
    ]
    return scatter(
        x=part["x"], y=part["y"], mode="markers", name=escape(name), marker=marker, customdata=part["id"], text=text,
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
