"""What a model answered, and what follows from it whatever the samples weigh."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CALIBRATION_BINS = 15
"""Bins of equal width of the expected calibration error, as in Guo et al. (2017)."""

Floats = npt.NDArray[np.float64]
SampleValue = Callable[["Answers"], Floats]
Positions = npt.NDArray[np.int64]


SAMPLE_VALUES: list[SampleValue] = []
"""What `sample_value` decorates: they are summed in one product."""


def sample_value(function: SampleValue) -> SampleValue:
    """Register the decorated function, from answers to a value a sample (N,), for `Tally.mean_over_samples`."""
    SAMPLE_VALUES.append(function)
    return function


@dataclass(frozen=True)
class Ranking:
    """The samples of one label whose truth is known, the highest score first.

    Attributes:
        order: int64 (K,): samples in the order of their scores.
        hits: int64 (P,): places of the positives in that order.
        last: int64 (P,): place of the last sample with the same score as each positive.
        last_hit: int64 (P,): which positive is the last with that score, 0..P-1.
        first: int64 (P,): place of the first sample with that score.
        first_hit: int64 (P,): which positive is the first with that score.
    """

    order: Positions
    hits: Positions
    last: Positions
    last_hit: Positions
    first: Positions
    first_hit: Positions

    @staticmethod
    def of(y_true: Floats, y_score: Floats) -> "Ranking":
        """Rank one label; both are (N,)."""
        known = np.flatnonzero(~np.isnan(y_true))
        order = known[np.argsort(-y_score[known], kind="stable")]
        ranked, hits = y_score[order], np.flatnonzero(y_true[order] == 1)
        ends = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
        run = np.cumsum(ends) - ends  # number of the run of equal scores that each place is in
        last = np.flatnonzero(ends)
        first = np.append(0, last[:-1] + 1)[: len(last)]
        run_of = run[hits]
        here = (first[run_of], last[run_of]) if len(hits) else (hits, hits)
        first_hit = np.searchsorted(hits, here[0])
        last_hit = np.searchsorted(hits, here[1], side="right") - 1
        return Ranking(order, hits, here[1], last_hit, here[0], first_hit)

    @cached_property
    def plain(self) -> bool:
        """Whether no positive has the score of another sample."""
        return bool((self.first == self.last).all())


class Answers:
    """Answers on N samples and L labels, as checked by `medwb.metrics.evaluate`.

    Attributes:
        y_true: float64 (N, L): 1, 0, NaN for unknown.
        y_score: float64 (N, L) in 0..1.
        threshold: float64 (L,): a label is called where its score is at least this.
    """

    def __init__(self, y_true: Floats, y_score: Floats, threshold: Floats) -> None:
        self.y_true, self.y_score, self.threshold = y_true, y_score, threshold

    @property
    def labels(self) -> int:
        """The number of labels, L."""
        return self.y_true.shape[1]

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """bool (N, L)."""
        return ~np.isnan(self.y_true)

    @cached_property
    def called(self) -> npt.NDArray[np.bool_]:
        """bool (N, L)."""
        return self.y_score >= self.threshold

    @cached_property
    def outcomes(self) -> npt.NDArray[np.bool_]:
        """bool (N, 4 L): true positives of each label, false positives, false negatives, true negatives."""
        positive, negative, called = self.y_true == 1, self.y_true == 0, self.called
        return np.concatenate([positive & called, negative & called, positive & ~called, negative & ~called], axis=1)

    @cached_property
    def summed(self) -> Floats:
        """float64 (N, L + 1 + S): squared errors of each label, whether any label is known, `SAMPLE_VALUES`.

        0 where the label, or all labels of the sample, are unknown.
        """
        errors = np.where(self.known, (self.y_score - self.y_true) ** 2, 0)
        some = self.known.any(axis=1)
        values = [np.where(some, function(self), 0) for function in SAMPLE_VALUES]
        return np.column_stack([errors, some, *values])

    @cached_property
    def rankings(self) -> list[Ranking]:
        """Each label's samples by score."""
        return [Ranking.of(truth, score) for truth, score in zip(self.y_true.T, self.y_score.T, strict=True)]

    @cached_property
    def excess(self) -> "csr_array":
        """Sparse (L * bins, N): score minus truth of each sample, in the row of its label and its score's bin."""
        from scipy.sparse import csr_array

        sample, label = np.nonzero(self.known)
        score = self.y_score[sample, label]
        place = np.clip(np.ceil(score * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
        shape = (self.labels * CALIBRATION_BINS, len(self.y_true))
        values = score - self.y_true[sample, label]
        return csr_array((values, (label * CALIBRATION_BINS + place, sample)), shape=shape)
