"""What a metric is, and how one is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medwb.errors import RequestError
from medwb.metrics.answers import Answers
from medwb.metrics.tally import Tally
from medwb.metrics.weightings import Weightings
from medwb.registry import Registry

Floats = npt.NDArray[np.float64]
Compute = Callable[[Tally], Floats]
Kind = Literal["label", "set"]
Better = Literal["higher", "lower"]
Average = Literal["macro", "weighted"]


@dataclass(frozen=True)
class Metric:
    """A named metric.

    Attributes:
        name: Key in tables and JSON.
        title: How a table writes it.
        compute: The function: float64 (B, L) for a metric of each label, (B,) for one of whole label sets.
        kind: "label": a value a label, which tables average; "set": one value for all labels together.
        better: Whether "higher" or "lower" values are better.
        needs_threshold: Whether it judges answers of yes and no, or else scores.
        summary: The first line of the function's docstring.
    """

    name: str
    title: str
    compute: Compute
    kind: Kind = "label"
    better: Better = "higher"
    needs_threshold: bool = True
    summary: str = ""


METRICS: Registry[Metric] = Registry("metric", package="medwb.metrics")


def metric(
    name: str, *, title: str, kind: Kind = "label", better: Better = "higher", needs_threshold: bool = True
) -> Callable[[Compute], Compute]:
    """Register the decorated function, from a `Tally` to values, as a metric."""

    def register(compute: Compute) -> Compute:
        summary = (compute.__doc__ or "").strip().split("\n")[0]
        METRICS.add(name, Metric(name, title, compute, kind, better, needs_threshold, summary))
        return compute

    return register


def check_answers(y_true: npt.ArrayLike, y_score: npt.ArrayLike, threshold: npt.ArrayLike = 0.5) -> Answers:
    """Answers that metrics can be computed from.

    Args:
        y_true: (N, L): 1, 0 or NaN.
        y_score: (N, L) in 0..1; yes where score >= threshold.
        threshold: One for all labels or one a label.

    Raises:
        RequestError: The arrays do not fit, or a score or threshold is NaN.
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    if truth.shape != score.shape or truth.ndim != 2:
        raise RequestError(f"y_true is {truth.shape}, y_score is {score.shape}; both must be (samples, labels)")
    if np.isnan(score).any():
        raise RequestError(f"{int(np.isnan(score).sum())} of {score.size} scores are NaN; the run is not usable")
    limits = np.asarray(threshold, np.float64)
    if limits.shape not in ((), (1,), truth.shape[1:]) or np.isnan(limits).any():
        raise RequestError(
            f"thresholds are {limits.tolist()}; give one number, or one for each of {truth.shape[1]} labels"
        )
    return Answers(truth, score, np.broadcast_to(limits, truth.shape[1:]))


def evaluate(
    name: str,
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    threshold: float | npt.ArrayLike = 0.5,
    weights: npt.ArrayLike | None = None,
) -> Floats:
    """Compute a metric.

    Args:
        name: A registered metric.
        y_true: (N, L): 1, 0 or NaN.
        y_score: (N, L) in 0..1; yes where score >= threshold.
        threshold: One for all labels or one a label.
        weights: (B, N) weightings, 0 or more; None is one row of ones.

    Returns:
        float64 (B, L) for a metric of each label, (B,) for one of whole label sets.

    Raises:
        RequestError: The arrays do not fit, a score is NaN, or there is no such metric.
    """
    entry, answers = METRICS.get(name), check_answers(y_true, y_score, threshold)
    samples = len(answers.y_true)
    rows = np.ones((1, samples), np.int64) if weights is None else np.asarray(weights)
    if rows.ndim != 2 or rows.shape[1] != samples:
        raise RequestError(f"weights are {rows.shape}; they must be (weightings, {samples} samples)")
    return compute(entry, Tally(answers, Weightings(rows)))


def compute(entry: Metric, tally: Tally) -> Floats:
    """A metric of a tally, which keeps what several metrics need."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return entry.compute(tally)


def average(
    values: npt.NDArray[np.floating], how: Average, support: npt.NDArray[np.floating] | None = None
) -> Floats:
    """Average labels: (B, L) to (B,). Labels where the value is undefined are left out.

    Args:
        values: A metric's result.
        how: "macro" weighs labels alike, "weighted" by their positives.
        support: (B, L) positives, for "weighted".
    """
    defined = ~np.isnan(values)
    weight = defined.astype(np.float64)
    if how == "weighted":
        assert support is not None
        weight = weight * support
    total = weight.sum(1)
    return np.divide(
        (np.where(defined, values, 0) * weight).sum(1), total, out=np.full(len(values), np.nan), where=total > 0
    )


def support(y_true: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Weight of the positives, (B, L)."""
    return Weightings(np.asarray(weights)).count(np.asarray(y_true) == 1)
