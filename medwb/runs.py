"""Run: a folder that holds all there is to know about one training."""

import json
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES, describe_layers
from medwb.architectures.weights import NAMED_WEIGHTS, check_weights, weights_digest
from medwb.config import RunConfig, input_shape, make_config, total_epochs
from medwb.dataset import SPLITS, Dataset
from medwb.errors import RequestError, unknown_name
from medwb.paths import check_name, replacing, runs_dir, write_text
from medwb.process import log_tail
from medwb.queue import next_order
from medwb.status import ACTIVE_STATES, State, cancel_status, claim_status, edit_status, locked, read_status
from medwb.versions import git_commit, package_versions

if TYPE_CHECKING:
    from medwb.audit.certificate import Certificate
    from medwb.audit.cleaning import Cleaning
    from medwb.augment import Augmentation

__all__ = [
    "ACTIVE_STATES", "Predictions", "Run", "State", "check_trainable", "create_run", "damaged_runs", "finished_runs",
    "first_status", "list_runs", "open_run", "run_augmentation", "run_cleaning",
]  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """What a run answered on one split.

    Attributes:
        ids: str (N,).
        y_true: float32 (N, L): 1, 0 or NaN for unknown.
        y_score: float32 (N, L) in 0..1.
    """

    ids: npt.NDArray[np.str_]
    y_true: npt.NDArray[np.float32]
    y_score: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """A run's folder, `runs/<id>/`.

    Attributes:
        path: The folder; its name is the run's id.
    """

    path: Path

    @property
    def id(self) -> str:
        """Name of the run."""
        return self.path.name

    @property
    def record(self) -> dict[str, Any]:
        """`config.json`: settings, dataset, cleaning, augmentation, leak certificate, versions, git commit."""
        return self._loaded[0]

    @property
    def config(self) -> RunConfig:
        """The run's settings."""
        return self._loaded[1]

    @cached_property
    def _loaded(self) -> tuple[dict[str, Any], RunConfig]:
        path = self.path / "config.json"
        try:
            facts = path.stat()
            return _load_config(path, (facts.st_mtime_ns, facts.st_ino, facts.st_size))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(f"run {self.id}: config.json is damaged ({error}); remove {self.path}") from error

    @property
    def label_names(self) -> tuple[str, ...]:
        """The dataset's labels when the run was made."""
        return tuple(self.record["dataset"]["label_names"])

    @property
    def fingerprint(self) -> str:
        """The dataset's fingerprint when the run was made."""
        return str(self.record["dataset"]["fingerprint"])

    @property
    def certificate(self) -> "Certificate | None":
        """Whether the splits that the run saw leak; None for a run from before there were certificates.

        Raises:
            RequestError: It is damaged, or was changed by hand.
        """
        from medwb.audit.certificate import read_certificate

        record = self.record.get("certificate")
        return None if record is None else read_certificate(record)

    @property
    def warnings(self) -> list[str]:
        """What makes the run's scores doubtful, a sentence each: leaks, and samples that its cleaning left out."""
        try:
            certificate = self.certificate
        except RequestError as error:
            return [str(error)]
        return certificate.warnings if certificate else []

    @property
    def epochs(self) -> int:
        """Epochs of each of its networks, at most; while it is queued, as far as the config and the dataset tell."""
        return int(self.status().get("epochs") or self.config.epochs)

    @property
    def cleaning_digest(self) -> str:
        """Digest of the cleaning that the run learned under; "" for none. The name alone may mean another by now."""
        return str((self.record.get("cleaning") or {}).get("digest", ""))

    @cached_property
    def augmentation(self) -> "Augmentation":
        """What training scans are augmented by, as the recipe stood when the run was made; without steps for none.

        Raises:
            RequestError: The record is damaged, or was changed by hand.
        """
        from medwb.augment import Augmentation, read_augmentation

        record = self.record.get("augmentation")
        if record is None:
            return Augmentation()
        where = f"run {self.id}: the augmentation in config.json"
        if not isinstance(record, dict):
            raise RequestError(f"{where} is damaged; launch a new run")
        recipe = read_augmentation({key: record[key] for key in ("steps", "about") if key in record}, where)
        if recipe.digest != record.get("digest"):
            raise RequestError(f"{where} was changed after the run was made; launch a new one")
        return recipe

    @property
    def augmentation_digest(self) -> str:
        """Digest of the recipe that the run learned with; "" for none. The name alone may mean another by now."""
        record = self.record.get("augmentation")
        return str(record.get("digest", "")) if isinstance(record, dict) else ""

    def status(self) -> dict[str, Any]:
        """What the run is at, as `medwb.status.read_status` sees it: a run whose process is gone is `failed`."""
        return read_status(self.path)

    @property
    def state(self) -> State:
        """The state alone."""
        state: State = self.status()["state"]
        return state

    def update_status(self, **changes: Any) -> None:
        """Change keys of `status.json` in one step, under a lock on the run."""
        edit_status(self.path, lambda status: {**status, **changes})

    def cancel(self) -> bool:
        """Mark a queued run as stopped; False when it is not queued any more."""
        return cancel_status(self.path)

    def claim(self) -> bool:
        """Mark a queued run as running in this process; False when it is not queued any more."""
        return claim_status(self.path)

    def locked(self) -> AbstractContextManager[None]:
        """No other process or thread changes what stands in the folder meanwhile, if it asks as well."""
        return locked(self.path)

    def history(self) -> pd.DataFrame:
        """`history.csv`, a row an epoch and head: `head`, `epoch`, `train_loss`, `val_loss`, ...; empty at first."""
        path = self.path / "history.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame()

    def predictions(self, split: str) -> Predictions:
        """What the run answered on a split. Raises RequestError when it has not, or the file is damaged."""
        with self._answers() as arrays:
            if f"{split}_id" not in arrays:
                raise RequestError(f"run {self.id} has no predictions for the split {split!r}")
            answer = Predictions(arrays[f"{split}_id"], arrays[f"{split}_true"], arrays[f"{split}_score"])
            shape = (len(answer.ids), len(self.label_names))
            if answer.y_true.shape != shape or answer.y_score.shape != shape:
                raise ValueError(f"truth {answer.y_true.shape} and scores {answer.y_score.shape}, expected {shape}")
            if not np.isfinite(answer.y_score).all():
                raise ValueError("scores that are no number")
        return answer

    def predicted_splits(self) -> list[str]:
        """The splits that the run has answered. Raises RequestError when the file is damaged."""
        if not (self.path / "predictions.npz").exists():
            return []
        with self._answers() as arrays:
            return [split for split in SPLITS if f"{split}_id" in arrays]

    @contextmanager
    def _answers(self) -> Iterator[Any]:
        """`predictions.npz`, open; whatever a missing or damaged one raises becomes one line."""
        try:
            with np.load(self.path / "predictions.npz", allow_pickle=False) as arrays:
                yield arrays
        except FileNotFoundError:
            raise RequestError(f"run {self.id} has no predictions yet; it is {self.state}") from None
        except RequestError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise RequestError(f"run {self.id}: predictions.npz is damaged ({error}); train again") from error

    def save_predictions(self, predictions: Mapping[str, Predictions]) -> None:
        """Write `predictions.npz`, three arrays a split."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for split, answer in predictions.items():
            arrays[f"{split}_id"] = answer.ids
            arrays[f"{split}_true"] = answer.y_true
            arrays[f"{split}_score"] = answer.y_score
        with replacing(self.path / "predictions.npz") as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of `log.txt`."""
        return log_tail(self.path, lines)


