"""What is drawn when samples are drawn: patients and sets of copies, whole."""

import numpy as np
import numpy.typing as npt

from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import Dataset
from medwb.statistics import number_groups


def resampling_units(part: Dataset, copies: DuplicateSets | None = None) -> npt.NDArray[np.int64]:
    """Samples that are drawn together: those of a group (patient), and copies of one another.

    Copies are no evidence of their own, as the scans of one patient are none. A placeholder is an exception: the
    labels of a thousand black frames are a thousand answers to nothing, and drawn as one they would make every
    interval useless. Its samples stay apart.

    Args:
        part: The samples, N of them.
        copies: Their exact copies; None looks for them.

    Returns:
        int64 (N,): a number a unit, 0.. without gaps.
    """
    found = exact_sets(part) if copies is None else copies
    pictures = np.where(found.placeholders, -1, found.units)
    pictures[found.placeholders] = found.units.max(initial=0) + 1 + np.arange(found.placeholders.sum())
    groups = DuplicateSets.from_keys(number_groups(part.samples["group"].to_numpy(str)))
    joined = groups.joined(DuplicateSets.from_keys(pictures))
    return np.unique(joined.units, return_inverse=True)[1].astype(np.int64)
