"""Duplicate sets: which samples are copies of one another."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medwb.audit.workers import workers
from medwb.dataset import Dataset
from medwb.progress import Progress, no_progress

LARGE_SET = (50, 0.01)
"""A set of more copies than this, and than this share of samples, is a placeholder (a black frame, "no image")."""

_BLOCK_BYTES = 16_000_000  # of frames hashed by a thread at a time


@dataclass(frozen=True)
class DuplicateSets:
    """Sets of two or more samples that are copies; samples are named by their position in the dataset's table.

    Attributes:
        of: int64 (N,): number of each sample's set, 0.. in the order of the first members; -1 for no set.
    """

    of: npt.NDArray[np.int64]

    @staticmethod
    def from_keys(keys: npt.NDArray[np.generic]) -> "DuplicateSets":
        """Samples with the same key are copies. `keys` is (N,), of any type that sorts."""
        _, first, key_of, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        key_of = key_of.ravel()
        repeated = np.flatnonzero(count > 1)
        number = np.full(len(count), -1, np.int64)
        number[repeated[np.argsort(first[repeated], kind="stable")]] = np.arange(len(repeated))
        return DuplicateSets(number[key_of])

    @staticmethod
    def from_pairs(samples: int, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> "DuplicateSets":
        """Connected groups of pairs of positions (a[i], b[i]) among so many samples."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = coo_array((np.ones(len(a), bool), (a, b)), shape=(samples, samples))
        return DuplicateSets.from_keys(connected_components(links, directed=False)[1])

    def joined(self, other: "DuplicateSets") -> "DuplicateSets":
        """Sets in which everything is together that is together in one of the two."""
        units = np.concatenate([self.of, np.where(other.of >= 0, other.of + len(self), -1)])
        positions = np.tile(np.arange(len(self.of)), 2)
        member = units >= 0
        first = np.full(len(self) + len(other), len(self.of), np.int64)
        np.minimum.at(first, units[member], positions[member])
        return DuplicateSets.from_pairs(len(self.of), positions[member], first[units[member]])

    def restricted(self, mask: npt.ArrayLike) -> "DuplicateSets":
        """The sets among the samples where `mask` (N,) is true; positions count within these."""
        keep = np.asarray(mask, bool)
        units = self.units[keep]
        return DuplicateSets.from_keys(units)

    def __len__(self) -> int:
        return int(np.max(self.of, initial=-1)) + 1

    @property
    def samples(self) -> int:
        """Number of samples that are in a set."""
        return int((self.of >= 0).sum())

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """int64 (sets,): samples in each set."""
        return np.bincount(self.of[self.of >= 0], minlength=len(self))

    @cached_property
    def placeholders(self) -> npt.NDArray[np.bool_]:
        """bool (N,): samples of a set that is too large to be copies of one picture."""
        large = self.sizes > max(LARGE_SET[0], LARGE_SET[1] * len(self.of))
        return np.append(large, False)[self.of]

    @cached_property
    def representatives(self) -> npt.NDArray[np.int64]:
        """int64 (sets,): position of the first sample of each set, which stands for it."""
        member = np.flatnonzero(self.of >= 0)
        return member[np.unique(self.of[member], return_index=True)[1]]

    @cached_property
    def units(self) -> npt.NDArray[np.int64]:
        """int64 (N,): one number for the samples of a set, and one for each sample without a set."""
        units = self.of.copy()
        alone = units < 0
        units[alone] = len(self) + np.arange(alone.sum())
        return units

    def members(self) -> Iterator[npt.NDArray[np.int64]]:
        """Positions of the samples of each set, set by set."""
        order = np.argsort(self.of, kind="stable")[len(self.of) - self.samples :]
        return iter(np.split(order, np.cumsum(self.sizes)[:-1])) if len(self) else iter(())


def exact_sets(dataset: Dataset, progress: Progress = no_progress) -> DuplicateSets:
    """Samples whose decoded pixels are the same, whatever their files are.

    Pixels are compared by 128 bits of BLAKE2b: two different frames meet by chance once in 10^26 at a million.
    """
    rows = dataset.rows
    step = max(1, _BLOCK_BYTES // max(int(np.prod(dataset.image_shape)), 1))

    def digest(start: int) -> list[bytes]:
        frames = dataset.images[rows[start : start + step]]
        return [hashlib.blake2b(frame.data, digest_size=16).digest() for frame in frames]

    keys: list[bytes] = []
    with workers() as pool:
        for block in pool.map(digest, range(0, len(rows), step)):
            keys += block
            progress(len(keys), len(rows))
    return DuplicateSets.from_keys(np.frombuffer(b"".join(keys), np.dtype([("high", "<u8"), ("low", "<u8")])))


def without_copies(dataset: Dataset) -> Dataset:
    """Of samples whose pixels are the same the first one, with the share of their votes as its label.

    A vote is a known label of one of them; where there is none the label stays unknown.
    """
    units = exact_sets(dataset).units
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    votes = np.zeros((len(first), len(dataset.label_names), 2))  # known, and the sum
    for part, values in enumerate((~np.isnan(dataset.labels), np.nan_to_num(dataset.labels))):
        np.add.at(votes[..., part], unit, values)
    with np.errstate(invalid="ignore"):
        shares = (votes[..., 1] / votes[..., 0]).astype(np.float32)
    order = np.argsort(first)
    samples = dataset.samples.iloc[first[order]].copy()
    samples[list(dataset.label_names)] = shares[order]
    return replace(dataset, samples=samples)
