"""Metrics of multi-label answers, each over many weightings of the samples at once.

Every function takes `y_true` (float (N, L): 1, 0, NaN for unknown), `y_score` (float (N, L) in 0..1), `threshold`
(float or (L,)) and `weights` (float (B, N)), and returns float64 (B, L): the metric of each label under each
weighting. One row of ones is the plain metric; a bootstrap draw is a row of counts. Samples whose label is unknown
do not count for that label. A value that is not defined, such as the F1 of a label without a positive, is NaN.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medwb.errors import RequestError
from medwb.registry import Registry

Floats = npt.NDArray[np.floating]
Weights = npt.NDArray[Any]  # whole numbers or not
LabelMetric = Callable[[Floats, Floats, Floats, Weights], npt.NDArray[np.float64]]
Average = Literal["macro", "weighted"]

COLLAPSE_RANGE = 0.01  # scores of a label that span less than this share of their mean are one answer


@dataclass(frozen=True)
class Metric:
    """A named metric.

    Attributes:
        name: Key in tables and JSON.
        title: How a table writes it.
        compute: The function, a value a weighting and label.
    """

    name: str
    title: str
    compute: LabelMetric


METRICS: Registry[Metric] = Registry("metric")


def metric(name: str, *, title: str) -> Callable[[LabelMetric], LabelMetric]:
    """Register the decorated function as a metric."""

    def register(compute: LabelMetric) -> LabelMetric:
        METRICS.add(name, Metric(name, title, compute))
        return compute

    return register


def evaluate(
    name: str,
    y_true: npt.ArrayLike,
    y_score: npt.ArrayLike,
    *,
    threshold: float | npt.ArrayLike = 0.5,
    weights: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """Compute a metric for every label.

    Args:
        name: A registered metric.
        y_true: (N, L): 1, 0 or NaN.
        y_score: (N, L) in 0..1; yes where score >= threshold.
        threshold: One for all labels or one a label.
        weights: (B, N) weightings; None is one row of ones.

    Returns:
        float64 (B, L).

    Raises:
        RequestError: The arrays do not fit, a score is NaN, or there is no such metric.
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    if truth.shape != score.shape or truth.ndim != 2:
        raise RequestError(f"y_true is {truth.shape}, y_score is {score.shape}; both must be (samples, labels)")
    if np.isnan(score).any():
        raise RequestError(f"{int(np.isnan(score).sum())} of {score.size} scores are NaN; the run is not usable")
    rows = np.ones((1, len(truth)), np.int64) if weights is None else np.asarray(weights)
    if rows.dtype.kind in "bui":
        rows = rows.astype(np.int64)  # running sums of whole numbers take a tenth of the time
    limits = np.broadcast_to(np.asarray(threshold, np.float64), truth.shape[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        return METRICS.get(name).compute(truth, score, limits, rows)


def average(values: Floats, how: Average, support: Floats | None = None) -> npt.NDArray[np.float64]:
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


def support(y_true: npt.ArrayLike, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Weight of the positives, (B, L)."""
    return _weigh(np.asarray(weights), np.asarray(y_true) == 1)


def collapsed_labels(y_score: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which labels, (L,), get the same answer for every image.

    Their scores span less than 1 % of their mean (or of one minus it): a rare label's scores may all be small and
    still tell images apart.
    """
    mean = y_score.mean(axis=0)
    return np.ptp(y_score, axis=0) <= COLLAPSE_RANGE * np.minimum(mean, 1 - mean) + 1e-7


def tune_thresholds(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The threshold of each label, (L,), that gives the best F1 on these samples; 0.5 where F1 is undefined.

    It lies halfway between two neighbouring scores, so that equal scores stay on one side. Use it on validation
    samples only: on the samples that it was tuned on, F1 is too good.
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    thresholds = np.full(truth.shape[1], 0.5)
    for label in range(truth.shape[1]):
        known = ~np.isnan(truth[:, label])
        order = np.argsort(-score[known, label], kind="stable")
        ranked, hits = score[known, label][order], truth[known, label][order]
        if not hits.any():
            continue
        last = np.append(ranked[1:] < ranked[:-1], True)  # the last of a run of equal scores
        called = np.arange(1, len(hits) + 1)
        f1 = np.where(last, 2 * np.cumsum(hits) / (called + hits.sum()), -1)
        best = int(np.argmax(f1))
        below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
        thresholds[label] = (ranked[best] + below) / 2
    return thresholds


def _counts(
    y_true: Floats, y_score: Floats, threshold: Floats, weights: Weights
) -> tuple[Floats, Floats, Floats, Floats]:
    """Weighted true positives, false positives, false negatives and true negatives, each (B, L)."""
    called = y_score >= threshold
    positive, negative = y_true == 1, y_true == 0
    outcomes = np.concatenate([positive & called, negative & called, positive & ~called, negative & ~called], axis=1)
    tp, fp, fn, tn = np.split(_weigh(weights, outcomes), 4, axis=1)
    return tp, fp, fn, tn


def _weigh(weights: Weights, members: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Sum of the weights of each column's members, (B, columns).

    Column by column, because waking BLAS's threads for one small product takes longer than all columns do.
    """
    rows = weights.astype(np.float64)
    return np.stack([rows @ column for column in members.T.astype(np.float64)], axis=1)


@metric("f1", title="F1")
def f1(y_true: Floats, y_score: Floats, threshold: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN); undefined without a positive."""
    tp, fp, fn, _ = _counts(y_true, y_score, threshold, weights)
    return np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)


@metric("average_precision", title="Average precision")
def average_precision(
    y_true: Floats, y_score: Floats, threshold: Floats, weights: Weights
) -> npt.NDArray[np.float64]:
    """Sum of precision at each score times the recall it adds (as scikit-learn's); undefined without a positive."""
    values = []
    for label in range(y_true.shape[1]):
        hits, misses, last = _ranked(y_true[:, label], y_score[:, label], weights)
        true, false = hits[:, last], misses[:, last]
        recall = true / true[:, -1:]
        precision = np.where(true > 0, true / (true + false), 0)
        values.append((np.diff(recall, axis=1, prepend=0) * precision).sum(1))
    return np.stack(values, axis=1)


@metric("roc_auc", title="ROC AUC")
def roc_auc(y_true: Floats, y_score: Floats, threshold: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """Chance that a positive scores above a negative, ties one half; undefined without both."""
    values = []
    for label in range(y_true.shape[1]):
        hits, misses, last = _ranked(y_true[:, label], y_score[:, label], weights)
        true, false = hits[:, last], misses[:, last]
        area = (np.diff(false, axis=1, prepend=0) * (true + np.pad(true, ((0, 0), (1, 0)))[:, :-1]) / 2).sum(1)
        values.append(area / (true[:, -1] * false[:, -1]))
    return np.stack(values, axis=1)


@metric("accuracy", title="Accuracy")
def accuracy(y_true: Floats, y_score: Floats, threshold: Floats, weights: Weights) -> npt.NDArray[np.float64]:
    """Share of right answers."""
    tp, fp, fn, tn = _counts(y_true, y_score, threshold, weights)
    return (tp + tn) / (tp + fp + fn + tn)


def _ranked(y_true: Floats, y_score: Floats, weights: Weights) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Weight of positives and of negatives down to each rank, (B, K), and where runs of equal scores end."""
    known = np.flatnonzero(~np.isnan(y_true))
    order = known[np.argsort(-y_score[known], kind="stable")]
    ranked = weights[:, order]
    hits = np.cumsum(ranked * (y_true[order] == 1), axis=1)
    misses = np.cumsum(ranked, axis=1) - hits
    scores = y_score[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(order) else np.array([], np.int64)
    if not len(order):  # nothing known: one rank of nothing, which makes every value undefined
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1)), np.array([0])
    return hits, misses, last
