"""Looking into a run's networks: which runs can be, and the child process that does it, since it loads TensorFlow."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from medwb.architectures import ARCHITECTURES
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError
from medwb.paths import home
from medwb.progress import Progress, no_progress
from medwb.runs import ACTIVE_STATES, Run
from medwb.scoring import onnx_name, weights_files

_PAUSE_S = 0.1


def check_inspectable(run: Run, dataset: Dataset | None = None, *, answers_only: bool = False) -> Dataset:
    """The dataset of a run whose networks can be looked into.

    Args:
        run: Which run.
        dataset: What it was trained on; None opens it.
        answers_only: Whether ONNX files are enough where there are no weights.

    Raises:
        RequestError: It is no network's run, still runs, has no weights, or its dataset has changed.
    """
    architecture, config, state = ARCHITECTURES.get(run.config.architecture), run.config, run.state
    reason = ""
    if architecture.estimator is not None:
        reason = f"{architecture.name} is a baseline, which has no layers; choose a network's run"
    elif architecture.layers is None and architecture.backbone is None:
        reason = f"{architecture.name} is no network of its own; choose one of the runs that it is made of"
    elif config.frozen != "none":
        reason = "it fitted features of frozen weights, and no whole network is kept; choose another run"
    elif state in ACTIVE_STATES:
        reason = f"it is {state}; wait until it has ended"
    elif (missing := _missing(run, weights_files(run))) and not (answers_only and has_onnx(run)):
        after = f"it was {state} before its network was written; resume it" if state == "stopped" else "train again"
        reason = f"it has no {missing[0]}; {after}"
    if reason:
        raise RequestError(f"run {run.id} cannot be looked into: {reason}")
    data = open_dataset(config.dataset) if dataset is None else dataset
    if data.fingerprint != run.fingerprint:
        raise RequestError(
            f"run {run.id} is stale: dataset {data.name!r} has changed since it was trained ({run.fingerprint} "
            f"then, {data.fingerprint} now), so that its ids may mean other scans; train again"
        )
    return data


def head_of(run: Run, label: str) -> tuple[int, int]:
    """Which of a run's networks answers a label, and at which output. Raises RequestError for an unknown label."""
    from medwb.errors import unknown_name

    if label not in run.label_names:
        raise unknown_name(f"label of run {run.id}", label, run.label_names)
    index = run.label_names.index(label)
    return (0, index) if run.config.heads == "shared" else (index, 0)


def has_weights(run: Run) -> bool:
    """Whether the weights of all its networks are there."""
    return not _missing(run, weights_files(run))


def has_onnx(run: Run) -> bool:
    """Whether all its networks are there as ONNX."""
    heads = 1 if run.config.heads == "shared" else len(run.label_names)
    return not _missing(run, [onnx_name(run.config, head) for head in range(heads)])


def network_digest(run: Run, head: int) -> str:
    """What one of a run's networks computes, as 32 hex digits: its settings, its weights, and its dataset's scans.

    Without weights the ONNX file counts. What is kept under another digest is of another network.
    """
    name = weights_files(run)[head]
    path = run.path / name
    if not path.is_file():
        path = run.path / onnx_name(run.config, head)
    try:
        facts = path.stat()
        weights = _file_digest(path, (facts.st_mtime_ns, facts.st_size, facts.st_ino))
    except OSError as error:
        raise RequestError(f"run {run.id}: {path.name} cannot be read ({error.strerror or error})") from error
    settings = run.config.model_dump(include={"architecture", "scale", "loss", "heads", "channels", "image_size"})
    facts_text = json.dumps([1, path.suffix, weights, settings, run.fingerprint], sort_keys=True)
    return hashlib.sha256(facts_text.encode()).hexdigest()[:32]


@lru_cache(64)
def _file_digest(path: Path, stamp: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(run: Run, names: list[str]) -> list[str]:
    return [name for name in names if not (run.path / name).is_file()]


def ask_child(run: Run, request: dict[str, Any], progress: Progress = no_progress) -> None:
    """Let `medwb.training.explain` do what is asked; it writes into the run's folder.

    Args:
        run: Which run.
        request: What is asked, as that module reads it.
        progress: Told how far it is several times a second, (0, 0) while it starts; what it raises kills the child.

    Raises:
        RequestError: What is asked cannot be had, or the child died.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked, output, errors = folder / "request.json", folder / "output", folder / "errors"
        asked.write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "medwb.training.explain", str(run.path), str(asked)]
        environment = {**os.environ, "MEDWB_HOME": str(home()), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with output.open("wb") as out, errors.open("wb") as err:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        try:
            while child.poll() is None:
                progress(*_heard(output))
                time.sleep(_PAUSE_S)
        finally:  # whoever watches may have had enough
            child.kill()
            child.wait()
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if child.returncode == 2:
        raise RequestError(lines[-1].removeprefix("medwb: ") if lines else "the request was wrong")
    if child.returncode:
        killed = child.returncode < 0 or not lines
        reason = "it was killed, perhaps because memory ran out" if killed else lines[-1][:300]
        raise RequestError(f"run {run.id} could not be looked into: {reason}")
    progress(1, 1)


def _heard(output: Path) -> tuple[int, int]:
    """The last that a child has told: what is done, of how much."""
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    for line in reversed(lines):
        try:
            facts = json.loads(line)
            return int(facts["done"]), int(facts["total"])
        except (ValueError, KeyError, TypeError):  # a library that prints
            continue
    return 0, 0
