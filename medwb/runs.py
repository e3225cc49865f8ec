"""Run: a folder that holds all there is to know about one training."""

import fcntl
import json
import os
import secrets
import socket
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES, describe_layers
from medwb.config import RunConfig, input_shape, make_config
from medwb.dataset import SPLITS, Dataset
from medwb.errors import RequestError, unknown_name
from medwb.paths import check_name, replacing, runs_dir, write_text
from medwb.versions import git_commit, package_versions

if TYPE_CHECKING:
    from medwb.audit.certificate import Certificate
    from medwb.audit.cleaning import Cleaning
    from medwb.augment import Augmentation

State = Literal["queued", "running", "stopping", "stopped", "finished", "failed"]
ACTIVE_STATES = ("queued", "running", "stopping")


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
        try:
            record: dict[str, Any] = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            # A run from before there were recipes learned as the reference study did.
            config = make_config({"recipe": "reference", **record["config"]}, str(self.path / "config.json"))
            for part, kind in (("fingerprint", str), ("label_names", list)):
                if not isinstance(record["dataset"][part], kind):
                    raise TypeError(f"{part} is {record['dataset'][part]!r}")
            record["created"] = float(record["created"])
            return record, config
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
        """`status.json` as it stands; a run whose process is gone is `failed`, never `running`."""
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
            at_work = status["state"] in ("running", "stopping")
            if status["state"] not in get_args(State) or (at_work and not {"pid", "process_started"} <= set(status)):
                raise ValueError(f"state {status['state']!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {"state": "failed", "error": f"status.json is damaged ({type(error).__name__}: {error})"}
        if (
            at_work
            and status.get("host") == socket.gethostname()
            and not _alive(status["pid"], status["process_started"])
        ):
            reason = "the process is gone: it was killed, or the machine ran out of memory or was restarted"
            return {**status, "state": "failed", "error": reason}
        return status

    @property
    def state(self) -> State:
        """The state alone."""
        state: State = self.status()["state"]
        return state

    def update_status(self, **changes: Any) -> None:
        """Change keys of `status.json` in one step, under a lock on the run."""
        self._change_status(changes, only_from=None)

    def cancel(self) -> bool:
        """Mark a queued run as stopped; False when it is not queued any more."""
        return self._change_status({"state": "stopped"}, only_from="queued")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process or thread changes what stands in the folder meanwhile, if it asks as well."""
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _change_status(self, changes: Mapping[str, Any], only_from: State | None) -> bool:
        """Change `status.json`, unless the state is not the one expected; says whether it was changed."""
        path = self.path / "status.json"
        with self.locked():
            status = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if only_from is not None and status.get("state") != only_from:
                return False
            write_text(path, json.dumps({**status, **changes}, indent=1) + "\n")
            return True

    def claim(self) -> bool:
        """Mark a queued run as running in this process; False when it is not queued any more."""
        claimed = {
            "state": "running",
            "pid": os.getpid(),
            "process_started": _process_start(os.getpid()),
            "host": socket.gethostname(),
            "started": time.time(),
            "error": None,
        }
        return self._change_status(claimed, only_from="queued")

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
        path = self.path / "log.txt"
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-lines:]) if path.exists() else ""


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


def create_run(config: RunConfig, dataset: Dataset) -> Run:
    """Write a run's folder in state `queued`. Raises RequestError as `check_trainable` does."""
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
        "certificate": certificate.to_json(),
        "created": time.time(),
        "versions": package_versions(),
        "git_commit": git_commit(),
    }
    run.update_status(state="queued", epoch=0, epochs=config.epochs, collapsed=False, warnings=certificate.warnings)
    write_text(run.path / "config.json", json.dumps(record, indent=1) + "\n")
    return run


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


def _alive(pid: int, process_started: float) -> bool:
    """Whether the process that wrote the status still runs, and is not another one that got its number."""
    started = _process_start(pid)
    return started is not None and abs(started - process_started) < 2.0


def _process_start(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None
