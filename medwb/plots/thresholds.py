"""Figures of thresholds: what each one calls, and what tuning makes too good."""

import pandas as pd
import plotly.graph_objects as go

from medwb.operating import OperatingCurve
from medwb.plots.style import NEUTRAL, REFERENCE, RUN_PALETTE, SPLIT_COLOURS, empty_figure, escape, plain, styled
from medwb.thresholds import Thresholds

_LINES = ("precision", "recall", "specificity", "f1")
_TITLES = {"precision": "Precision", "recall": "Recall (sensitivity)", "specificity": "Specificity", "f1": "F1"}


def threshold_curves(curve: OperatingCurve, chosen: float | None = None, *, name: str = "") -> go.Figure:
    """Precision, recall, specificity and F1 of one label over the threshold.

    Args:
        curve: The label's scores.
        chosen: A threshold to mark; None or NaN for none.
        name: The label, for the text on hovering.
    """
    if not len(curve.positives) + len(curve.negatives):
        return empty_figure("No sample of this label is known.")
    points, figure = curve.points(), go.Figure()
    for line, colour in zip(_LINES, RUN_PALETTE, strict=False):
        figure.add_scatter(
            x=points["threshold"],
            y=points[line],
            name=_TITLES[line],
            mode="lines",
            line={"color": colour, "width": 3 if line == "f1" else 2, "shape": "hvh"},
            customdata=points[["tp", "fp", "fn", "tn"]],
            hovertemplate=f"{escape(name)} threshold %{{x:.4f}}<br>{_TITLES[line]} %{{y:.3f}}<br>"
            "TP %{customdata[0]}, FP %{customdata[1]}, FN %{customdata[2]}, TN %{customdata[3]}<extra></extra>",
        )
    if chosen is not None and chosen == chosen:
        figure.add_vline(
            x=min(chosen, 1.0), line={"color": NEUTRAL, "dash": "dot"}, annotation_text=f"threshold {chosen:.3f}"
        )
    figure.update_xaxes(title="Threshold", range=[0, 1])
    figure.update_yaxes(title="Score on validation", range=[0, 1.04])
    return styled(figure, height=380)


def optimism_dots(thresholds: Thresholds, score: str = "f1", title: str = "F1") -> go.Figure:
    """A score of each label on the samples that its threshold was tuned on, and cross-fitted, with its interval.

    Args:
        thresholds: What was tuned.
        score: Key of the score in `thresholds.scores`.
        title: How the axis writes it.
    """
    rows = thresholds.scores[thresholds.scores["score"] == score]
    rows = rows[rows[["tuned", "cross_fitted"]].notna().any(axis=1)].iloc[::-1]
    if rows.empty:
        return empty_figure("No label can be scored on validation.")
    names = plain([name or "Mean" for name in rows["label"]])
    figure = go.Figure()
    figure.add_scatter(
        x=rows["cross_fitted"],
        y=names,
        name="Cross-fitted (95 % interval)",
        mode="markers",
        marker={"size": 11, "color": SPLIT_COLOURS["val"]},
        error_x=_bars(rows["cross_fitted"], rows["cross_fitted_low"], rows["cross_fitted_high"]),
        customdata=rows[["cross_fitted_low", "cross_fitted_high", "optimism"]],
        hovertemplate=f"%{{y}}: {escape(title)} %{{x:.3f}} on samples that the threshold was not tuned on,<br>"
        "95 % interval %{customdata[0]:.3f} to %{customdata[1]:.3f}; optimism %{customdata[2]:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=rows["tuned"],
        y=names,
        name="On the samples that it was tuned on",
        mode="markers",
        marker={"size": 11, "symbol": "circle-open", "color": REFERENCE, "line": {"width": 2}},
        hovertemplate=f"%{{y}}: {escape(title)} %{{x:.3f}} on the samples that the threshold was tuned on"
        "<extra></extra>",
    )
    figure.update_xaxes(title=escape(title))
    return styled(figure, height=max(220, 130 + 28 * len(rows)))


def _bars(values: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": high - values,
        "arrayminus": values - low,
        "color": "#52606D",
        "thickness": 1.5,
        "width": 3,
    }
