"""How sure a score is."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

DRAWS = 1000
COVERAGE = 0.95


class Score(NamedTuple):
    """A value with the interval that it is reported with; NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "undefined"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def number_groups(groups: npt.NDArray[np.str_] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Number the groups 0..U-1, (N,) names to (N,) numbers; each sample without a group ("") is one of its own."""
    named = groups != ""
    unit_of = np.empty(len(groups), np.int64)
    unit_of[named], unique = pd.factorize(groups[named], sort=True)
    unit_of[~named] = len(unique) + np.arange((~named).sum())
    return unit_of


def bootstrap_weights(groups: npt.NDArray[np.str_], draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.uint16]:
    """How often each sample is drawn in each bootstrap replicate.

    Whole groups (patients) are drawn with replacement, since samples of one patient are not independent: the
    cluster bootstrap of Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.

    Args:
        groups: (N,) names; "" stands alone.
        draws: Number of replicates B.
        seed: The same seed gives the same draws, so that two runs are compared on the same replicates.

    Returns:
        uint16 (B, N): small, so that many replicates of a large split fit into a web server's memory.
    """
    rng = np.random.default_rng(seed)
    unit_of = number_groups(groups)
    units = int(np.max(unit_of)) + 1
    chances = np.full(units, 1 / units)
    counts = [rng.multinomial(units, chances).astype(np.uint16) for _ in range(draws)]
    return np.stack([count[unit_of] for count in counts])


def interval(value: float, replicates: npt.NDArray[np.float64]) -> Score:
    """Percentile interval of 95 % around a value; replicates in which the score is undefined do not count."""
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(defined):
        return Score(value, np.nan, np.nan)
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Score(float(value), float(low), float(high))


def mean_over_seeds(scores: npt.NDArray[np.float64], seed: int = 1) -> npt.NDArray[np.float64]:
    """The mean score of runs that differ by seed alone, under each weighting of the samples.

    A bootstrap replicate draws runs with replacement as it draws samples, so that an interval covers both what other
    samples and what other seeds would have given.

    Args:
        scores: float (runs, B, ...): each run's score on the samples as they are, then in each bootstrap replicate.
        seed: The same seed draws the same runs: scores of two settings are paired when their runs are in the same
            order.

    Returns:
        float64 (B, ...): the first is the mean of all runs, each further one that of the runs that it drew.
    """
    runs, replicates = scores.shape[:2]
    drawn = np.random.default_rng(seed).integers(runs, size=(replicates, runs))
    drawn[0] = np.arange(runs)
    return scores[drawn, np.arange(replicates)[:, None]].mean(axis=1)


def paired_difference(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Score:
    """How much better a is than b, with a 95 % interval, both scored on the same samples.

    The difference is taken inside each replicate, so that what makes the samples of a replicate easy or hard for
    both cancels: the paired bootstrap, as in Koehn, "Statistical significance tests for machine translation
    evaluation" (EMNLP 2004), here with percentile intervals. Two intervals that overlap say nothing about it.

    Args:
        a: float (B,): the score on the samples as they are, then in each bootstrap replicate.
        b: float (B,): the same of the other, from the same replicates in the same order (`bootstrap_weights` and
            `mean_over_seeds` with the same seeds).

    Returns:
        a - b; a NaN in either makes that replicate undefined.
    """
    difference = a - b
    return interval(difference[0], difference[1:])


def tied(difference: Score) -> bool:
    """Whether a difference may as well be none: its interval holds 0, or it is not known."""
    return not (difference.low > 0 or difference.high < 0)
