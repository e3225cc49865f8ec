"""Multi-label stratified splits that never cut a group in two."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medwb.dataset import SPLITS
from medwb.errors import RequestError
from medwb.statistics import number_groups

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Read "0.7,0.15,0.15". Raises RequestError unless it is three shares that add up to 1, train above 0."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or not (min(shares) >= 0 and shares[0] > 0 and abs(sum(shares) - 1) < 1e-6):
        raise RequestError(f"--split {text!r} is not three shares that add up to 1, such as 0.7,0.15,0.15")
    return shares[0], shares[1], shares[2]


def draw_splits(
    labels: npt.NDArray[np.float32],
    groups: Sequence[str] | npt.NDArray[np.str_],
    fractions: Mapping[str, float],
    seed: int,
) -> npt.NDArray[np.str_]:
    """Draw a split for every sample by iterative stratification over groups.

    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data" (ECML PKDD 2011), algorithm 1,
    with a group in the place of an example: the label with the fewest samples left to place comes first, its
    groups (the largest first) go to the split that still wants most of that label, ties to the split that wants
    most samples, then at random. Samples without any positive label are placed last, by the number wanted.

    Args:
        labels: float32 (N, L): 1, 0 or NaN (counted as not positive).
        groups: N names; samples of one name stay together, "" stands alone.
        fractions: Share of each split, adding up to 1.
        seed: The same seed gives the same splits.

    Returns:
        N split names.
    """
    rng = np.random.default_rng(seed)
    unit_of = number_groups(np.asarray(groups, dtype=str))
    units = int(np.max(unit_of)) + 1
    sizes = np.bincount(unit_of, minlength=units)
    positives = np.nan_to_num(labels) > 0.5
    counts = np.zeros((units, labels.shape[1]))
    for column, positive in enumerate(positives.T):
        counts[:, column] = np.bincount(unit_of, positive, units)
    # Groups of the same size and labels are alike to the algorithm: they are placed together, which makes the work
    # grow with the number of different groups. Column 0 is their size, the others are their labels.
    kinds, kind_of = np.unique(np.column_stack([sizes, counts]), axis=0, return_inverse=True)
    left = np.bincount(kind_of.ravel(), minlength=len(kinds))

    names = [split for split in SPLITS if fractions.get(split, 0) > 0]
    wanted = (left @ kinds)[:, None] * [fractions[name] for name in names]  # [size and labels][split]
    shares = np.zeros((len(kinds), len(names)), np.int64)
    while left.any():
        remaining = left @ kinds
        scarce = np.where(remaining[1:] > 0, remaining[1:], np.inf)
        column = int(np.argmin(scarce) + 1) if np.isfinite(scarce).any() else 0
        for kind in sorted(
            np.flatnonzero((left > 0) & (kinds[:, column] > 0)).tolist(), key=lambda k: -kinds[k, column]
        ):
            shares[kind] = _pour(int(left[kind]), kinds[kind, column], wanted[column], wanted[0], rng)
            wanted -= kinds[kind][:, None] * shares[kind]
            left[kind] = 0

    placed = np.empty(units, np.int64)
    for kind, share in enumerate(shares):
        placed[rng.permutation(np.flatnonzero(kind_of.ravel() == kind))] = np.repeat(np.arange(len(names)), share)
    return np.array(names)[placed][unit_of]


def _pour(
    count: int,
    weight: float,
    wanted: npt.NDArray[np.float64],
    wanted_samples: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """How many of `count` equal groups each split gets when each in turn goes to the split that wants most.

    All but the last few are given at once: down to the level at which the splits that get some want equally much.
    """
    need = np.sort(wanted)[::-1] / weight
    levels = (np.cumsum(need) - count) / np.arange(1, len(need) + 1)
    level = levels[np.flatnonzero(levels < need)[-1]]
    share = np.maximum(np.floor(wanted / weight - level - 1e-9), 0).astype(np.int64)
    jitter = rng.random(len(wanted))
    for _ in range(count - int(share.sum())):
        open_need = wanted - weight * share
        share[max(range(len(wanted)), key=lambda s: (round(open_need[s], 6), wanted_samples[s], jitter[s]))] += 1
    return share
