"""What a training tells while it works: status.json, history.csv and a bar with an estimate."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from medwb.paths import replacing
from medwb.runs import Run
from medwb.training.loggers import RunLogger

_STATUS_EVERY_S = 1.0


class Reporter:
    """Keeps a run's status and history current; a context, during which a bar is drawn on a terminal.

    Attributes:
        stop_requested: Set when the run shall end after the batch at hand.
        stopped: Set when it has ended so, before its end.
        rows: The history so far, as `history.csv` has it.
    """

    def __init__(self, run: Run, loggers: Sequence[RunLogger] = ()) -> None:
        self.stop_requested = False
        self.stopped = False
        self.rows: list[dict[str, Any]] = []
        self._run = run
        self._loggers = loggers
        self._before = 0.0
        self._started = time.monotonic()
        self._first_step: float | None = None
        self._steps = 0
        self._aside = 0.0
        self._last_status = 0.0
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[score]}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(run.config.architecture, total=None, score="")

    def __enter__(self) -> "Reporter":
        self._started = time.monotonic()
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, done: int, total: int, epoch: int, head: str) -> None:
        """Say how far the whole run is: `done` of `total` steps, over all epochs and heads.

        The estimate is an upper bound where early stopping is on. It leaves out the first step, which compiles, and
        steps that early stopping passed over.
        """
        self._bar.update(self._task, completed=done, total=total, description=f"{head} epoch {epoch}")
        now = time.monotonic()
        self._first_step = self._first_step or now
        self._steps += 1
        if self.stop_requested or now - self._last_status >= _STATUS_EVERY_S:
            self._last_status = now
            eta = (now - self._first_step) / (self._steps - 1) * (total - done) if self._steps > 1 else None
            state = "stopping" if self.stop_requested else "running"
            self._run.update_status(state=state, epoch=epoch, head=head, eta=eta, done=done, total=total)

    def epoch(self, row: dict[str, Any], collapsed: bool) -> None:
        """Add a row to history.csv."""
        self.rows.append(row)
        self._write_history()
        for logger in self._loggers:
            logger.epoch(row)
        self._run.update_status(epoch=row["epoch"], head=row["head"], collapsed=collapsed)
        self._bar.update(self._task, score=f"F1 {row['val_f1']:.3f}")

    @contextmanager
    def aside(self) -> Generator[None]:
        """A body whose time is not counted as training."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._aside += time.monotonic() - started

    def restore(self, rows: list[dict[str, Any]], seconds: float) -> None:
        """Go on from a checkpoint: its history, and the time that was spent until then."""
        self.rows, self._before = rows, seconds
        self._write_history()

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, that before an interruption included."""
        return self._before + time.monotonic() - self._started - self._aside

    def totals(self) -> dict[str, float]:
        """Wall time of the training, for the final status."""
        return {"train_seconds": self.seconds, "finished": time.time()}

    def _write_history(self) -> None:
        with replacing(self._run.path / "history.csv") as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
