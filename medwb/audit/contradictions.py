"""Contradictions: copies of one picture that are labelled differently."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medwb.audit.sets import DuplicateSets
from medwb.dataset import Dataset

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 2048  # frames read at a time

Counts = npt.NDArray[np.int64]


def count_votes(labels: npt.NDArray[np.float32], sets: DuplicateSets) -> tuple[Counts, Counts]:
    """How many samples of each set call each label.

    Args:
        labels: float (N, L): 1, 0 or NaN for unknown.
        sets: Sets among these N samples.

    Returns:
        Positive and negative samples, each int64 (sets, L); unknown labels are in neither.
    """
    member = sets.of >= 0
    of, votes = sets.of[member], labels[member]
    positive = np.zeros((len(sets), labels.shape[1]), np.int64)
    negative = np.zeros_like(positive)
    for label, column in enumerate(votes.T):
        positive[:, label] = np.bincount(of[column == 1], minlength=len(sets))
        negative[:, label] = np.bincount(of[column == 0], minlength=len(sets))
    return positive, negative


def contradicted(labels: npt.NDArray[np.float32], sets: DuplicateSets) -> npt.NDArray[np.bool_]:
    """Sets whose known labels hold both answers, bool (sets, L); `labels` is float (N, L), NaN for unknown."""
    positive, negative = count_votes(labels, sets)
    return (positive > 0) & (negative > 0)


def contradictory_samples(labels: npt.NDArray[np.float32], sets: DuplicateSets) -> npt.NDArray[np.bool_]:
    """Samples, bool (N,), of a set that contradicts itself on at least one label, whatever they say themselves."""
    disputed = contradicted(labels, sets).any(axis=1)
    return np.append(disputed, False)[sets.of]  # -1, no set, takes the last


def expected_labels(labels: npt.NDArray[np.float32], sets: DuplicateSets) -> npt.NDArray[np.float32]:
    """The vote share of each set, float32 (sets, L) in 0..1: positives of those known, NaN where none is.

    It is the expected label of a picture, and the answer that a network trained on cross-entropy tends to for it.
    """
    positive, negative = count_votes(labels, sets)
    return _share(positive, negative).astype(np.float32)


def vote_table(dataset: Dataset, sets: DuplicateSets) -> "pd.DataFrame":
    """What the copies of each picture say about each label.

    Args:
        dataset: The samples.
        sets: Sets among them.

    Returns:
        One row a set and label, sets in order: `set` ("set-3"), `label`, `samples` (in the set), `positive`,
        `negative`, `unknown` (int64, together `samples`), `share` (float32: the expected label, NaN where nothing
        is known), `contradicts` (bool: both answers occur) and `against` (int64: samples that say otherwise than
        the majority; half of the known ones where the vote is tied).
    """
    import pandas as pd

    positive, negative = (votes.ravel() for votes in count_votes(dataset.labels, sets))
    labels = len(dataset.label_names)
    samples = np.repeat(sets.sizes, labels)
    against = np.minimum(positive, negative)
    names = np.array([f"set-{number}" for number in range(len(sets))], object)
    return pd.DataFrame(
        {
            "set": np.repeat(names, labels),
            "label": np.tile(np.array(dataset.label_names, object), len(sets)),
            "samples": samples,
            "positive": positive,
            "negative": negative,
            "unknown": samples - positive - negative,
            "share": _share(positive, negative).astype(np.float32),
            "contradicts": against > 0,
            "against": against,
        }
    )


def chosen_sets(sets: DuplicateSets, mask: npt.ArrayLike) -> DuplicateSets:
    """Only the sets where `mask` (bool, one a set) is true, numbered anew; samples of the others are in no set."""
    keep = np.asarray(mask, bool)
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    return DuplicateSets(np.append(number, -1)[sets.of].astype(np.int64))


def black_sets(dataset: Dataset, sets: DuplicateSets) -> npt.NDArray[np.bool_]:
    """Sets of wholly black frames, bool (sets,): every pixel of the representative is 0."""
    rows = dataset.rows[sets.representatives]
    black = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _BLOCK):
        frames = dataset.images[rows[start : start + _BLOCK]]
        black[start : start + _BLOCK] = ~frames.reshape(len(frames), -1).any(axis=1)
    return black


def _share(positive: Counts, negative: Counts) -> npt.NDArray[np.float64]:
    known = positive + negative
    return np.divide(positive, known, out=np.full(known.shape, np.nan), where=known > 0)
