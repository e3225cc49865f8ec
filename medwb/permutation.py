"""Paired permutation: whether two rows of a table would differ as much if their answers were swapped at random.

A unit (patient, or sample) keeps all its samples' answers together, and is swapped or not for all seeds at once.
Scores that follow from counts are had for all permutations from one matrix product; for scores of ranks, which would
have to be sorted anew each time, the bootstrap alone has to do.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERMUTATIONS = 2000
"""How many are drawn; where there are no more than this, all are taken."""

_BLOCK = 500  # permutations that are multiplied at a time
_EXACT_UNITS = 16

Floats = npt.NDArray[np.float64]
CountScore = Callable[[Floats, Floats, Floats, Floats], Floats]


@dataclass(frozen=True)
class UnitCounts:
    """What runs answered, summed a unit.

    Attributes:
        answers: float32 (U, runs, L, 2): true positives, and samples that were called.
        positives: float64 (L,): of all units together, samples whose label is true.
        known: float64 (L,): samples whose label is known.
    """

    answers: npt.NDArray[np.float32]
    positives: Floats
    known: Floats


def unit_counts(
    y_true: npt.NDArray[np.floating],
    y_scores: Sequence[npt.NDArray[np.floating]],
    units: npt.NDArray[np.int64],
    threshold: float | npt.NDArray[np.float64] = 0.5,
) -> UnitCounts:
    """Count the answers of runs.

    Args:
        y_true: (N, L): 1, 0, NaN for unknown, which does not count.
        y_scores: Of each run (N, L) in 0..1.
        units: (N,): number of each sample's unit, 0.. .
        threshold: One for all labels or one a label.
    """
    known = ~np.isnan(y_true)
    runs = []
    for scores in y_scores:
        called = (scores >= threshold) & known
        runs.append(np.stack([called & (y_true == 1), called], axis=-1))
    answers = np.stack(runs, axis=1)
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    summed = np.add.reduceat(answers[order].astype(np.float32), starts, axis=0)
    return UnitCounts(summed, (y_true == 1).sum(0).astype(np.float64), known.sum(0).astype(np.float64))


def _f1(true: Floats, called: Floats, positives: Floats, known: Floats) -> Floats:
    return np.where(positives > 0, 2 * true / np.maximum(called + positives, 1), np.nan)


def _macro_f1(true: Floats, called: Floats, positives: Floats, known: Floats) -> Floats:
    defined = positives > 0
    if not defined.any():
        return np.full(true.shape[:-1], np.nan)
    return np.asarray(_f1(true, called, positives, known)[..., defined].mean(-1))


def _micro_f1(true: Floats, called: Floats, positives: Floats, known: Floats) -> Floats:
    total = positives.sum()
    if total == 0:
        return np.full(true.shape[:-1], np.nan)
    return np.asarray(2 * true.sum(-1) / (called.sum(-1) + total))


def _weighted_f1(true: Floats, called: Floats, positives: Floats, known: Floats) -> Floats:
    total = positives.sum()
    if total == 0:
        return np.full(true.shape[:-1], np.nan)
    f1 = np.where(positives > 0, 2 * true / np.maximum(called + positives, 1), 0)
    return np.asarray(f1 @ positives / total)


def _accuracy(true: Floats, called: Floats, positives: Floats, known: Floats) -> Floats:
    some = known > 0
    if not some.any():
        return np.full(true.shape[:-1], np.nan)
    right = known - positives - called + 2 * true
    return np.asarray((right[..., some] / known[some]).mean(-1))


COUNT_SCORES: dict[str, CountScore] = {
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "weighted_f1": _weighted_f1,
    "accuracy": _accuracy,
}
"""Scores that follow from counts, each from (..., L) true positives and called, (L,) positives and known to (...)."""


def swap_p_value(a: UnitCounts, b: UnitCounts, score: CountScore, draws: int = PERMUTATIONS, seed: int = 2) -> float:
    """Two-sided p-value of two rows' answers being interchangeable.

    The statistic is the difference of the mean scores over each row's runs. With few units that differ all swaps are
    taken, and the p-value is exact; otherwise random ones, and one is added to both counts (Phipson and Smyth,
    "Permutation p-values should never be zero", 2010). Where no random one reaches the difference, the normal
    distribution with the permutations' spread tells how far beyond them it lies.

    It takes the runs as they are: that other seeds would have given other runs is not its business.

    Args:
        a: Answers of one row's runs.
        b: The other's, on the same samples.
        score: One of `COUNT_SCORES`, or alike.
        draws: Random permutations.
        seed: The same seed gives the same permutations.

    Returns:
        In 0..1; NaN where a score is undefined.
    """
    runs = math.lcm(a.answers.shape[1], b.answers.shape[1])  # each of a's runs against as many of b's
    first, second = (np.resize(np.moveaxis(one.answers, 1, 0), (runs, *one.answers[:, 0].shape)) for one in (a, b))
    change = np.moveaxis(second - first, 0, 1)
    change = change[change.any(axis=(1, 2, 3))]
    sums = [one.sum(axis=1, dtype=np.float64) for one in (first, second)]

    def difference(moved: Floats) -> Floats:
        """Of the mean scores when this was moved from b to a, (P, runs, L, 2) to (P,)."""
        mine, other = sums[0] + moved, sums[1] - moved
        scores = [score(side[..., 0], side[..., 1], a.positives, a.known) for side in (mine, other)]
        return np.asarray((scores[0] - scores[1]).mean(-1))

    observed = abs(float(difference(np.zeros((1, *sums[0].shape)))[0]))
    if math.isnan(observed):
        return math.nan
    if not len(change):
        return 1.0
    exact = len(change) <= _EXACT_UNITS and 2 ** len(change) <= max(draws, 2)
    rng = np.random.default_rng(seed)
    flat, found = change.reshape(len(change), -1), []
    total = 2 ** len(change) if exact else draws
    for start in range(0, total, _BLOCK):
        count = min(_BLOCK, total - start)
        if exact:
            swaps = (np.arange(start, start + count)[:, None] >> np.arange(len(change))) & 1
        else:
            swaps = rng.integers(0, 2, (count, len(change)), dtype=np.uint8)
        found.append(difference((swaps.astype(np.float32) @ flat).reshape(count, *change.shape[1:])))
    differences = np.abs(np.concatenate(found))
    reached = int((differences >= observed - 1e-9).sum())
    if exact:
        return reached / total
    p = (reached + 1) / (total + 1)
    if reached:
        return p
    from scipy.special import ndtr

    return min(p, 2 * float(ndtr(-observed / np.sqrt(np.mean(differences**2)))))
