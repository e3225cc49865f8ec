"""The trials of a search on disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from medwb.errors import RequestError
from medwb.runs import open_run

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: a score, or why there is none."""

    score: float = math.nan
    reason: str = ""


class Journal:
    """The trials of a search: Optuna's journal, lines of JSON that are only ever added to.

    Optuna pickles snapshots for Redis alone; the file backend has none.
    """

    def __init__(self, folder: Path, name: str, seed: int) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = folder / "journal.log"
        if file.exists():
            text = file.read_bytes()
            if text and not text.endswith(b"\n"):  # killed while a line was written
                file.write_bytes(text[: text.rfind(b"\n") + 1])
            Path(f"{file}.lock").unlink(missing_ok=True)  # its owner is gone: the search's own lock is ours
        self._seed = seed
        try:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
            self.study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            self.table()
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            raise RequestError(
                f"{file} is damaged ({type(error).__name__}: {error}); remove {folder}, or give another --name; "
                "runs that are there are used again"
            ) from error

    def open_trial(self) -> int | None:
        """Optuna's id of a trial that was begun and is not over."""
        return next((t._trial_id for t in self.study.trials if t.state.name == "RUNNING"), None)

    def next_trial(self) -> "optuna.trial.Trial":
        """The trial that was not over, or a new one, with a sampler that follows from the seed and its number."""
        import optuna

        waiting, trials = self.open_trial(), self.study.trials
        number = len([trial for trial in trials if trial.state.is_finished()])
        state = np.random.SeedSequence([self._seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(state))
        return optuna.trial.Trial(self.study, waiting) if waiting is not None else self.study.ask()

    def tried(self, before: int) -> list[dict[str, Any]]:
        """What earlier trials set."""
        return [trial.user_attrs.get("values", {}) for trial in self.study.trials if trial.number < before]

    def finish(self, trial: "optuna.trial.Trial", outcome: Outcome) -> None:
        """Write down how a trial ended."""
        import optuna

        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(trial, outcome.score)

    def table(self) -> pd.DataFrame:
        """`Search.trials`."""
        names = {"COMPLETE": "finished", "FAIL": "failed"}
        rows = [
            {
                "number": trial.number,
                "values": trial.user_attrs.get("values", {}),
                "settings": settings_text(trial.user_attrs.get("values", {})),
                "run": trial.user_attrs.get("run", ""),
                "state": names.get(trial.state.name, "open"),
                "reason": trial.user_attrs.get("reason", ""),
                "macro_f1": trial.value if trial.value is not None else math.nan,
                "seconds": _seconds(trial.user_attrs.get("run", "")),
            }
            for trial in self.study.trials
            if trial.state.name != "WAITING"
        ]
        columns = ["number", "values", "settings", "run", "state", "reason", "macro_f1", "seconds"]
        return pd.DataFrame(rows, columns=columns)


def settings_text(values: Mapping[str, Any]) -> str:
    """Settings as a table shows them, "epochs=2 heads=per-label"."""
    return " ".join(f"{key}={value}" for key, value in values.items())


def _seconds(run: str) -> float:
    """How long a run trained; NaN where it is not known, or the run was removed."""
    if not run:
        return math.nan
    try:
        return float(open_run(run).status().get("train_seconds") or math.nan)
    except RequestError:
        return math.nan
