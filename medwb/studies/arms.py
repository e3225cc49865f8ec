"""Runs that did, or are about to do, just what a config says: found, continued or launched, never trained twice."""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from medwb import launch as launching
from medwb.config import RunConfig
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.paths import runs_dir
from medwb.runs import ACTIVE_STATES, Run, list_runs, run_augmentation, run_cleaning

_BEST_FIRST = ("finished", "running", "queued", "stopping", "stopped", "failed")


class Arms(NamedTuple):
    """What `ensure_runs` did.

    Attributes:
        runs: Each config's run.
        started: How many were queued anew.
        continued: How many had been stopped or had failed, and were queued again.
    """

    runs: dict[RunConfig, Run]
    started: int
    continued: int


def existing_runs(configs: Sequence[RunConfig], dataset: Dataset) -> dict[RunConfig, Run]:
    """The runs with these configs on the dataset as it is, under the cleanings and augmentations as they are now.

    Of several the finished one, else one under way, else one that was stopped or failed; of equals the newest.

    Raises:
        RequestError: A config names a cleaning or augmentation that is not there.
    """
    cleanings = {config.cleaning: _digest(config, dataset) for config in configs}
    recipes = {config.augmentation: run_augmentation(config).digest for config in configs}
    wanted, found = set(configs), dict[RunConfig, Run]()
    rank: dict[RunConfig, int] = {}
    for run in list_runs(dataset.name):
        config = run.config
        if config not in wanted or run.fingerprint != dataset.fingerprint:
            continue
        if (run.cleaning_digest, run.augmentation_digest) != (
            cleanings[config.cleaning],
            recipes[config.augmentation],
        ):
            continue
        place = _BEST_FIRST.index(run.state)
        if config not in rank or place <= rank[config]:
            found[config], rank[config] = run, place
    return found


def ensure_runs(configs: Sequence[RunConfig], dataset: Dataset) -> Arms:
    """See to it that each config has a run that is finished or under way; returns at once.

    Two commands at the same time do not start the same run twice.

    Raises:
        RequestError: A config cannot be trained on the dataset; nothing is queued then.
    """
    with _alone():
        found = existing_runs(configs, dataset)
        over = [config for config, run in found.items() if run.state in ("stopped", "failed")]
        continued = [config for config in over if _continue(found[config])]
        new = [config for config in configs if config not in found or (config in over and config not in continued)]
        if new:
            found |= dict(zip(new, launching.launch(new), strict=True))
        elif any(run.state == "queued" for run in found.values()):
            launching.start_worker()  # the one that they waited for may have been killed
    return Arms({config: found[config] for config in configs}, len(new), len(continued))


def _continue(run: Run) -> bool:
    """Queue a run again, to go on where it stopped; False where it cannot."""
    try:
        launching.resume(run)
    except RequestError:  # its folder cannot be written to, or somebody else was quicker
        return run.state in ACTIVE_STATES
    return True


def _digest(config: RunConfig, dataset: Dataset) -> str:
    made = run_cleaning(config, dataset)
    return made.digest if made else ""


@contextmanager
def _alone() -> Iterator[None]:
    """No other study looks for its runs meanwhile."""
    runs_dir().mkdir(parents=True, exist_ok=True)
    with (runs_dir() / ".studies.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
