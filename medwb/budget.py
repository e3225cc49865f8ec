"""The arithmetic of the budget planner: from the parts of a training to a whole selection, and what of it fits."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, changed_settings, total_epochs
from medwb.estimate import duration, may_stop_early

CHECKPOINT_EVERY_S = 120.0
"""A long epoch writes a checkpoint so often, beside that at its end."""

BUSY = 0.75
"""Load a core above which a machine is busy."""

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Seconds:
    """A time with the range that the spread of what was measured gives it."""

    value: float
    low: float
    high: float

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> "Seconds":
        return Seconds(self.value * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        return f"{duration(self.value)} [{duration(self.low)}, {duration(self.high)}]"


@dataclass(frozen=True)
class Measurement:
    """What the parts of one training take on this machine, in seconds.

    Attributes:
        start: Starting the process, loading packages, opening the dataset.
        data: Cleaning, and finding equal scans.
        head: Once a network: building, compiling, weights and ONNX file.
        epoch: Once an epoch, beside steps and scoring: its first batch, and the scores of the training scans.
        checkpoint: Writing a checkpoint.
        step: A step, its batch included; None for a baseline.
        steps: How many an epoch has.
        score: Scoring one scan.
        val: Scans that are scored after each epoch.
        scans: Scans that are scored at the end.
        heads: How many networks are trained.
        whole: What follows on the start of a baseline; None for a network.
        load: Processes that wanted a core, a core, when the measuring began; above 1 it was slowed down.
    """

    start: float
    data: float
    head: float = 0.0
    epoch: float = 0.0
    checkpoint: float = 0.0
    step: Seconds | None = None
    steps: int = 0
    score: float = 0.0
    val: int = 0
    scans: int = 0
    heads: int = 1
    whole: Seconds | None = None
    load: float = 0.0

    def run_seconds(self, epochs: int) -> Seconds:
        """How long a run takes that does not stop early.

        Scoring is given the spread of the steps; what comes once a run, or once a network, was measured once.
        """
        fixed = self.start + self.data
        if self.step is None:
            return Seconds(fixed, fixed, fixed) + (self.whole or Seconds(0, 0, 0))
        learning = self.steps * self.step.value + self.epoch
        saving = self.checkpoint * (1 + learning // CHECKPOINT_EVERY_S)
        fixed += self.heads * (self.head + epochs * (self.epoch + saving))
        scoring = self.score * (epochs * self.val + self.scans) / self.step.value
        return Seconds(fixed, fixed, fixed) + self.step * (self.heads * (epochs * self.steps + scoring))


@dataclass(frozen=True)
class Row:
    """One architecture of a selection.

    Attributes:
        config: Its settings; the seed is that of the first run.
        runs: Trainings, one a seed.
        measured: What its parts take; None when that is not known.
        error: Why it is not; "" when nobody has measured yet.
    """

    config: RunConfig
    runs: int
    measured: Measurement | None = None
    error: str = ""

    @property
    def epochs(self) -> int:
        """Epochs of a network; 0 for a baseline."""
        if not ARCHITECTURES.get(self.config.architecture).is_network:
            return 0
        return total_epochs(self.config, self.measured.steps) if self.measured else self.config.epochs

    def seconds(self, runs: int | None = None, epochs: int | None = None) -> Seconds:
        """How long its runs take one after the other; with at most so many runs, and epochs, where given."""
        if self.measured is None:
            raise ValueError(f"{self.config.architecture} is not measured")
        most = self.epochs if epochs is None else min(epochs, self.epochs)
        return self.measured.run_seconds(most) * (self.runs if runs is None else min(runs, self.runs))

    def to_json(self) -> dict[str, Any]:
        """The row as `medwb plan --json` prints it; null for what is not known."""
        known = self.measured
        return {
            "architecture": self.config.architecture,
            "heads": self.config.heads,
            "settings": changed_settings(self.config),
            "step_seconds": asdict(known.step) if known and known.step else None,
            "steps": known.steps if known and known.step else None,
            "epochs": self.epochs or None,
            "run_seconds": asdict(self.seconds(1)) if known else None,
            "runs": self.runs,
            "at_most": may_stop_early(self.config),
            "error": self.error or None,
        }


@dataclass(frozen=True)
class Fits:
    """What of a selection fits into a time, all runs one after the other.

    Attributes:
        seeds: With so many seeds all architectures fit as they are; 0 when not even one does.
        fewer_epochs: (seeds, epochs): what all would fit with, as many epochs as possible; None where there is no
            such number, or nothing is to be saved.
        architectures: Those that fit together with `architecture_seeds` seeds, the cheapest first.
        architecture_seeds: All seeds, or one when no architecture fits with all of them.
    """

    seeds: int
    fewer_epochs: tuple[int, int] | None
    architectures: tuple[str, ...]
    architecture_seeds: int


@dataclass(frozen=True)
class Budget:
    """How long a selection takes.

    Attributes:
        dataset: Name of the dataset.
        machine: What was measured on.
        rows: One an architecture, or settings of one, in the order of the selection.
        minutes: The time that it is compared with; None for none.
        at_once: How many runs train at once here.
    """

    dataset: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    minutes: float | None = None
    at_once: int = 1

    @property
    def known(self) -> list[Row]:
        """The rows that were measured."""
        return [row for row in self.rows if row.measured]

    @property
    def seeds(self) -> int:
        """The most runs of an architecture."""
        return max((row.runs for row in self.known), default=0)

    @property
    def total(self) -> Seconds | None:
        """All runs that are known of, one after the other; None when none is."""
        return _total(self.known) if self.known else None

    def fits(self) -> Fits | None:
        """What fits into `minutes`; None where no time is given or nothing is known."""
        rows = self.known
        if self.minutes is None or not rows:
            return None
        limit = 60 * self.minutes
        seeds = bisect_right(range(1, self.seeds + 1), limit, key=lambda runs: _total(rows, runs).value)
        fewer = None
        if seeds < self.seeds and (most := max(row.epochs for row in rows)):
            asked = self.seeds if seeds else 1
            epochs = bisect_right(range(1, most + 1), limit, key=lambda e: _total(rows, asked, e).value)
            fewer = (asked, epochs) if epochs else None
        for runs in (self.seeds, 1):
            if names := _cheapest(rows, runs, limit):
                break
        return Fits(seeds, fewer, tuple(names), runs)

    @property
    def answer(self) -> str:
        """The whole in a plain sentence."""
        rows, fits, total = self.known, self.fits(), self.total
        if total is None:
            return "Nothing is measured yet."
        count, runs = len(rows), self.seeds
        some = any(may_stop_early(row.config) for row in rows)
        word = _WORDS[count] if count < len(_WORDS) else str(count)
        begin = f"{word.capitalize()} architecture{'' if count == 1 else 's'} with {_number(runs, 'seed')} "
        begin += f"{'takes' if count == 1 else 'take'} {'at most' if some else 'about'} {duration(total.value)}"
        if missing := [row.config.architecture for row in self.rows if row.measured is None]:
            begin += f", not counting {', '.join(dict.fromkeys(missing))}"
        if fits is None or self.minutes is None:
            return f"{begin}."
        time = _number(self.minutes, "minute")
        if fits.seeds == runs:
            return f"{begin}; that fits into {time}."
        ways = [f"with {_number(fits.seeds, 'seed')}"] if fits.seeds else []
        if fits.fewer_epochs:
            seeds, epochs = fits.fewer_epochs
            ways.append(f"with {_number(seeds, 'seed')} at {_number(epochs, 'epoch')}")
        subject = "it fits" if count == 1 else "fit both" if count == 2 else f"fit all {word}"
        parts = [f"{subject} {', or '.join(ways)}"] if ways else []
        if count > 1 and (some_fit := len(fits.architectures)) and some_fit < count:
            part = f"{some_fit} of them with {_number(fits.architecture_seeds, 'seed')}"
            parts.append(part if parts else f"fit only {part}")
        if parts:
            return f"{begin}; in {time} {', or '.join(parts)}."
        least = min(rows, key=lambda row: row.seconds(1).value)
        alone = f"one run of {least.config.architecture} alone takes about {duration(least.seconds(1).value)}"
        return f"{begin}; in {time} nothing fits: {alone}."

    @property
    def notes(self) -> list[str]:
        """What makes the figures doubtful, a sentence each."""
        notes, load = [], max((row.measured.load for row in self.known if row.measured), default=0.0)
        if load > BUSY:
            notes.append(
                f"The machine was busy when this was measured (load {load:.1f} a core): on a quiet one trainings "
                "take less."
            )
        if self.at_once > 1 and sum(row.runs for row in self.known) > 1:
            notes.append(
                f"Here {self.at_once} runs train at once, so that all may be over before the sum of their times."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """What `medwb plan --json` prints."""
        total, fits = self.total, self.fits()
        fewer = dict(zip(("seeds", "epochs"), fits.fewer_epochs, strict=True)) if fits and fits.fewer_epochs else None
        return {
            "dataset": self.dataset,
            "machine": self.machine,
            "rows": [row.to_json() for row in self.rows],
            "total_seconds": asdict(total) if total else None,
            "minutes": self.minutes,
            "fits": fits and {**asdict(fits), "architectures": list(fits.architectures), "fewer_epochs": fewer},
            "answer": self.answer,
            "notes": self.notes,
        }


def _total(rows: Sequence[Row], runs: int | None = None, epochs: int | None = None) -> Seconds:
    return sum((row.seconds(runs, epochs) for row in rows), Seconds(0.0, 0.0, 0.0))


def _cheapest(rows: Sequence[Row], runs: int, limit: float) -> list[str]:
    """The architectures that fit together into `limit` seconds with so many runs each, the cheapest first."""
    names, spent = list[str](), 0.0
    for row in sorted(rows, key=lambda row: row.seconds(runs).value):
        spent += row.seconds(runs).value
        if spent > limit:
            break
        names.append(row.config.architecture)
    return names


def _number(value: float, noun: str) -> str:
    return f"{value:g} {noun}{'' if value == 1 else 's'}"
