"""Leaks: copies of one picture, and samples of one group, that stand in more than one split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.sets import DuplicateSets
from medwb.dataset import SPLITS, Dataset
from medwb.statistics import number_groups

Kind = Literal["copies", "groups"]
_BLOCK = 2**24  # bytes of frames looked at together
_TRAIN, _VAL, _TEST = range(len(SPLITS))


@dataclass(frozen=True)
class Leaks:
    """Which samples meet another split, through a copy or through a group (patient).

    Frames of one value (all black, say) are copies of one another in name only: they show nothing that a network
    could remember. Sets of them are found and counted, but they touch no sample.

    Attributes:
        ids: object (N,): the samples.
        split_of: int64 (N,): each sample's split, as its place in `SPLITS`.
        copies: Sets of copies.
        groups: Samples of one named group; the blank group ties nothing together.
        group_of: object (N,): each sample's group, "" for none.
        constant: bool (sets,): sets of `copies` that stand in several splits and hold constant frames only.
    """

    ids: npt.NDArray[np.object_]
    split_of: npt.NDArray[np.int64]
    copies: DuplicateSets
    groups: DuplicateSets
    group_of: npt.NDArray[np.object_]
    constant: npt.NDArray[np.bool_]

    @cached_property
    def spread(self) -> dict[Kind, npt.NDArray[np.int64]]:
        """int64 (sets, 3) a kind: how many samples each set or group has in train, val and test."""
        return {"copies": _spread(self.copies, self.split_of), "groups": _spread(self.groups, self.split_of)}

    @cached_property
    def meets(self) -> dict[Kind, npt.NDArray[np.bool_]]:
        """bool (N, 3) a kind: which other splits each sample has a copy, or a sample of its group, in."""
        picture = self.spread["copies"] * ~self.constant[:, None]
        return {
            "copies": _meets(self.copies, picture, self.split_of),
            "groups": _meets(self.groups, self.spread["groups"], self.split_of),
        }

    @property
    def touched(self) -> npt.NDArray[np.bool_]:
        """bool (N, 3): which other splits each sample meets, in either way."""
        return self.meets["copies"] | self.meets["groups"]

    @property
    def clean(self) -> bool:
        """Whether no sample meets another split."""
        return not self.touched.any()

    def matrix(self, kind: Kind) -> pd.DataFrame:
        """Split by split: how many samples of the split in the row meet the split in the column; 0 with itself."""
        meets = self.meets[kind]
        rows = [meets[self.split_of == split].sum(axis=0) for split in range(len(SPLITS))]
        return pd.DataFrame(np.array(rows, np.int64), index=list(SPLITS), columns=list(SPLITS))

    def table(self) -> pd.DataFrame:
        """One row a set or group in several splits, the largest first.

        Columns: `kind` ("copies", "groups"), `name` ("set-3", or the group), `train`, `val`, `test` (samples there),
        `constant` (bool: frames of one value, which do not count as a leak).
        """
        parts = []
        for kind, spread in self.spread.items():
            wide = np.flatnonzero((spread > 0).sum(axis=1) > 1)
            if kind == "copies":
                names = [f"set-{number}" for number in wide]
            else:
                names = self.group_of[self.groups.representatives[wide]].tolist()
            part = pd.DataFrame(spread[wide], columns=list(SPLITS)).assign(kind=kind, name=names)
            parts.append(part.assign(constant=self.constant[wide] if kind == "copies" else False))
        table = pd.concat(parts, ignore_index=True)
        order = np.argsort(-table[list(SPLITS)].sum(axis=1).to_numpy(), kind="stable")
        return table.iloc[order].reset_index(drop=True)[["kind", "name", *SPLITS, "constant"]]

    def summary(self) -> dict[str, Any]:
        """The documented JSON.

        `sets` and `groups` stand in more than one split; `constant_sets` of the sets hold frames of one value. For
        val and test: `samples` in all, those that meet another split `by_copy`, `by_group` or either (`touched`),
        and the `share` of these, 0..1; `constant` frames are in sets that also stand elsewhere, and not in the rest.
        """
        several = {kind: (spread > 0).sum(axis=1) > 1 for kind, spread in self.spread.items()}
        answer: dict[str, Any] = {
            "groups": int(several["groups"].sum()),
            "sets": int(several["copies"].sum()),
            "constant_sets": int(self.constant.sum()),
        }
        for split in (_VAL, _TEST):
            here = self.split_of == split
            touched, samples = int(self.touched[here].any(axis=1).sum()), int(here.sum())
            answer[SPLITS[split]] = {
                "samples": samples,
                "by_copy": int(self.meets["copies"][here].any(axis=1).sum()),
                "by_group": int(self.meets["groups"][here].any(axis=1).sum()),
                "touched": touched,
                "share": touched / samples if samples else 0.0,
                "constant": int(self.spread["copies"][self.constant, split].sum()),
            }
        return answer

    def evidence(self, kind: Kind, positions: Sequence[int] | npt.NDArray[np.int64]) -> list[str]:
        """For samples that meet other splits, where: "copies in train: a.png and 2 more; in test: b.png"."""
        sets = self.copies if kind == "copies" else self.groups
        spread, meets = self.spread[kind], self.meets[kind]
        first = np.zeros(spread.shape, np.int64)
        member = np.flatnonzero(sets.of >= 0)[::-1]  # backwards, so that the first of a split is written last
        first[sets.of[member], self.split_of[member]] = member
        texts = []
        for position in np.asarray(positions, np.int64):
            number = sets.of[position]
            places = []
            for split in np.flatnonzero(meets[position]):
                more = f" and {spread[number, split] - 1:,} more" if spread[number, split] > 1 else ""
                places.append(f"in {SPLITS[split]}: {self.ids[first[number, split]]}{more}")
            what = "copies" if kind == "copies" else f"group {self.group_of[position]} is also"
            texts.append(f"{what} {'; '.join(places)}")
        return texts


def find_leaks(dataset: Dataset, copies: DuplicateSets) -> Leaks:
    """Find the sets of copies and the groups that stand in more than one split.

    Args:
        dataset: The samples, their splits and groups.
        copies: Sets of copies, in the order of the dataset's samples.
    """
    samples = dataset.samples
    place = {split: number for number, split in enumerate(SPLITS)}
    split_of = np.array([place[split] for split in samples["split"]], np.int64)
    group_of = samples["group"].to_numpy(object)
    groups = DuplicateSets.from_keys(number_groups(group_of))
    several = (_spread(copies, split_of) > 0).sum(axis=1) > 1
    return Leaks(
        samples["id"].to_numpy(object), split_of, copies, groups, group_of, _constant_sets(dataset, copies, several)
    )


def constant_frames(dataset: Dataset, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the samples at these positions are one value (or one colour) everywhere; bool, one a position."""
    rows = dataset.rows[positions]
    constant = np.zeros(len(rows), bool)
    block = max(_BLOCK // math.prod(dataset.image_shape), 1)
    for start in range(0, len(rows), block):
        frames = dataset.images[rows[start : start + block]]
        constant[start : start + block] = (frames == frames[:, :1, :1]).all(axis=(1, 2, 3))
    return constant


def _constant_sets(
    dataset: Dataset, copies: DuplicateSets, candidates: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which of the candidate sets, bool (sets,), hold constant frames only."""
    constant = candidates.copy()
    constant[candidates] = constant_frames(dataset, copies.representatives[candidates])
    member = np.flatnonzero(copies.of >= 0)
    member = member[constant[copies.of[member]]]  # near copies of a constant frame may have something on them
    constant[copies.of[member[~constant_frames(dataset, member)]]] = False
    return constant


def _spread(sets: DuplicateSets, split_of: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    member = sets.of >= 0
    cell = sets.of[member] * len(SPLITS) + split_of[member]
    return np.bincount(cell, minlength=len(sets) * len(SPLITS)).reshape(len(sets), len(SPLITS))


def _meets(
    sets: DuplicateSets, spread: npt.NDArray[np.int64], split_of: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    meets = np.zeros((len(split_of), len(SPLITS)), bool)
    member = np.flatnonzero(sets.of >= 0)
    meets[member] = spread[sets.of[member]] > 0
    meets[np.arange(len(split_of)), split_of] = False
    return meets
