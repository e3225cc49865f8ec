"""How sure a score is."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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


def number_groups(groups: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Number the groups 0..U-1, (N,) names to (N,) numbers; each sample without a group ("") is one of its own."""
    named = groups != ""
    unit_of = np.empty(len(groups), np.int64)
    unique, unit_of[named] = np.unique(groups[named], return_inverse=True)
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
