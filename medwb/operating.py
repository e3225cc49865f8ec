"""The operating points of one label's scores: what every threshold calls."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError

Floats = npt.NDArray[np.float64]

POINTS = 500
"""A curve is drawn with at most so many points."""


class Counts(NamedTuple):
    """Confusion counts, whole or weighted; where they are arrays, the scores are. An undefined score is NaN."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any

    @property
    def precision(self) -> Any:
        """TP / (TP + FP); undefined where nothing is called."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Any:
        """TP / (TP + FN), the sensitivity; undefined without a positive."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Any:
        """TN / (TN + FP); undefined without a negative."""
        return _share(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> Any:
        """2 TP / (2 TP + FP + FN); undefined without a positive, as `medwb.metrics` has it."""
        f1 = _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)
        return np.where(np.greater(self.tp + self.fn, 0), f1, np.nan)[()]


def _share(part: Any, whole: Any) -> Any:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    shape = np.broadcast_shapes(part.shape, whole.shape)
    return np.divide(part, whole, out=np.full(shape, np.nan), where=whole > 0)[()]


@dataclass(frozen=True)
class OperatingCurve:
    """Scores of one label, sorted once, so that the counts at any threshold are two binary searches.

    Attributes:
        positives: float64 (P,): scores of the samples that have the label, ascending.
        negatives: float64 (M,): scores of those that have not, ascending.
    """

    positives: Floats
    negatives: Floats

    def at(self, threshold: float) -> Counts:
        """Counts, int, where a sample is called if its score >= threshold; NaN calls none."""
        missed = int(np.searchsorted(self.positives, threshold))
        spared = int(np.searchsorted(self.negatives, threshold))
        return Counts(len(self.positives) - missed, len(self.negatives) - spared, missed, spared)

    @cached_property
    def candidates(self) -> "Candidates":
        """One threshold for each different set of calls."""
        scores = np.concatenate([self.positives, self.negatives])
        order = np.argsort(-scores, kind="stable")
        return candidates(scores[order], order < len(self.positives))

    def points(self, most: int = POINTS) -> pd.DataFrame:
        """The curve for drawing, thresholds ascending.

        Half of the points are evenly many samples apart and half evenly far apart in score: a rare label's few high
        scores, where precision changes fastest, would be lost among the many low ones.

        Args:
            most: At most so many points, at least 4.

        Returns:
            One row a point: `threshold`, `tp`, `fp`, `fn`, `tn`, and `precision`, `recall`, `specificity`, `f1`, each
            0..1 or NaN where it is undefined.
        """
        found = self.candidates
        kept = np.arange(len(found.thresholds))
        if len(kept) > most:
            by_rank = np.linspace(0, len(kept) - 1, most // 2).round().astype(np.int64)
            levels = np.linspace(found.thresholds[0], found.thresholds[-1], most - most // 2)
            by_score = np.searchsorted(-found.thresholds, -levels).clip(0, len(kept) - 1)
            kept = np.union1d(by_rank, by_score)
        kept = kept[::-1]
        counts = Counts(*(part[kept] for part in found.counts))
        table = pd.DataFrame({"threshold": found.thresholds[kept], **counts._asdict()})
        scores = {name: getattr(counts, name) for name in ("precision", "recall", "specificity", "f1")}
        return table.assign(**scores)


class Candidates(NamedTuple):
    """The thresholds that call different sets of samples, from the one that calls none to the one that calls all.

    Attributes:
        thresholds: float64 (K,), descending. Each lies halfway between two neighbouring scores, so that equal scores
            stay on one side; the first is above 1 only where a score is 1.
        counts: int64 (K,) each.
    """

    thresholds: Floats
    counts: Counts


def operating_curve(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> OperatingCurve:
    """Sort the scores of one label.

    Args:
        y_true: (N,): 1, 0, or NaN for unknown; unknown samples do not count.
        y_score: (N,) in 0..1.

    Raises:
        RequestError: The arrays do not fit, or the score of a known sample is NaN.
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise RequestError(f"y_true is {truth.shape}, y_score is {score.shape}; both must be (samples,)")
    curve = OperatingCurve(np.sort(score[truth == 1]), np.sort(score[truth == 0]))
    if any(len(part) and np.isnan(part[-1]) for part in (curve.positives, curve.negatives)):  # NaN sorts last
        raise RequestError("a score is NaN; the run is not usable")
    return curve


def candidates(scores: Floats, hits: npt.NDArray[Any]) -> Candidates:
    """The candidates among scores that are sorted already.

    Args:
        scores: float64 (N,), descending.
        hits: (N,): whether each sample has the label; bool, or 1 and 0.
    """
    if not len(scores):
        nothing = np.zeros(1, np.int64)
        return Candidates(np.array([0.5]), Counts(nothing, nothing, nothing, nothing))
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # where runs of equal scores end
    tp = np.append(0, np.cumsum(hits, dtype=np.int64)[last])
    fp = np.append(0, last + 1) - tp
    upper, lower = scores[last], np.append(scores[last[1:]], 0.0)
    middle = (upper + lower) / 2
    middle = np.where(middle > lower, middle, upper)  # two neighbours may have no number between them
    above = (scores[0] + 1) / 2
    above = above if above > scores[0] else np.nextafter(scores[0], np.inf)
    counts = Counts(tp, fp, tp[-1] - tp, fp[-1] - fp)
    return Candidates(np.append(above, middle), counts)
