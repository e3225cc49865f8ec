"""How long runs will take, and the words for how far they are that the terminal, notebook and page share."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig
from medwb.runs import Run

_SAME_SPEED = (
    "architecture", "heads", "batch_size", "channels", "image_size", "precision", "copies", "cleaning",
    "augmentation", "weights", "frozen", "optimizer",
)  # fmt: skip
_START_S = 8.0  # loading TensorFlow and compiling, when no run has told
_LONGEST_START_S = 600.0


@dataclass(frozen=True)
class QueueEstimate:
    """What is known of the time until the queue is empty.

    Attributes:
        runs: How many runs are queued or at work.
        unknown: How many of them nothing is known of: nothing like them has trained here yet.
        seconds: Until the others are over; an upper bound where `at_most`.
        at_most: Whether one of them may stop early.
    """

    runs: int
    unknown: int
    seconds: float
    at_most: bool

    def __str__(self) -> str:
        if self.unknown == self.runs:
            return "no estimate yet: nothing like it has trained on this dataset"
        time = f"{'at most' if self.at_most else 'about'} {duration(self.seconds)}"
        if self.unknown:
            return (
                f"{time} for {self.runs - self.unknown} of {self.runs} runs; nothing like the others has trained yet"
            )
        return time


class Pace(NamedTuple):
    """How long runs of one kind took.

    Attributes:
        seconds: An epoch of one head; of a baseline the whole.
        start: What comes before the first epoch and after the last.
    """

    seconds: float
    start: float


Paces = Mapping[tuple[Any, ...], Pace]


def paces(runs: Sequence[Run]) -> Paces:
    """What past runs, and those at work, tell of the time that runs like them take.

    Alike are runs on the same data whose settings make a step as long. Of several the median counts.
    """
    told: dict[tuple[Any, ...], list[Pace]] = {}
    for run in runs:
        status = run.status()
        if (pace := _pace(run, status)) is not None:
            told.setdefault(_kind(run), []).append(pace)
    return {
        kind: Pace(statistics.median(p.seconds for p in found), statistics.median(p.start for p in found))
        for kind, found in told.items()
    }


def _pace(run: Run, status: Mapping[str, Any]) -> Pace | None:
    network = ARCHITECTURES.get(run.config.architecture).is_network
    if status["state"] == "finished":
        if not network:
            took = status.get("train_seconds")
            return Pace(float(took), _START_S) if took else None
        seconds = _epoch_seconds(run.path / "history.csv")
        if not seconds:
            return None
        start = status.get("finished", 0.0) - status.get("started", 0.0) - sum(seconds)
        # A run that was resumed, or a clock that was set meanwhile, says nothing about the start.
        return Pace(statistics.fmean(seconds), start if 0 < start < _LONGEST_START_S else _START_S)
    done, left, total = status.get("done"), status.get("eta"), status.get("total")
    if network and status["state"] == "running" and left and total and done and total > done:
        return Pace(left / (total - done) * total / (run.epochs * _heads(run)), _START_S)
    return None


def expected_seconds(run: Run, known: Paces) -> float | None:
    """How long a run takes from its start to its end when it does not stop early; None when nobody can say."""
    pace = known.get(_kind(run))
    if pace is None:
        return None
    network = ARCHITECTURES.get(run.config.architecture).is_network
    return pace.seconds * (run.epochs * _heads(run) if network else 1) + pace.start


def queue_estimate(
    runs: Sequence[Run], statuses: Mapping[str, Mapping[str, Any]], known: Paces, workers: int
) -> QueueEstimate:
    """How long until every active run is over.

    Args:
        runs: Active runs, those that wait in the order of the queue.
        statuses: Run id to status.
        known: What `paces` says.
        workers: How many train at once.
    """
    running = [run for run in runs if statuses[run.id]["state"] != "queued"]
    waiting = [run for run in runs if statuses[run.id]["state"] == "queued"]
    ends, unknown, at_most = list[float](), 0, False
    for run in [*running, *waiting]:
        eta = statuses[run.id].get("eta")
        seconds = float(eta) if run in running and eta is not None else expected_seconds(run, known)
        if seconds is None:
            unknown += 1
            continue
        at_most = at_most or may_stop_early(run.config)
        if run in running or len(ends) < workers:
            ends.append(seconds)
        else:
            ends[ends.index(min(ends))] += seconds
    return QueueEstimate(len(runs), unknown, max(ends, default=0.0), at_most)


def may_stop_early(config: RunConfig) -> bool:
    """Whether a run may end before its last epoch."""
    return bool(config.early_stopping_patience) and ARCHITECTURES.get(config.architecture).is_network


def progress_text(run: Run, status: Mapping[str, Any]) -> str:
    """How far a run is and how long it may still take, in words.

    Args:
        run: The run.
        status: Its status; `position` in it is its place in the queue.
    """
    state = status["state"]
    if state == "queued":
        return _queued_text(status)
    if state not in ("running", "stopping"):
        return state
    if not status.get("total"):
        return "starting"
    head = f", {status['head']}" if status.get("head") not in (None, "shared") else ""
    network = ARCHITECTURES.get(run.config.architecture).is_network
    parts = [
        f"epoch {status['epoch']} of {status.get('epochs', run.config.epochs)}{head}" if network else f"fitting{head}"
    ]
    parts += filter(None, [score_text(run)])
    eta = status.get("eta")
    if state == "stopping":
        parts.append("stopping after the batch")
    elif eta is not None:
        parts.append(f"{'at most' if run.config.early_stopping_patience else 'about'} {duration(eta)} left")
    return " · ".join(parts)


def _queued_text(status: Mapping[str, Any]) -> str:
    if status.get("starting"):
        return "starting"
    if status.get("launcher", "local") != "local":
        return "queued on the cluster"
    place = status.get("position")
    return "queued" if place is None else "queued: next" if place == 1 else f"queued: place {place}"


def score_text(run: Run) -> str:
    """The monitored score after the last epoch, such as "val f1 0.812"; "" before there is one."""
    try:
        with (run.path / "history.csv").open(encoding="utf-8", newline="") as file:
            last = list(csv.DictReader(file))[-1]
        return f"val {run.config.monitor} {float(last[f'val_{run.config.monitor}']):.3f}"
    except (OSError, IndexError, KeyError, ValueError, TypeError, csv.Error):
        return ""


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _kind(run: Run) -> tuple[Any, ...]:
    return (run.fingerprint, *(getattr(run.config, name) for name in _SAME_SPEED))


def _heads(run: Run) -> int:
    return 1 if run.config.heads == "shared" else len(run.label_names)


def _epoch_seconds(path: Path) -> list[float]:
    """Seconds of each epoch and head that a run has been through."""
    try:
        facts = path.stat()
        return _read_seconds(path, (facts.st_mtime_ns, facts.st_ino, facts.st_size))
    except (OSError, KeyError, ValueError, TypeError, csv.Error):
        return []


@lru_cache(2048)
def _read_seconds(path: Path, stamp: tuple[int, int, int]) -> list[float]:
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]
