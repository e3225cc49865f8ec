"""Figures of outcomes: the operating point, what is answered in the place of what, where errors gather.

Errors are orange, right calls blue, unknown truths grey, in every figure and gallery; grounds are transparent, so
that they stand on a light page and on a dark one.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from medwb.operating import OperatingCurve
from medwb.outcomes import OTHERS, SetMatrix
from medwb.plots.style import NEUTRAL, REFERENCE, RUN_PALETTE, empty_figure, escape, plain, shorten, styled

OUTCOME_COLOURS = {
    "false_positive": "#D55E00",
    "false_negative": "#CC79A7",
    "true_positive": "#0072B2",
    "true_negative": "#56B4E9",
    "unknown": NEUTRAL,
}
"""Okabe and Ito's: errors warm, right calls blue."""

_CURVE = RUN_PALETTE[0]
_SCALE = [[0, "#EAF3F9"], [1, "#0072B2"]]  # opaque, so that the numbers in the cells are read on any page
_WRONG_SCALE = [[0, "#FBF1E9"], [1, "#D55E00"]]


def operating_curves(curve: OperatingCurve) -> go.Figure:
    """ROC and precision-recall curve of one label, side by side, each with an empty trace for the operating point."""
    if not len(curve.positives) or not len(curve.negatives):
        return empty_figure("One answer is missing in this split, so that there is no curve.")
    points = curve.points()
    chance = len(curve.positives) / (len(curve.positives) + len(curve.negatives))
    hover = (
        "threshold %{customdata:.4f}<br>%{xaxis.title.text} %{x:.3f}<br>%{yaxis.title.text} %{y:.3f}<extra></extra>"
    )
    figure = go.Figure()
    for x, y, axis in (
        (1 - points["specificity"], points["recall"], ""),
        (points["recall"], points["precision"], "2"),
    ):
        line = {"color": _CURVE, "width": 2}
        common = {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "showlegend": False}
        figure.add_scatter(
            x=x, y=y, mode="lines", line=line, customdata=points["threshold"], hovertemplate=hover, **common
        )
        ends = [0, 1] if not axis else [chance, chance]
        faint = {"color": NEUTRAL, "dash": "dot", "width": 1}
        figure.add_scatter(x=[0, 1], y=ends, mode="lines", line=faint, hoverinfo="skip", **common)
    for axis in ("", "2"):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"size": 13, "color": REFERENCE, "line": {"width": 2, "color": "white"}},
            hovertemplate="%{xaxis.title.text} %{x:.3f}<br>%{yaxis.title.text} %{y:.3f}<extra>this threshold</extra>",
            showlegend=False,
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
        )
    frame = {"range": [-0.02, 1.03], "title_font_size": 12, "title_standoff": 4, "dtick": 0.5}
    figure.update_layout(
        xaxis={"domain": [0, 0.39], "title": "1 - specificity", **frame},
        yaxis={"title": "Recall", **frame},
        xaxis2={"domain": [0.61, 1], "title": "Recall", **frame},
        yaxis2={"anchor": "x2", "title": "Precision", **frame},
    )
    return _clear(styled(figure, height=230)).update_layout(margin={"t": 10})


def at_threshold(figure: go.Figure, curve: OperatingCurve, threshold: float) -> go.Figure:
    """`operating_curves` with its point at a threshold; the figure that is given stays as it is."""
    if len(figure.data) < 2:
        return figure
    counts = curve.at(threshold)
    copied = figure.to_dict()
    spots = ((1 - counts.specificity, counts.recall), (counts.recall, counts.precision))
    for trace, (x, y) in zip(copied["data"][-2:], spots, strict=True):
        trace |= {"x": [x], "y": [None if np.isnan(y) else y]}
    return go.Figure(copied)


def set_matrix_figure(found: SetMatrix) -> go.Figure:
    """True label sets against answered ones; colour is the share of a row. Cells on the diagonal are blue."""
    if not found.counts.size:
        return empty_figure("No sample was answered.")
    return _matrix(
        found.counts,
        list(found.rows),
        list(found.columns),
        right=np.array([[row == column and row != OTHERS for column in found.columns] for row in found.rows]),
        titles=("True set", "Answered set"),
        text="true: %{y}<br>answered: %{x}<br>%{text} samples, %{customdata:.1%} of the row<extra></extra>",
    )


def missed_figure(table: pd.DataFrame) -> go.Figure:
    """`missed_while_answering` as a matrix; colour is the share of a row's largest count."""
    counts = table.astype("Float64").to_numpy(np.float64, na_value=np.nan)
    if len(table) < 2:
        return empty_figure("With one label there is no other to be answered in its place.")
    names = list(table.index)
    return _matrix(
        counts,
        names,
        names,
        right=np.zeros(counts.shape, bool),
        titles=("Missed", "Answered"),
        text="missed: %{y}<br>answered: %{x}<br>%{text} samples<extra></extra>",
    )


