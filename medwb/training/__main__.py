"""Train one run folder, in this process, from its config.json to its final state."""

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.architectures.weights import weights_digest
from medwb.audit.cleaning import Cleaning
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError
from medwb.metrics import collapsed_labels
from medwb.paths import sweep_files
from medwb.runs import Predictions, Run, run_cleaning
from medwb.training.checkpoint import remove_checkpoint
from medwb.training.data import RunData
from medwb.training.loggers import loggers_for
from medwb.training.reporting import Reporter

_ARTIFACTS = ("config.json", "history.csv", "log.txt", "predictions.npz", "model.onnx", "receipt.json")


def train(run: Run) -> str:
    """Train a run and return its final state, "finished" or "stopped".

    Raises:
        RequestError: The dataset or the cleaning is gone or has changed since the run was made, the record of its
            augmentation is damaged, or the run is over already.
    """
    dataset = open_dataset(run.config.dataset)
    if dataset.fingerprint != run.fingerprint:
        raise RequestError(
            f"dataset {dataset.name!r} has changed since run {run.id} was made "
            f"({run.fingerprint} then, {dataset.fingerprint} now); launch a new one"
        )
    cleaning, augmentation = _cleaning(run, dataset), run.augmentation
    if (known := run.record.get("weights")) and weights_digest(run.config.weights) != known:
        raise RequestError(f"{run.config.weights} has changed since run {run.id} was made; launch a new one")
    reporter = Reporter(run, loggers := loggers_for(run))
    signal.signal(signal.SIGTERM, lambda number, frame: _request_stop(reporter, frame))
    if not run.claim():
        raise RequestError(f"run {run.id} is {run.state}; launch a new one")
    sweep_files(run.path)
    architecture = ARCHITECTURES.get(run.config.architecture)
    data = RunData(dataset, run.config, cleaning, augmentation)
    if run.config.frozen != "none":
        from medwb.training.features import train_frozen as train_model
    elif architecture.is_network:
        from medwb.training.train_network import train_network as train_model
    else:
        from medwb.training.baseline import train_baseline as train_model
    logging.info("%s on %s (%s), %s", architecture.name, dataset.name, dataset.fingerprint, run.config)
    if architecture.is_network:
        run.update_status(epochs=data.epochs)
    for line in data.describe():
        logging.info("%s", line)
    for warning in run.warnings:
        logging.warning("%s", warning)
    for logger in loggers:
        logger.start(run.config.model_dump(), {key: run.record[key] for key in ("dataset", "versions", "git_commit")})
    state = "failed"
    try:
        with reporter:
            scores = train_model(run, data, reporter)
        state = _finish(run, data, reporter, scores)
    finally:
        for logger in loggers:
            logger.finish({**run.status(), "state": state}, [run.path / name for name in _ARTIFACTS])
    logging.info("%s", state)
    return state


def _finish(run: Run, data: RunData, reporter: Reporter, scores: dict[str, npt.NDArray[np.float32]] | None) -> str:
    """Save what the run answered, and give it its final state."""
    if scores is None:
        run.update_status(state="stopped", eta=0, **reporter.totals())
        logging.info("stopped before every label had its model: no answers are kept")
        return "stopped"
    names = data.dataset.label_names
    answers = {
        split: Predictions(data.split(split).samples["id"].to_numpy(str), data.split(split).labels, scores[split])
        for split in data.dataset.splits
    }
    run.save_predictions(answers)
    learnable = [len(np.unique(column[~np.isnan(column)])) > 1 for column in data.train.labels.T]
    collapsed = [
        label
        for label, flat, known in zip(names, collapsed_labels(answers["val"].y_score), learnable, strict=True)
        if flat and known and not ARCHITECTURES.get(run.config.architecture).constant
    ]
    if collapsed:
        logging.warning("collapsed: the same answer for every image on %s", ", ".join(collapsed))
    state = "stopped" if reporter.stopped else "finished"
    run.update_status(state=state, eta=0, collapsed=bool(collapsed), collapsed_labels=collapsed, **reporter.totals())
    if state == "finished":
        remove_checkpoint(run)
    return state


def _cleaning(run: Run, dataset: Dataset) -> Cleaning | None:
    """The run's cleaning; it must be the one that the run was made with."""
    cleaning = run_cleaning(run.config, dataset)
    then = (run.record.get("cleaning") or {}).get("digest")
    if cleaning is not None and cleaning.digest != then:
        raise RequestError(
            f"cleaning {cleaning.name!r} has changed since run {run.id} was made ({then} then, {cleaning.digest} "
            "now); launch a new one"
        )
    return cleaning


def _request_stop(reporter: Reporter, frame: FrameType | None) -> None:
    reporter.stop_requested = True


def _fail(run: Run, reason: str) -> None:
    """Give the run its final state, unless another process is at work on it."""
    status = run.status()
    if status["state"] == "queued" or status.get("pid") == os.getpid():
        run.update_status(state="failed", error=reason)


def main() -> int:
    """Exit status: 0 finished or stopped, 1 the work failed, 2 the request was wrong."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "config.json").is_file():
        print("usage: python -m medwb.training RUN_DIR   (a folder that `medwb train` made)", file=sys.stderr)
        return 2
    run = Run(Path(sys.argv[1]).resolve())
    logging.basicConfig(
        filename=run.path / "log.txt", level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.captureWarnings(True)
    try:
        train(run)
    except RequestError as error:
        logging.error("%s", error)
        _fail(run, str(error))
        print(f"medwb: {error}", file=sys.stderr)
        return 2
    except BaseException as error:
        logging.exception("the training failed")
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        _fail(run, reason)
        print(f"medwb: the training failed ({reason}); see {run.path / 'log.txt'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
