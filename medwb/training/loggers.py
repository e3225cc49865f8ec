"""Telling MLflow and TensorBoard what a training does, where the user has asked for it.

- `MLFLOW_TRACKING_URI` (and the extra: pip install "medwb[mlflow]"): a run of the experiment that
  `MLFLOW_EXPERIMENT_NAME` names, "medwb" if it is not set.
- `MEDWB_TENSORBOARD`: 1 for the run folder's `tensorboard/`, or a folder, in which each run gets one of its name.

A logger never harms a training: it works in a thread of its own, so that a slow server costs no batch, and whatever
it raises is one warning in the run's log, after which it is left out. What it knows already is not written twice,
and what it missed is made up for from history.csv, so a run that was resumed is one run there too.
"""

import json
import logging
import math
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medwb.paths import home
from medwb.runs import Run

_FINISH_WITHIN_S = 60.0
_LOCK_WITHIN_S = 60.0
_BATCH = 1000  # metrics that MLflow takes in one call
_TAG_LENGTH = 5000
_PARAM_LENGTH = 6000
_NO_METRIC = ("head", "epoch")
_DATA_CLASS_SCALAR = 1  # of TensorBoard's summary.proto


class RunLogger(Protocol):
    """Somebody who is told what a training does."""

    def start(self, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """The training begins, or goes on.

        Args:
            config: The run's settings, by name.
            facts: What else belongs to the run, by name: texts, numbers, or what JSON can say.
        """

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch of a head is over.

        Args:
            row: The row of history.csv: `head`, `epoch` (from 1), and numbers; NaN where one is not defined.
        """

    def finish(self, status: Mapping[str, Any], artifacts: Sequence[Path]) -> None:
        """The training has ended.

        Args:
            status: The run's `status.json` at its end.
            artifacts: Files to keep; those that do not exist are passed over.
        """


def loggers_for(run: Run) -> list[RunLogger]:
    """The loggers that the environment asks for; none of their methods raises, or takes longer than a moment.

    `finish` is the exception: it waits for what is not written yet, 60 seconds at most.
    """
    found: list[RunLogger] = []
    if os.environ.get("MLFLOW_TRACKING_URI"):
        found.append(_Aside("MLflow", lambda: MlflowLogger(run)))
    folder = os.environ.get("MEDWB_TENSORBOARD", "")
    if folder not in ("", "0"):
        base = run.path / "tensorboard" if folder == "1" else Path(folder).expanduser().resolve() / run.id
        found.append(_Aside("TensorBoard", lambda: TensorBoardLogger(run, base)))
    return found


class _Aside:
    """A logger in a thread of its own, until it raises."""

    def __init__(self, name: str, make: Callable[[], RunLogger]) -> None:
        self._name = name
        self._make = make
        self._calls: queue.SimpleQueue[Callable[[RunLogger], None] | None] = queue.SimpleQueue()
        self._given_up = False
        self._thread = threading.Thread(target=self._work, name=f"{name} logger", daemon=True)
        self._thread.start()

    def start(self, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """As RunLogger."""
        self._calls.put(lambda logger: logger.start(config, facts))

    def epoch(self, row: Mapping[str, Any]) -> None:
        """As RunLogger."""
        kept = dict(row)
        self._calls.put(lambda logger: logger.epoch(kept))

    def finish(self, status: Mapping[str, Any], artifacts: Sequence[Path]) -> None:
        """As RunLogger."""
        self._calls.put(lambda logger: logger.finish(status, artifacts))
        self._calls.put(None)
        self._thread.join(_FINISH_WITHIN_S)
        if self._thread.is_alive():
            self._given_up = True
            logging.warning("%s is too slow: what it has not got by now is left out", self._name)

    def _work(self) -> None:
        try:
            logger = self._make()
            while (call := self._calls.get()) is not None:
                call(logger)
        except Exception as error:
            if not self._given_up:
                logging.warning("%s is left out from here on: %s", self._name, _one_line(error))


class MlflowLogger:
    """A run of MLflow for a run of medwb; may raise anything that MLflow does.

    The id of MLflow's run is kept in `status.json` as `mlflow_run`. Metrics are called `head/metric`, and an epoch is
    a step.
    """

    def __init__(self, run: Run) -> None:
        # Before the import: MLflow would look up a host that counts its users, and try a silent server for minutes.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        try:
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise ImportError(f'MLFLOW_TRACKING_URI is set, but {error}; pip install "medwb[mlflow]"') from error
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")  # MLflow's own business
        self._run = run
        with _sole_connection():
            self._client = MlflowClient()
            self._experiment = self._find_experiment()
        self._id = ""
        self._known: set[tuple[str, int]] = set()

    def start(self, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """Go on with the run that `status.json` names, or create one, and give it what history.csv has."""
        from mlflow.entities import Param, RunTag

        rows = self._run.history().to_dict("records")
        self._id = self._resumed(bool(rows)) or self._created()
        texts = {name: _text(value, _TAG_LENGTH) for name, value in {**self._identity(), **facts}.items()}
        known = self._client.get_run(self._id).data
        self._client.log_batch(
            self._id,
            params=[
                Param(name, _text(value, _PARAM_LENGTH)) for name, value in config.items() if name not in known.params
            ],
            tags=[RunTag(f"medwb.{name}", text) for name, text in texts.items()],
        )
        self._known = {
            (metric.key, metric.step)
            for key in known.metrics
            for metric in self._client.get_metric_history(self._id, key)
        }
        self._write(rows)

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Metrics of an epoch, unless it has them."""
        self._write([row])

    def finish(self, status: Mapping[str, Any], artifacts: Sequence[Path]) -> None:
        """Artifacts, then the end: FINISHED, KILLED for a run that was stopped, or FAILED."""
        for name in ("state", "error", "collapsed_labels", "train_seconds"):
            if status.get(name):
                self._client.set_tag(self._id, f"medwb.{name}", _text(status[name], _TAG_LENGTH))
        for path in artifacts:
            if path.is_file():
                self._client.log_artifact(self._id, str(path))
        ends = {"finished": "FINISHED", "stopped": "KILLED"}
        self._client.set_terminated(self._id, ends.get(str(status.get("state")), "FAILED"))

    def _find_experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "medwb"
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        # Without one, a database would note whatever folder this process happens to run in.
        files = (home() / "mlflow-artifacts").as_uri() if _is_database() else None
        return str(self._client.create_experiment(name, artifact_location=files))

    def _resumed(self, has_history: bool) -> str | None:
        """The run that `status.json` names, if it is still there and not of an earlier start from the beginning."""
        from mlflow.exceptions import MlflowException

        named = self._run.status().get("mlflow_run")
        if not named:
            return None
        try:
            found = self._client.get_run(named)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None  # it was of another server
        if found.info.lifecycle_stage != "active" or (found.data.metrics and not has_history):
            return None
        self._client.update_run(named, status="RUNNING")
        return str(named)

    def _created(self) -> str:
        made = self._client.create_run(self._experiment, run_name=self._run.id).info.run_id
        self._run.update_status(mlflow_run=made)
        return str(made)

    def _identity(self) -> dict[str, Any]:
        record = self._run.record
        return {
            "run": self._run.id,
            "dataset": record["dataset"]["name"],
            "fingerprint": self._run.fingerprint,
            "seed": self._run.config.seed,
            "git_commit": record.get("git_commit") or "unknown",
        }

    def _write(self, rows: Sequence[Mapping[Any, Any]]) -> None:
        from mlflow.entities import Metric

        now, new = int(time.time() * 1000), []
        for row in rows:
            for name, value in _numbers(row):
                key = f"{_key(str(row['head']))}/{name}"
                if (key, int(row["epoch"])) not in self._known:
                    self._known.add((key, int(row["epoch"])))
                    new.append(Metric(key, value, now, int(row["epoch"])))
        for first in range(0, len(new), _BATCH):
            self._client.log_batch(self._id, metrics=new[first : first + _BATCH])


class TensorBoardLogger:
    """Event files for TensorBoard, `train/` and `val/` below a folder, so that it draws the two in one chart."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._writers: dict[str, Any] = {}
        self._known: set[tuple[str, str, int]] = set()

    def start(self, config: dict[str, Any], facts: dict[str, Any]) -> None:
        """Read what an interrupted training has written, and give it what history.csv has."""
        rows = self._run.history().to_dict("records")
        for part in ("train", "val"):
            for file in sorted((self._folder / part).glob("events.out.tfevents.*")):
                if rows:
                    self._known |= {(part, tag, step) for tag, step, _ in read_events(file)}
                else:  # the run has started from the beginning
                    file.unlink()
        for row in rows:
            self.epoch(row)

    def epoch(self, row: Mapping[Any, Any]) -> None:
        """Scalars of an epoch, unless it has them: `train_loss` of a head is its `loss` in `train/`."""
        step = int(row["epoch"])
        for name, value in _numbers(row):
            part, _, metric = name.partition("_")
            part, tag = (
                (part, f"{row['head']}/{metric}") if part in ("train", "val") else ("train", f"{row['head']}/{name}")
            )
            if (part, tag, step) not in self._known:
                self._known.add((part, tag, step))
                self._write(part, tag, value, step)
        for writer in self._writers.values():
            writer.flush()

    def finish(self, status: Mapping[str, Any], artifacts: Sequence[Path]) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _write(self, part: str, tag: str, value: float, step: int) -> None:
        import tensorflow as tf

        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(str(self._folder / part))
        # tf.summary.scalar does the same, but only where the package tensorboard is installed.
        metadata = tf.compat.v1.SummaryMetadata(data_class=_DATA_CLASS_SCALAR)
        metadata.plugin_data.plugin_name = "scalars"
        with self._writers[part].as_default():
            tf.summary.write(tag, np.float32(value), step, metadata)


def read_events(file: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of each scalar in an event file; a last record that was cut off ends it."""
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                yield value.tag, int(event.step), float(tf.make_ndarray(value.tensor))
    except tf.errors.DataLossError:
        return


def _numbers(row: Mapping[Any, Any]) -> list[tuple[str, float]]:
    """The numbers of a row of history.csv, without what is not defined."""
    values = [(str(name), value) for name, value in row.items() if name not in _NO_METRIC and value is not None]
    numbers = [(name, float(value)) for name, value in values if not isinstance(value, str | bool)]
    return [(name, number) for name, number in numbers if math.isfinite(number)]


def _key(head: str) -> str:
    """A head's name as MLflow allows it in that of a metric."""
    return re.sub(r"[^\w\- ]", "_", head).strip() or "_"


def _text(value: Any, length: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else text[: length - 3] + "..."


def _one_line(error: Exception) -> str:
    """An exception as a log may show it: its first line, without a password that an address holds."""
    line = next(iter(str(error).strip().splitlines()), "")
    return re.sub(r"//[^/@\s]*@", "//***@", f"{type(error).__name__}: {line}")[:300]


def _is_database() -> bool:
    return not re.match(r"https?:|databricks|uc:", os.environ.get("MLFLOW_TRACKING_URI", ""))


@contextmanager
def _sole_connection() -> Iterator[None]:
    """Alone on this MEDWB_HOME, if MLflow writes a database: several that make it at once break it."""
    import fcntl

    if not _is_database():
        yield
        return
    deadline = time.monotonic() + _LOCK_WITHIN_S
    home().mkdir(parents=True, exist_ok=True)
    with (home() / ".mlflow.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process has held {home() / '.mlflow.lock'} for too long") from None
                time.sleep(0.1)
        yield
