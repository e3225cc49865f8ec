"""Multi-label stratified splits that never cut a group in two."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from medwb.dataset import SPLITS
from medwb.errors import RequestError

DEFAULT_FRACTIONS = (0.7, 0.15, 0.15)


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Read "0.7,0.15,0.15". Raises RequestError unless it is three shares that add up to 1, train above 0."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or min(shares) < 0 or shares[0] <= 0 or abs(sum(shares) - 1) > 1e-6:
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
    unit_of = _units(np.asarray(groups, dtype=str))
    units = int(unit_of.max()) + 1
    sizes = np.bincount(unit_of, minlength=units)
    positives = np.nan_to_num(labels) > 0.5
    counts = np.stack([np.bincount(unit_of, positive, units) for positive in positives.T], axis=1)

    names = [split for split in SPLITS if fractions.get(split, 0) > 0]
    shares = np.array([fractions[name] for name in names])
    wanted_labels = (counts.sum(0)[:, None] * shares).tolist()  # [label][split]
    wanted_samples = (sizes.sum() * shares).tolist()
    placed = np.full(units, -1)
    left = counts.sum(0)
    while True:
        open_labels = np.flatnonzero(left > 0)
        label = int(open_labels[np.argmin(left[open_labels])]) if len(open_labels) else -1
        member = (placed < 0) & (counts[:, label] > 0) if label >= 0 else placed < 0
        queue = rng.permutation(np.flatnonzero(member))
        if label < 0 and not len(queue):
            break
        weight = counts[:, label] if label >= 0 else sizes
        queue = queue[np.argsort(-weight[queue], kind="stable")]
        wanted = wanted_labels[label] if label >= 0 else wanted_samples
        jitter = rng.random(len(names)).tolist()
        for unit in queue.tolist():
            split = max(range(len(names)), key=lambda s: (wanted[s], wanted_samples[s], jitter[s]))
            placed[unit] = split
            wanted_samples[split] -= int(sizes[unit])
            for other in np.flatnonzero(counts[unit]).tolist():
                wanted_labels[other][split] -= counts[unit, other]
        left = counts[placed < 0].sum(0)
    return np.array(names)[placed][unit_of]


def _units(groups: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Number the groups 0..U-1; each sample without a group is a unit of its own."""
    named = groups != ""
    unit_of = np.empty(len(groups), np.int64)
    unique, unit_of[named] = np.unique(groups[named], return_inverse=True)
    unit_of[~named] = len(unique) + np.arange((~named).sum())
    return unit_of
