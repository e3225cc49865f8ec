"""Tally: what metrics are computed from, each thing once."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.metrics.answers import CALIBRATION_BINS, SAMPLE_VALUES, Answers, Floats, Ranking, SampleValue
from medwb.metrics.scratch import scratch
from medwb.metrics.weightings import Weightings


class Tally:
    """Answers under B weightings of the samples. All counts are sums of weights, float64 (B, L).

    Samples whose label is unknown do not count for that label.
    """

    def __init__(self, answers: Answers, weightings: Weightings) -> None:
        self.answers, self.weightings = answers, weightings

    @cached_property
    def _outcomes(self) -> list[Floats]:
        return np.split(self.weightings.count(self.answers.outcomes), 4, axis=1)

    @property
    def tp(self) -> Floats:
        """True positives."""
        return self._outcomes[0]

    @property
    def fp(self) -> Floats:
        """False positives."""
        return self._outcomes[1]

    @property
    def fn(self) -> Floats:
        """False negatives."""
        return self._outcomes[2]

    @property
    def tn(self) -> Floats:
        """True negatives."""
        return self._outcomes[3]

    @cached_property
    def positives(self) -> Floats:
        """Positives in truth."""
        return self.tp + self.fn

    @cached_property
    def negatives(self) -> Floats:
        """Negatives in truth."""
        return self.fp + self.tn

    @cached_property
    def _sums(self) -> Floats:
        return self.weightings.sum(self.answers.summed)

    @property
    def squared_errors(self) -> Floats:
        """Sum of (score - truth)^2."""
        return self._sums[:, : self.answers.labels]

    @cached_property
    def miscalibration(self) -> Floats:
        """Sum over bins of scores of |sum of (score - truth)|."""
        excess = np.abs(self.answers.excess @ self.weightings.columns)
        return np.ascontiguousarray(excess.reshape(self.answers.labels, CALIBRATION_BINS, -1).sum(1).T)

    @property
    def precision_at_hits(self) -> Floats:
        """Sum over positives of the precision at their scores."""
        return self._ranked[0]

    @property
    def ordered_pairs(self) -> Floats:
        """Pairs of a positive and a negative of which the positive has the higher score; ties count one half."""
        return self._ranked[1]

    @cached_property
    def _ranked(self) -> tuple[Floats, Floats]:
        shape = (len(self.weightings), self.answers.labels)
        precision, pairs = np.zeros(shape), np.zeros(shape)
        for label, ranking in enumerate(self.answers.rankings):
            if len(ranking.hits):
                precision[:, label], false = _down_the_ranks(ranking, self.weightings)
                pairs[:, label] = self.positives[:, label] * self.negatives[:, label] - false
        return precision, pairs

    def mean_over_samples(self, function: SampleValue) -> Floats:
        """Mean of a value of each sample with a known label, (B,).

        Args:
            function: From answers to float64 (N,), registered by `sample_value`.
        """
        known = self.answers.labels
        return self._sums[:, known + 1 + SAMPLE_VALUES.index(function)] / self._sums[:, known]


def _down_the_ranks(ranking: Ranking, weightings: Weightings) -> tuple[Floats, Floats]:
    """Of one label, sums over positives, (B,): precision at their scores, and negatives that score higher.

    Weights are summed up down the ranks with several weightings packed into a number (`Weightings.packed`), and
    looked at only where there are positives.
    """
    packed = weightings.packed
    ranked = _take(packed, ranking.order, "ranked")
    down = np.cumsum(ranked, axis=1, out=ranked)
    own = _take(packed, ranking.order[ranking.hits], "own")
    hits = np.cumsum(own, axis=1, out=scratch("hits", own.shape, packed.dtype))
    all_called = _take(down, ranking.last, "all_called")
    weight = weightings.unpack(own, "weight")
    called = weightings.unpack(all_called, "called")
    if ranking.plain:
        true = weightings.unpack(hits, "true")
        false = np.subtract(called, true, out=scratch("false", true.shape))
    else:
        true_called = _take(hits, ranking.last_hit, "true_called")
        true = weightings.unpack(true_called, "true")
        # Those above the score, and those above or at it; the mean counts ties one half.
        above = _take(down, ranking.first, "above") - _take(packed, ranking.order[ranking.first], "first")
        true_above = _take(np.subtract(hits, own, out=hits), ranking.first_hit, "true_above")
        false = weightings.unpack((all_called - true_called) + (above - true_above), "false")
        false /= 2
    np.maximum(called, np.finfo(np.float64).tiny, out=called)  # nothing of nothing is 0
    precision = np.divide(true, called, out=true)
    return (
        weightings.flat(np.einsum("lrp,lrp->lr", precision, weight)),
        weightings.flat(np.einsum("lrp,lrp->lr", false, weight)),
    )


def _take(source: npt.NDArray[Any], places: npt.NDArray[np.int64], name: str) -> npt.NDArray[Any]:
    """Columns of (R, K), in scratch memory of that name."""
    return np.take(source, places, axis=1, out=scratch(name, (len(source), len(places)), source.dtype), mode="clip")
