"""Plants faults among the samples and keeps the answer key of what was planted where."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medwb.demo.changes import NEAR_CHANGES, Change, constant, inverted, same
from medwb.demo.plan import LABEL_NAMES, NESTED, SPLIT_SHARES

RATES = {
    "exact_copy": 0.004,
    "contradictory_copy": 0.002,
    "near_copy": 0.008,
    "exact_leak": 0.002,
    "near_leak": 0.002,
    "patient_leak": 0.001,
    "constant": 0.001,
    "inverted": 0.002,
    "wrong_label": 0.007,
}
"""How many of each fault are planted, as a share of all samples; at least one. Black frames are planned apart."""

LEAKED_SLICES = 2
"""Slices of a patient that stray into another split."""

GREYS = np.arange(16, 256)
"""Values a constant frame can have; each is used once, so that no two such frames are equal."""

KEY_COLUMNS = ("id", "fault", "set", "other", "detail")


@dataclass(frozen=True)
class Edit:
    """After drawing, the frame in `row` becomes `change` of the frame in `source`."""

    row: int
    source: int
    change: Change


@dataclass
class Planter:
    """Plants faults one kind after the other; no sample takes part in two.

    Attributes:
        samples: The plan (see `plan_samples`); its `patient` and label columns change as faults go in.
        rng: Where the choices come from.
        edits: What to do to the frames once they are drawn, in any order: none works on another's result.
    """

    samples: pd.DataFrame
    rng: np.random.Generator
    edits: list[Edit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids = self.samples["id"].to_numpy()
        self._splits = self.samples["split"].to_numpy()
        self._patients = self.samples["patient"].to_numpy(copy=True)
        self._labels = self.samples[list(LABEL_NAMES)].to_numpy(np.int8, copy=True)
        self._key: list[tuple[str, str, str, str, str]] = []
        black = self.samples["black"].to_numpy()
        self._free: dict[str, list[int]] = {
            split: self.rng.permutation(np.flatnonzero((self._splits == split) & ~black)).tolist()
            for split in SPLIT_SHARES
        }

    def plant(self) -> None:
        """Plant every kind in its number; those that need a certain split choose first."""
        for row in np.flatnonzero(self.samples["black"]):
            self._note(int(row), "black", set_id="black")
        kinds: dict[str, Callable[[int], None]] = {
            "patient_leak": self._patient_leak,
            "exact_leak": self._exact_leak,
            "near_leak": self._near_leak,
            "exact_copy": self._exact_copy,
            "contradictory_copy": self._contradictory_copy,
            "near_copy": self._near_copy,
            "inverted": self._inverted,
            "wrong_label": self._wrong_label,
        }
        for fault, plant in kinds.items():
            for turn in range(self._number(fault)):
                plant(turn)
        self._constants(min(self._number("constant"), len(GREYS)))
        self.samples["patient"] = self._patients
        self.samples[list(LABEL_NAMES)] = self._labels

    def answer_key(self) -> pd.DataFrame:
        """The faults planted: str columns `KEY_COLUMNS`."""
        return pd.DataFrame(self._key, columns=list(KEY_COLUMNS))

    def _number(self, fault: str) -> int:
        return max(1, round(RATES[fault] * len(self.samples)))

    def _note(self, row: int, fault: str, set_id: str = "", other: int | None = None, detail: str = "") -> None:
        self._key.append((self._ids[row], fault, set_id, "" if other is None else self._ids[other], detail))

    def _take(self, split: str | None = None, count: int = 1) -> list[int]:
        """Take samples that no fault has yet from one split; without a split, one is drawn by what it has left."""
        if split is None:
            left = {name: len(rows) for name, rows in self._free.items() if len(rows) >= count}
            shares = np.array(list(left.values())) / sum(left.values())
            split = str(self.rng.choice(list(left), p=shares))
        return [self._free[split].pop() for _ in range(count)]

    def _copy(
        self, fault: str, turn: int, rows: list[int], detail: str = "same labels", change: Change = same
    ) -> None:
        """Make all rows but the first copies of the first."""
        source, *copies = rows
        set_id = f"{fault}-{turn}"
        self._note(source, fault, set_id, detail="original")
        for row in copies:
            self.edits.append(Edit(row, source, change))
            self._labels[row] = self._labels[source]
            # In one split, a frame was exported twice. Across splits, it came in under another patient's name, and
            # only the pixels tell.
            if self._splits[row] == self._splits[source]:
                self._patients[row] = self._patients[source]
            self._note(row, fault, set_id, source, detail)

    def _exact_copy(self, turn: int) -> None:
        copies = 2 if turn % 4 == 3 else 1
        self._copy("exact_copy", turn, self._take(count=1 + copies))

    def _contradictory_copy(self, turn: int) -> None:
        source, row = rows = self._take(count=2)
        self._copy("contradictory_copy", turn, rows, "other labels")
        others = [pattern for pattern in NESTED if pattern != tuple(self._labels[source])]
        self._labels[row] = others[self.rng.integers(len(others))]

    def _near_copy(self, turn: int) -> None:
        rows = self._take(count=2)
        self._copy("near_copy", turn, rows, *self._near_change(turn))

    def _exact_leak(self, turn: int) -> None:
        self._copy("exact_leak", turn, self._take_across(turn))

    def _near_leak(self, turn: int) -> None:
        rows = self._take_across(turn)
        self._copy("near_leak", turn, rows, *self._near_change(turn))

    def _take_across(self, turn: int) -> list[int]:
        return self._take("train") + self._take("val" if turn % 2 else "test")

    def _near_change(self, turn: int) -> tuple[str, Change]:
        return NEAR_CHANGES[turn % len(NEAR_CHANGES)](self.rng)

    def _patient_leak(self, turn: int) -> None:
        (source,) = self._take("train")
        patient = int(self._patients[source])
        split = "test" if turn % 2 else "val"
        for row in self._take(split, LEAKED_SLICES):
            self._patients[row] = patient
            self._note(row, "patient_leak", patient_id(patient), source, f"a train patient in {split}")

    def _inverted(self, _turn: int) -> None:
        (row,) = self._take()
        self.edits.append(Edit(row, row, inverted))
        self._note(row, "inverted")

    def _wrong_label(self, _turn: int) -> None:
        (row,) = self._take()
        column = int(self.rng.integers(len(LABEL_NAMES)))
        right = int(self._labels[row, column])
        self._labels[row, column] = 1 - right
        self._note(row, "wrong_label", detail=f"{LABEL_NAMES[column]} {right}->{1 - right}")

    def _constants(self, number: int) -> None:
        for grey in self.rng.permutation(GREYS)[:number]:
            (row,) = self._take()
            self.edits.append(Edit(row, row, constant(int(grey))))
            self._note(row, "constant", "constant", detail=f"grey={grey}")


def patient_id(patient: int) -> str:
    """The group that a patient's samples carry."""
    return f"p{patient:04d}"
