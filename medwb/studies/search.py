"""Search: good settings of one architecture, found by a sampler within a time budget.

Akiba et al., "Optuna: A next-generation hyperparameter optimization framework" (KDD 2019), with its tree-structured
Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011). Only the validation
split is looked at.
"""

import fcntl
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medwb import launch as launching
from medwb.architectures import ARCHITECTURES
from medwb.config import changed_settings, make_configs
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.metrics import average, evaluate
from medwb.paths import check_name, home, write_text
from medwb.runs import check_trainable
from medwb.strict_json import nan_to_none
from medwb.studies.arms import ensure_runs
from medwb.studies.journal import Journal, Outcome
from medwb.studies.space import Space, default_space, suggest, without
from medwb.studies.start import ARCHITECTURE, StudyGrid, plan_grid
from medwb.studies.study import SPLIT, Plan, Study, Variant
from medwb.studies.table import StudyTable

if TYPE_CHECKING:
    import optuna

MINUTES = 30.0
_REPEATS = 20  # trials in a row that propose what was tried already, or that fail: it would go on so
Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Search:
    """A search as it stands.

    Attributes:
        name: Its folder, below `searches/`.
        dataset: What is trained on.
        architecture: What is trained, by its registered name.
        settings: What all trials share.
        seed: Of every trial, and of the sampler.
        trials: One row a trial, in order. Columns: `number`, `values` (what it set), `settings` (the same, as text),
            `run` (its id), `state` ("finished", "failed" or "open"), `macro_f1` on validation at 0.5 (NaN unless
            finished), `seconds`.
        notes: What a reader must know.
        confirmation: The best trial's settings beside the usual ones, on new seeds; None when that was not asked.
    """

    name: str
    dataset: str
    architecture: str
    settings: Mapping[str, Any]
    seed: int
    trials: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    confirmation: StudyTable | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best trial; None when none is finished."""
        done = self.trials[self.trials["state"] == "finished"]
        if done.empty:
            return None
        rows: list[dict[str, Any]] = done.to_dict("records")  # type: ignore[assignment]
        return max(rows, key=lambda row: row["macro_f1"])

    @property
    def answer(self) -> str:
        """What was found, and how far it can be trusted."""
        best, count = self.best, int((self.trials["state"] == "finished").sum())
        if best is None:
            return "No trial is finished."
        found = (
            f"Best of {count} trials: macro F1 {best['macro_f1']:.3f} with {best['settings'] or 'nothing changed'}."
        )
        if self.confirmation is None:
            return (
                f"{found} The best of many is optimistic: it is not better than the usual settings before it is "
                "confirmed on new seeds (--confirm 3)."
            )
        return (
            f"{found} On new seeds: {self.confirmation.answer} The search chose on the same validation samples, so "
            "even this is a little optimistic."
        )

    def to_json(self) -> dict[str, Any]:
        """JSON; undefined is null."""
        rows = [
            {key: row[key] for key in ("number", "values", "run", "state", "macro_f1", "seconds")}
            for row in self.trials.to_dict("records")
        ]
        best = self.best
        facts: dict[str, Any] = {key: getattr(self, key) for key in ("name", "dataset", "architecture", "seed")}
        facts |= {"settings": dict(self.settings), "split": SPLIT, "trials": rows, "notes": self.notes}
        facts["best"] = {key: best[key] for key in ("number", "values", "run", "macro_f1")} if best else None
        facts["confirmation"] = self.confirmation.to_json() if self.confirmation else None
        answer: dict[str, Any] = nan_to_none({**facts, "answer": self.answer})
        return answer


def search(
    dataset: Dataset,
    architecture: str = ARCHITECTURE,
    settings: Mapping[str, Any] | None = None,
    *,
    minutes: float = MINUTES,
    trials: int | None = None,
    space: Space | None = None,
    seed: int = 0,
    name: str | None = None,
    report: Report | None = None,
) -> Search:
    """Try settings one after the other until the time is up; the same call goes on where the last one stopped.

    Each trial is an ordinary run, so one that is there already is not trained again. What a trial proposes follows
    from the seed, its number and the scores before it: a search that was interrupted proposes what an unbroken one
    does. A trial that is at work when the time is up is stopped, and is the first to go on.

    Args:
        dataset: What to train on; scored is its validation split.
        architecture: What to train.
        settings: What all trials share; these are not searched.
        minutes: How long to go on. No trial is begun that would, as the others went, not end in time.
        trials: How many trials the search has in all, those of earlier calls included; None for as many as fit.
        space: What to look through; None for `default_space`.
        seed: Of every trial and of the sampler.
        name: Folder below `searches/`; None for one that follows from dataset, architecture and seed.
        report: Is called with the row of each trial when it is over.

    Raises:
        RequestError: Settings or a space that cannot be trained, a search of that name that looks through something
            else or is at work, or a damaged journal.
    """
    network, shared = ARCHITECTURES.get(architecture), dict(settings or {})
    if not network.is_network:
        raise RequestError(f"{architecture} is a baseline, which has no settings to search; name a network")
    usual = make_configs(dataset.name, [network], shared, [seed])[0]
    check_trainable(usual, dataset)
    shared = {key: value for key, value in usual.model_dump().items() if key in shared}  # "2" is 2
    if not (dataset.split(SPLIT).labels == 1).any():
        raise RequestError(f"{SPLIT} of {dataset.name!r} has no positive, so there is no macro F1 to search by")
    looked = without(space or default_space(dataset), shared)
    if not looked:
        raise RequestError("every setting of the space is given, so there is nothing to search")
    known = check_name(name or f"{dataset.name}-{architecture}-s{seed}", "search")
    folder = home() / "searches" / known
    record = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "architecture": architecture,
        "settings": shared,
        "space": {dimension.name: dimension.describe() for dimension in looked},
        "seed": seed,
    }
    with _sole(folder, known):
        _same_search(folder, known, record)
        journal = Journal(folder, known, seed)
        usual_values = usual.model_dump()
        if not journal.study.trials:
            first = {d.name: usual_values[d.name] for d in looked if d.applies(usual_values)}
            inside = {d.name: first[d.name] for d in looked if d.name in first and d.holds(first[d.name])}
            journal.study.enqueue_trial(inside)  # what is usual is often good, and costs one trial
        deadline, notes, repeats, lost = time.monotonic() + 60 * minutes, list[str](), 0, 0
        while max(repeats, lost) < _REPEATS and not _over(journal, trials, deadline):
            trial = journal.next_trial()
            values = suggest(looked, trial, usual_values)
            repeats = repeats + 1 if values in journal.tried(before=trial.number) else 0
            trial.set_user_attr("values", values)
            outcome = _try(dataset, architecture, {**shared, **values}, seed, trial, deadline)
            if outcome is None:
                notes.append(
                    f"trial {trial.number} was stopped when the time was up; the same command goes on with it"
                )
                break
            journal.finish(trial, outcome)
            lost = lost + 1 if outcome.reason else 0
            if lost == _REPEATS:
                notes.append(f"{lost} trials in a row have failed, the last one because {outcome.reason}")
            if report:
                rows: list[dict[str, Any]] = journal.table().to_dict("records")  # type: ignore[assignment]
                report(rows[trial.number])
        if repeats >= _REPEATS:
            notes.append("the sampler proposes nothing new: the space is small, and has been looked through")
        return Search(known, dataset.name, architecture, shared, seed, journal.table(), notes)


def confirm_grid(found: Search, dataset: Dataset, seeds: int) -> StudyGrid | None:
    """The best trial's settings beside the usual ones, each on so many seeds that the search has not seen.

    Returns:
        What `start_runs` takes; None when the best trial sets nothing that is not usual.

    Raises:
        RequestError: No trial is finished.
    """
    best = found.best
    if best is None:
        raise RequestError(f"no trial of the search {found.name!r} is finished, so there is nothing to confirm")
    network, shared = [ARCHITECTURES.get(found.architecture)], dict(found.settings)
    usual, mine = make_configs(dataset.name, network, shared), {**shared, **best["values"]}
    if usual == make_configs(dataset.name, network, mine):
        return None
    count = int((found.trials["state"] == "finished").sum())
    plan = Plan(
        [Variant("usual settings", {}), Variant(f"best of {count} trials", best["values"], best["settings"])],
        notes=["the validation samples are those that the search chose on; the test split is untouched"],
    )
    question = "Are the settings that the search found better than the usual ones?"
    study = Study(f"search {found.name}", "Search", question, lambda _: plan, "The reference study made no search.")
    new = list(range(found.seed + 1, found.seed + 1 + seeds))
    return plan_grid(study, plan, dataset, found.architecture, shared, new)


def confirmed(found: Search, table: StudyTable) -> Search:
    """The search with its confirmation."""
    return replace(found, confirmation=table)


def _try(
    dataset: Dataset,
    architecture: str,
    settings: Mapping[str, Any],
    seed: int,
    trial: "optuna.trial.Trial",
    deadline: float,
) -> Outcome | None:
    """Train what a trial proposes; None when the time was up first."""
    try:
        config = make_configs(dataset.name, [ARCHITECTURES.get(architecture)], settings, [seed])[0]
        check_trainable(config, dataset)
    except RequestError as error:  # settings that do not go together
        return Outcome(reason=str(error))
    run = ensure_runs([config], dataset).runs[config]
    trial.set_user_attr("run", run.id)
    trial.set_user_attr("settings", changed_settings(config))
    late = False
    for statuses in launching.watch([run]):
        if not late and time.monotonic() > deadline and statuses[0]["state"] in ("queued", "running"):
            late = True
            with suppress(RequestError):  # it ended at this moment
                launching.stop(run)
    status = run.status()
    if status["state"] == "finished":
        try:
            answers = run.predictions(SPLIT)
        except RequestError as error:
            return Outcome(reason=str(error))
        return Outcome(float(average(evaluate("f1", answers.y_true, answers.y_score), "macro")[0]))
    if late and status["state"] == "stopped":
        return None
    return Outcome(reason=status.get("error") or f"the run is {status['state']}")


def _over(journal: "Journal", trials: int | None, deadline: float) -> bool:
    """Whether no trial shall be begun any more."""
    left = deadline - time.monotonic()
    done = journal.table()
    over = int((done["state"] != "open").sum())
    if left <= 0 or (trials is not None and over >= trials):
        return True
    seconds = done["seconds"].dropna()
    return bool(len(seconds)) and statistics.median(seconds) > left and journal.open_trial() is None


@contextmanager
def _sole(folder: Path, name: str) -> Iterator[None]:
    """No other process is at this search meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RequestError(
                f"the search {name!r} is at work in another process; wait for it, or give another --name"
            ) from None
        yield


def _same_search(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Write what a search looks through. Raises RequestError where another one has its name."""
    path = folder / "search.json"
    if not path.exists():
        return write_text(path, json.dumps(record, indent=1) + "\n")
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in record if before[key] != json.loads(json.dumps(record[key]))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} is damaged ({error}); remove {folder}, or give another --name") from error
    if differing:
        others = " and ".join(differing)
        raise RequestError(f"the search {name!r} was begun with another {others}; give a --name, or remove {folder}")
    return None
