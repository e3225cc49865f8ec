"""What figures share: colours, text from a dataset, and the frame."""

import html
from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
import plotly.graph_objects as go

SPLIT_COLOURS = {"train": "#0072B2", "val": "#E69F00", "test": "#009E73"}
LABEL_PALETTE = (
    *("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
    *("#EE8866", "#77AADD", "#44BB99", "#AAAA00", "#FFAABB", "#99DDFF", "#BBCC33", "#EEDD88"),
)
RUN_PALETTE = ("#0077BB", "#EE7733", "#009988", "#CC3311", "#33BBEE", "#EE3377")
NEUTRAL = "#7B8794"
REFERENCE = "#D55E00"
SEQUENTIAL = "Blues"


def label_colours(label_names: Sequence[str]) -> dict[str, str]:
    """The colour of each label: by its place among the dataset's labels, the palette repeating after 14."""
    return dict(zip(label_names, cycle(LABEL_PALETTE), strict=False))


def empty_figure(message: str) -> go.Figure:
    """A figure without data that says why."""
    figure = go.Figure().add_annotation(text=escape(message), showarrow=False, font={"size": 15, "color": NEUTRAL})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return styled(figure, height=220)


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure in the frame of all: white ground, narrow margins, the legend above; `height` in pixels."""
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
    )


def shorten(names: pd.Series, width: int = 34) -> list[str]:
    """Cut long names in the middle, unless two would then look the same."""
    short = [name if len(name) <= width else f"{name[: width - 13]}…{name[-12:]}" for name in names]
    return short if len(set(short)) == len(short) else list(names)


def percent(share: float) -> str:
    """A share, 0..1, as "12 %"; "unknown" for NaN."""
    if np.isnan(share):
        return "unknown"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def escape(text: str) -> str:
    """Text that plotly shows as it is."""
    return html.escape(str(text), quote=False)


def plain(texts: Sequence[str] | pd.Series | pd.Index, *, line_break: bool = False) -> list[str]:
    """`escape` of each text; with `line_break` line ends become breaks."""
    escaped = [escape(text) for text in texts]
    return [text.replace("\n", "<br>") for text in escaped] if line_break else escaped
