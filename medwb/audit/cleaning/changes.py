"""The table of a cleaning, and what it does to a dataset."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.memory import Memory
from medwb.dataset import SPLITS, Dataset
from medwb.errors import RequestError

CLEANING_COLUMNS = ("id", "split", "action", "label", "old", "new", "reason", "policy")
"""Columns of a cleaning's table, one row a sample that leaves or a label that changes:

    id      the sample (str)
    split   the split that it is in (str)
    action  "exclude" (the sample leaves) or "label" (one of its labels changes)
    label   the label that changes (str); "" for a sample that leaves
    old     float32: 1, 0 or NaN for unknown; NaN for a sample that leaves
    new     float32 in 0..1, a share of votes where it lies between; NaN for unknown, and for a sample that leaves
    reason  why, in words (str)
    policy  the policy that did it (str)
"""

_labelled = Memory()
NO_CLEANING = "none"
"""What a run's settings call the absence of a cleaning; no cleaning has this name."""


@dataclass(frozen=True, eq=False)
class Cleaning:
    """What leaves a dataset and what changes in it, before a network learns.

    Attributes:
        dataset: Name of the dataset.
        fingerprint: The dataset's, when the cleaning was made.
        name: What a run's settings call it.
        policies: Names of the policies, in the order in which they acted.
        splits: The splits that they were allowed to act on.
        table: One row a change, columns `CLEANING_COLUMNS`, in the order of the dataset's samples and labels.
    """

    dataset: str
    fingerprint: str
    name: str
    policies: tuple[str, ...]
    splits: tuple[str, ...]
    table: pd.DataFrame

    @cached_property
    def digest(self) -> str:
        """16 hex digits over the dataset's fingerprint and all that changes; the wording of reasons is not in it."""
        digest = hashlib.blake2b(json.dumps(self.fingerprint).encode(), digest_size=8)
        for column in ("id", "action", "label"):
            digest.update(json.dumps(self.table[column].tolist()).encode())
        values = self.table[["old", "new"]].to_numpy(np.float32)
        digest.update(np.where(np.isnan(values), np.float32(-1), values).tobytes())  # there is more than one NaN
        return digest.hexdigest()

    @property
    def excluded(self) -> dict[str, int]:
        """Samples that leave, by split."""
        return self._count("exclude")

    @property
    def relabelled(self) -> dict[str, int]:
        """Labels that change, by split."""
        return self._count("label")

    def _count(self, action: str) -> dict[str, int]:
        splits = self.table.loc[self.table["action"] == action, "split"]
        return {split: int((splits == split).sum()) for split in SPLITS}

    @cached_property
    def soft(self) -> bool:
        """Whether some label becomes a share of votes, between 0 and 1."""
        new = self.table["new"].to_numpy(np.float32)
        return bool(((new > 0) & (new < 1)).any())

    def touches(self, split: str) -> bool:
        """Whether a sample of the split leaves or changes."""
        return bool((self.table["split"] == split).any())

    @property
    def notes(self) -> list[str]:
        """What a reader of scores must know, a sentence each."""
        notes = []
        for split in ("val", "test"):
            if self.touches(split):
                notes.append(
                    f"touches {split}: {counted(self.excluded[split], 'sample')} out, "
                    f"{counted(self.relabelled[split], 'label')} changed; predictions and tables still hold "
                    "all samples with their labels as imported"
                )
        if self.soft:
            notes.append("some labels are shares of votes: networks learn from them, baselines cannot")
        if not len(self.table):
            notes.append("nothing leaves and nothing changes")
        return notes

    def keep(self, dataset: Dataset) -> npt.NDArray[np.bool_]:
        """Which samples of the dataset stay, bool (N,). Raises RequestError as `apply` does."""
        self._check(dataset)
        keep = np.ones(len(dataset), bool)
        keep[self._positions(dataset, self.table.loc[self.table["action"] == "exclude", "id"])] = False
        return keep

    def apply(self, dataset: Dataset) -> Dataset:
        """The dataset without what leaves and with what changes; its images and the dataset given are untouched.

        Its fingerprint follows from the dataset's and the cleaning's; it is the dataset's own where nothing changes.

        Raises:
            RequestError: It is another dataset than the one that was cleaned, or has changed since.
        """
        keep = self.keep(dataset)
        if not len(self.table):
            return dataset
        changes = self.table[self.table["action"] == "label"]
        labels = dataset.labels.copy()
        sample = self._positions(dataset, changes["id"])
        labels[sample, pd.Index(dataset.label_names).get_indexer(pd.Index(changes["label"]))] = changes["new"]
        samples = dataset.samples.copy()
        for name, column in zip(dataset.label_names, labels.T, strict=True):
            samples[name] = column
        fingerprint = hashlib.blake2b(f"{dataset.fingerprint} {self.digest}".encode(), digest_size=8).hexdigest()
        return replace(dataset, samples=samples[keep], fingerprint=fingerprint)

    def labelled_splits(self, dataset: Dataset) -> list[str]:
        """The splits in which, after the cleaning, at least one label of one sample is known."""
        key = (dataset.fingerprint, len(dataset), self.digest)
        return _labelled.get(key, lambda: self.apply(dataset).known_label_splits())

    def _check(self, dataset: Dataset) -> None:
        if dataset.fingerprint != self.fingerprint:
            raise RequestError(
                f"cleaning {self.name!r} was made for other data ({self.fingerprint}) than {dataset.name!r} has now "
                f"({dataset.fingerprint}); run `{self.command}` again"
            )

    def _positions(self, dataset: Dataset, ids: pd.Series) -> npt.NDArray[np.int64]:
        """Where the samples stand in the dataset's table."""
        positions = np.asarray(pd.Index(dataset.samples["id"]).get_indexer(pd.Index(ids)), np.int64)
        if (positions < 0).any():
            raise RequestError(f"cleaning {self.name!r} is of all of {self.dataset!r}, not of a part of its samples")
        return positions

    @property
    def command(self) -> str:
        """The command that makes this cleaning anew."""
        scope = "" if self.splits == ("train",) else f" --splits {','.join(self.splits)}"
        return f"medwb clean {self.dataset} --policy {'+'.join(self.policies)}{scope} --name {self.name}"

    def describe(self) -> dict[str, Any]:
        """What a run records of it, and what `medwb clean --json` prints."""
        return {
            "name": self.name,
            "digest": self.digest,
            "policies": list(self.policies),
            "splits": list(self.splits),
            "excluded": self.excluded,
            "labels": self.relabelled,
            "soft": self.soft,
            "notes": self.notes,
        }

    def to_csv(self) -> str:
        """The table, one line a change."""
        return str(self.table.to_csv(index=False))


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 set", "2,000 sets"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