@lru_cache(2048)
def _load_config(path: Path, stamp: tuple[int, int, int]) -> tuple[dict[str, Any], RunConfig]:
    """A run's `config.json`, checked. Pages list all runs each second, so what has not changed is kept.

    Args:
        path: The file.
        stamp: What changes when the file does.
    """
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # A run from before there were recipes learned as the reference study did.
    config = make_config({"recipe": "reference", **record["config"]}, str(path))
    for part, kind in (("fingerprint", str), ("label_names", list)):
        if not isinstance(record["dataset"][part], kind):
            raise TypeError(f"{part} is {record['dataset'][part]!r}")
    record["created"] = float(record["created"])
    return record, config


def check_trainable(config: RunConfig, dataset: Dataset) -> None:
    """Raise RequestError unless a dataset can be trained on as a config says.

    It needs known labels in train and in val, after its cleaning too, scans that are large enough for the network,
    and an augmentation that suits them. Baselines cannot learn from labels that are shares of votes.
    """
    if dataset.name != config.dataset:
        raise RequestError(f"the config names dataset {config.dataset!r}, not {dataset.name!r}")
    _check_labels(dataset, dataset.known_label_splits(), "")
    architecture = ARCHITECTURES.get(config.architecture)
    if cleaning := run_cleaning(config, dataset):
        if cleaning.soft and not architecture.is_network:
            raise RequestError(
                f"{config.architecture} cannot learn from the cleaning {cleaning.name!r}: some of its labels are "
                "shares of votes; use a cleaning with keep-one-majority, or a network"
            )
        labelled = cleaning.labelled_splits(dataset)
        _check_labels(dataset, labelled, f" after the cleaning {cleaning.name!r}")
    shape = input_shape(config, dataset)
    run_augmentation(config).check(shape, f"augmentation {config.augmentation!r}")
    describe_layers(architecture, shape, len(dataset.label_names))
    check_weights(architecture, config.weights)


