"""The figure of a comparison: scores, differences to the best, and bars that join what cannot be told apart."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.plots.style import NEUTRAL, RUN_PALETTE, empty_figure, escape, plain, styled

if TYPE_CHECKING:
    from medwb.comparison import Comparison

VERDICTS = {"best": ("#33BBEE", "diamond"), "tie": ("#0077BB", "circle"), "better": ("#CC3311", "x")}
"""Colour and sign of a row: the best, tied with it, or beaten by it."""
_TITLES = {"best": "best", "tie": "not told apart from the best", "better": "worse than the best"}
_UNKNOWN = (NEUTRAL, "circle-open")
_ROW_PIXELS = 34


def tie_chart(found: "Comparison") -> go.Figure:
    """Rows in the order of their scores, with 95 % intervals; what the best is ahead by; and the ties.

    A critical-difference diagram after Demšar, "Statistical comparisons of classifiers over multiple data sets"
    (Journal of Machine Learning Research 7, 2006), turned upright: a bar joins rows of which no two differ, at 5 %
    for all pairs together. A row without a dot on a bar that passes it is not in that group.

    Args:
        found: The comparison.
    """
    rows = found.rows
    if rows.empty:
        return empty_figure("There is nothing to compare.")
    names, best = plain(rows["name"]), found.best.set_index("b")
    verdicts = ["best", *(str(best["verdict"].get(place, "unknown")) for place in range(1, len(rows)))]
    heading = escape(found.title[:1].upper() + found.title[1:])
    titles = [f"{heading}, 95 %", "The best less this, 95 %", "Ties"]
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.45, 0.37, 0.18],
        subplot_titles=titles,
    )  # fmt: skip
    for verdict in dict.fromkeys(verdicts):
        chosen = np.array([one == verdict for one in verdicts])
        colour, symbol = VERDICTS.get(verdict, _UNKNOWN)
        texts = [name for name, here in zip(names, chosen, strict=True) if here]
        mine = rows[chosen]
        marker = {"color": colour, "size": 10, "symbol": symbol}
        shared = {"y": texts, "mode": "markers", "marker": marker, "legendgroup": verdict}
        figure.add_scatter(
            x=mine["score"],
            name=_TITLES.get(verdict, "not known"),
            error_x=_ends(mine["score"], mine["score_low"], mine["score_high"], colour),
            customdata=mine[["score_low", "score_high", "runs"]].to_numpy(np.float64),
            hovertemplate="%{y}: %{x:.3f}<br>95 % interval %{customdata[0]:.3f} to %{customdata[1]:.3f}<br>"
            "runs: %{customdata[2]}<extra></extra>",
            row=1,
            col=1,
            **shared,
        )
        if verdict == "best":
            continue
        pairs = best.loc[np.flatnonzero(chosen)]
        figure.add_scatter(
            x=pairs["difference"],
            showlegend=False,
            error_x=_ends(pairs["difference"], pairs["difference_low"], pairs["difference_high"], colour),
            customdata=pairs[["difference_low", "difference_high", "p_holm"]].to_numpy(np.float64),
            hovertemplate="%{y}: %{x:+.3f}<br>95 % interval %{customdata[0]:+.3f} to %{customdata[1]:+.3f}<br>"
            "p, corrected for all pairs: %{customdata[2]:.2g}<extra></extra>",
            row=1,
            col=2,
            **shared,
        )
    for place, group in enumerate(group for group in found.groups if len(group) > 1):
        figure.add_scatter(
            x=[place] * len(group),
            y=[names[member] for member in group],
            mode="lines+markers",
            line={"color": RUN_PALETTE[0], "width": 4},
            marker={"color": RUN_PALETTE[0], "size": 9},
            showlegend=False,
            hovertemplate=f"{len(group)} rows that cannot be told apart<extra></extra>",
            row=1,
            col=3,
        )
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row=1, col=2)
    bars = sum(len(group) > 1 for group in found.groups)
    figure.update_xaxes(visible=False, range=[-0.6, max(1, bars) - 0.4], col=3)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    styled(figure, height=150 + _ROW_PIXELS * len(rows))
    figure.update_layout(legend={"yref": "container", "y": 0, "yanchor": "bottom"})
    return figure.update_layout(margin_t=60, margin_b=70)


def _ends(value: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, colour: str) -> dict[str, Any]:
    """Plotly's error bar of an interval."""
    middle = np.asarray(value, np.float64)
    return {
        "type": "data",
        "array": np.asarray(high, np.float64) - middle,
        "arrayminus": middle - np.asarray(low, np.float64),
        "color": colour,
        "thickness": 2,
        "width": 4,
    }