def error_bins(table: pd.DataFrame, title: str, *, whole: float, unit: str = "") -> go.Figure:
    """Error rate over the quantile bins of a property (`errors_by_property`), with 95 % intervals.

    Args:
        table: One row a bin.
        title: Of the property.
        whole: The rate over all bins, drawn as a line; NaN for none.
        unit: Of the property.
    """
    if table.empty:
        return empty_figure("No such call has a known truth.")
    figure = go.Figure()
    names = [
        f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in table[["low", "high"]].to_numpy()
    ]
    figure.add_scatter(
        x=names,
        y=table["rate"],
        mode="markers",
        marker={"size": 11, "color": OUTCOME_COLOURS["false_positive"]},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": table["rate_high"] - table["rate"],
            "arrayminus": table["rate"] - table["rate_low"],
            "color": NEUTRAL,
            "thickness": 1.5,
        },
        customdata=table[["rate_low", "rate_high", "wrong", "calls"]],
        hovertemplate="%{x}: %{y:.1%} wrong<br>95 % interval %{customdata[0]:.1%} to %{customdata[1]:.1%}<br>"
        "%{customdata[2]:,} of %{customdata[3]:,} calls<extra></extra>",
        showlegend=False,
    )
    if not np.isnan(whole):
        figure.add_hline(y=whole, line={"color": NEUTRAL, "dash": "dot"})
    figure.update_xaxes(title=escape(f"{title}, {unit}" if unit else title), type="category")
    figure.update_yaxes(title="Share of wrong calls", tickformat=".0%", rangemode="tozero")
    return _clear(styled(figure, height=340))


def disagreement_scatter(found: pd.DataFrame, names: tuple[str, str], most: int = 3000) -> go.Figure:
    """Scores of two runs where they disagree (`disagreements`), coloured by who is right.

    Args:
        found: One row a sample and label; only the first `most` are drawn.
        names: Of the two runs.
        most: At most so many points.
    """
    if found.empty:
        return empty_figure("The two runs call the same labels on every scan.")
    shown = found.head(most)
    who = {"a": (f"{names[0]} is right", "#0072B2", "circle"), "b": (f"{names[1]} is right", "#D55E00", "diamond")}
    who["unknown"] = ("truth unknown", NEUTRAL, "x")
    figure = go.Figure()
    for key, (title, colour, symbol) in who.items():
        part = shown[shown["right"] == key]
        if part.empty:
            continue
        figure.add_scattergl(
            x=part["a_score"],
            y=part["b_score"],
            name=escape(title),
            mode="markers",
            marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.75},
            text=plain([f"{sample}: {label}" for sample, label in zip(part["id"], part["label"], strict=True)]),
            hovertemplate="%{text}<br>%{x:.3f} and %{y:.3f}<extra></extra>",
        )
    figure.update_xaxes(title=escape(f"Score of {names[0]}"), range=[-0.03, 1.03])
    figure.update_yaxes(title=escape(f"Score of {names[1]}"), range=[-0.03, 1.03])
    return _clear(styled(figure, height=420))


def scan_scores(table: pd.DataFrame) -> go.Figure:
    """One scan's scores (`scan_table`): a bar a label in the colour of its outcome, a line at its threshold."""
    rows = table.iloc[::-1]
    names = plain(shorten(rows["label"], 24))
    truth = ["unknown" if np.isnan(value) else "positive" if value == 1 else "negative" for value in rows["truth"]]
    figure = go.Figure()
    figure.add_bar(
        x=rows["score"],
        y=names,
        orientation="h",
        marker={"color": [OUTCOME_COLOURS[outcome] for outcome in rows["outcome"]]},
        customdata=list(zip(truth, [name.replace("_", " ") for name in rows["outcome"]], strict=True)),
        hovertemplate="%{y}: score %{x:.3f}<br>truth: %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    )
    figure.add_scatter(
        x=rows["threshold"].clip(upper=1),
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 18, "line": {"width": 3}, "color": NEUTRAL},
        hovertemplate="%{y}: threshold %{x:.4f}<extra></extra>",
    )
    figure.update_xaxes(range=[0, 1.02], title="Score; the line is the threshold")
    figure.update_layout(showlegend=False, bargap=0.35)
    return _clear(styled(figure, height=90 + 26 * max(3, len(rows)))).update_layout(margin={"t": 5})


def _matrix(
    counts: np.ndarray,
    rows: list[str],
    columns: list[str],
    *,
    right: np.ndarray,
    titles: tuple[str, str],
    text: str,
) -> go.Figure:
    """Counts as squares with numbers; a click tells the row and column by the names as given."""
    total = np.nansum(counts, axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    share = np.where(np.isnan(share), 0, share)
    words = [["" if np.isnan(value) or value == 0 else f"{int(value):,}" for value in line] for line in counts]
    x, y = plain(shorten(pd.Series(columns), 26)), plain(shorten(pd.Series(rows), 34))
    figure = go.Figure()
    for scale, mask in ((_WRONG_SCALE, ~right), (_SCALE, right)):
        if mask.any():
            figure.add_heatmap(
                z=np.where(mask & (counts > 0), share, np.nan),
                x=x,
                y=y,
                zmin=0,
                zmax=1,
                colorscale=scale,
                showscale=False,
                text=words,
                texttemplate="%{text}",
                customdata=share,
                hovertemplate=text,
                xgap=2,
                ygap=2,
                hoverongaps=False,
            )
    figure.update_yaxes(autorange="reversed", title=titles[0], showgrid=False, zeroline=False)
    figure.update_xaxes(title=titles[1], side="bottom", tickangle=-35, showgrid=False, zeroline=False)
    return _clear(styled(figure, height=190 + 30 * len(rows)))


def _clear(figure: go.Figure) -> go.Figure:
    return figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