def _check_labels(dataset: Dataset, labelled: list[str], when: str) -> None:
    for split in ("train", "val"):
        if split not in labelled:
            raise RequestError(f"dataset {dataset.name!r} has no labelled {split} split{when}; training needs one")


def run_cleaning(config: RunConfig, dataset: Dataset) -> "Cleaning | None":
    """The cleaning that a config names, as it is saved now; None for "none".

    Raises:
        RequestError: There is none of that name, or it is stale or damaged.
    """
    if config.cleaning == RunConfig.model_fields["cleaning"].default:
        return None
    from medwb.audit.cleaning import open_cleaning

    return open_cleaning(dataset, config.cleaning)


def run_augmentation(config: RunConfig) -> "Augmentation":
    """The augmentation that a config names, as it is saved now; one without steps for "none".

    Raises:
        RequestError: There is none of that name, or it is damaged.
    """
    from medwb.augment import open_augmentation

    return open_augmentation(config.augmentation)


def create_run(config: RunConfig, dataset: Dataset, *, order: float | None = None, launcher: str = "local") -> Run:
    """Write a run's folder in state `queued`.

    Args:
        config: What to train.
        dataset: What to train on.
        order: Its place in the queue, the lowest first; None for the end.
        launcher: Who trains it: "local" for this machine's supervisor, or "ray".

    Raises:
        RequestError: As `check_trainable` does.
    """
    from medwb.audit.certificate import certify

    check_trainable(config, dataset)
    cleaning, augmentation = run_cleaning(config, dataset), run_augmentation(config)
    recipe = {"name": config.augmentation, "digest": augmentation.digest, **augmentation.describe()}
    certificate = certify(dataset, cleaning)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run = Run(runs_dir() / f"{stamp}-{config.architecture}-s{config.seed}-{secrets.token_hex(2)}")
    run.path.mkdir(parents=True)
    record = {
        "config": config.model_dump(),
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "label_names": list(dataset.label_names),
            "image_shape": list(dataset.image_shape),
        },
        "cleaning": cleaning.describe() if cleaning else None,
        "augmentation": recipe if config.augmentation != RunConfig.model_fields["augmentation"].default else None,
        "weights": weights_digest(config.weights) if config.weights not in NAMED_WEIGHTS else None,
        "certificate": certificate.to_json(),
        "created": time.time(),
        "versions": package_versions(),
        "git_commit": git_commit(),
    }
    place = next_order() if order is None else order
    try:
        steps = -(-int((dataset.samples["split"] == "train").sum()) // config.batch_size)
        first = {**first_status(config, certificate.warnings), "epochs": total_epochs(config, steps)}
        run.update_status(**first, launcher=launcher, order=place)
        write_text(run.path / "config.json", json.dumps(record, indent=1) + "\n")
    except OSError:  # the disk is full
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def first_status(config: RunConfig, warnings: list[str]) -> dict[str, Any]:
    """What stands in `status.json` before a training begins."""
    return {"state": "queued", "epoch": 0, "epochs": config.epochs, "collapsed": False, "warnings": warnings}


def open_run(run_id: str) -> Run:
    """Open a run by its id. Raises RequestError when there is none."""
    run = Run(runs_dir() / check_name(run_id, "run"))
    if not (run.path / "config.json").is_file():
        raise unknown_name("run", run_id, [other.id for other in list_runs()])
    return run


def list_runs(dataset: str | None = None) -> list[Run]:
    """All runs (of one dataset) in the order in which they were made; damaged folders are left out."""
    runs = [Run(path.parent) for path in runs_dir().glob("*/config.json")]
    readable = [run for run in runs if _readable(run) and dataset in (None, run.config.dataset)]
    return sorted(readable, key=lambda run: (run.record["created"], run.id))


def damaged_runs() -> dict[str, str]:
    """Id of each run folder whose config.json cannot be read to what is wrong with it."""
    found = {}
    for path in sorted(runs_dir().glob("*/config.json")):
        try:
            _ = Run(path.parent).config
        except RequestError as error:
            found[path.parent.name] = str(error)
    return found


def finished_runs(dataset: Dataset) -> tuple[list[Run], list[Run]]:
    """Finished runs on a dataset as it is now, and those that are stale: made on other data of that name."""
    finished = [run for run in list_runs(dataset.name) if run.state == "finished"]
    fresh = [run for run in finished if run.fingerprint == dataset.fingerprint]
    return fresh, [run for run in finished if run.fingerprint != dataset.fingerprint]


def _readable(run: Run) -> bool:
    try:
        return bool(run.config)
    except RequestError:
        return False
