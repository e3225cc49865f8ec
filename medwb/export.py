"""A run's network as a file for other programs, with all that its user must know, once it gives the run's answers."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, input_shape
from medwb.dataset import Dataset, open_dataset
from medwb.decisions import decide
from medwb.errors import RequestError, unknown_name
from medwb.images import Pixels, to_shape
from medwb.paths import home, replacing
from medwb.predict import imported_shape
from medwb.runs import ACTIVE_STATES, Run
from medwb.scoring import onnx_name, onnx_session, weights_files
from medwb.strict_json import dump_json
from medwb.table import aligned_predictions
from medwb.versions import git_commit, package_versions

MOST_DIFFERENCE = {"onnx": 1e-4, "keras": 1e-4, "tflite": 1e-3}
"""Format to the largest difference of a score from the run's own at which a file is written."""

CHECKED = 256
"""Scans of validation on which a file is held against the run, at most."""

_SPLIT = "val"
_BATCH = 64
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Exported:
    """A model that was written.

    Attributes:
        path: The model.
        metadata_path: What its user must know, as JSON: the model's name with `.json` behind it.
        metadata: What stands there.
    """

    path: Path
    metadata_path: Path
    metadata: dict[str, Any]


def export_model(run: Run, format: str, out: Path | None = None) -> Exported:
    """Write a run's network as a file, and what its user must know as a second one beside it.

    The architecture is built from the registry and only weights are loaded into it. The file is written only when its
    scores of up to 256 scans of validation are those that the run saved. It takes uint8 (batch, height, width,
    channels) and gives float32 (batch, labels) in 0..1: scaling is inside.

    Args:
        run: A network's run on a dataset that has not changed since.
        format: A key of `MOST_DIFFERENCE`.
        out: The file, replaced in one step; `<run>.<format>` in this folder by itself.

    Raises:
        RequestError: No such format, no whole network, a stale dataset, weights that are damaged, answers that
            differ, or a place that cannot be written to. No file is left or changed then.
    """
    if format not in MOST_DIFFERENCE:
        raise unknown_name("format", format, MOST_DIFFERENCE)
    path = _check_out(run, format, Path(f"{run.id}.{format}") if out is None else out)
    beside = path.with_name(f"{path.name}.json")
    check_network(run)
    dataset = open_dataset(run.config.dataset)
    images, scores = checked_scans(run, dataset)
    try:
        with replacing(beside) as noted, replacing(path) as written:
            found = _write(run, format, written, images, scores)
            metadata = _metadata(run, dataset, format, path.name, written, found, len(images))
            noted.write_text(dump_json(metadata) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error.strerror or error}); choose another --out") from error
    return Exported(path, beside, metadata)


def check_network(run: Run) -> None:
    """Raise RequestError unless a run has kept a whole network's weights."""
    config, entry = run.config, ARCHITECTURES.get(run.config.architecture)
    reason = ""
    if not entry.is_network:
        reason = f"{entry.name} is a baseline, and only networks are kept; choose a network's run"
    elif config.frozen != "none":
        reason = "it fitted features of frozen weights, and only whole networks are kept; choose another run"
    elif (state := run.state) in ACTIVE_STATES:
        reason = f"it is {state}; its network is written when the training ends"
    elif missing := [name for name in weights_files(run) if not (run.path / name).is_file()]:
        reason = f"it has no {missing[0]}; train again"
    if reason:
        raise RequestError(f"run {run.id} cannot be exported: {reason}")


def checked_scans(run: Run, dataset: Dataset) -> tuple[Pixels, Scores]:
    """Scans of validation as the network sees them, evenly spread, and the scores that the run saved.

    Returns:
        uint8 (n, H, W, C) and float32 (n, L), n at most `CHECKED`.

    Raises:
        RequestError: The dataset has changed, or there are no answers.
    """
    if dataset.fingerprint != run.fingerprint:
        raise RequestError(
            f"run {run.id} is stale: dataset {dataset.name!r} has changed since it was trained ({run.fingerprint} "
            f"then, {dataset.fingerprint} now), so that a model cannot be held against its answers; train again"
        )
    part = dataset.split(_SPLIT)
    answer = aligned_predictions(run, _SPLIT, pd.Index(part.samples["id"]))
    places = np.unique(np.linspace(0, len(part) - 1, min(CHECKED, len(part))).astype(int))
    images = to_shape(dataset.images[part.rows[places]], input_shape(run.config, dataset))
    return images, answer.y_score[places]


def difference(found: npt.NDArray[Any], scores: Scores, format: str) -> float:
    """The largest difference of a score. Raises RequestError where it is more than the format may have."""
    if found.shape != scores.shape:
        raise RequestError(f"the {format} file answers {found.shape}, not {scores.shape}; it is not written")
    most = float(np.abs(found.astype(np.float64) - scores).max(initial=0))
    limit = MOST_DIFFERENCE[format]
    if not most <= limit:
        raise RequestError(
            f"the {format} file disagrees with the run: a score differs by {most:.2g}, over {limit:g}; it is not "
            "written. The run's files were changed since it answered; train again"
        )
    return most


def _check_out(run: Run, format: str, out: Path) -> Path:
    """The file to write, absolute."""
    if out.suffix.lower() != f".{format}":
        raise RequestError(f"--out {out} must end in .{format}, by which other programs know it")
    path = out.absolute()
    try:
        if path.is_dir():
            raise RequestError(f"{out} is a folder; name the file to write")
        if not path.parent.is_dir():
            raise RequestError(f"no such folder to write to: {path.parent}")
        if path.resolve().parent == run.path.resolve():
            raise RequestError(
                f"{out} lies in the run's own folder, whose files are its record; choose another --out"
            )
    except OSError as error:  # a name that is too long
        raise RequestError(f"{out} cannot be written ({error.strerror or error}); choose another --out") from error
    return path


def _write(run: Run, format: str, path: Path, images: Pixels, scores: Scores) -> float:
    """Write the model; the largest difference of its scores."""
    kept = run.path / onnx_name(run.config, 0)
    if format == "onnx" and run.config.heads == "shared" and kept.is_file():  # no TensorFlow needed
        shutil.copyfile(kept, path)
        return difference(onnx_scores(path, images, run.id), scores, format)
    command = [sys.executable, "-m", "medwb.training.export_model", str(run.path), format, str(path)]
    environment = {**os.environ, "MEDWB_HOME": str(home())}
    child = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if child.returncode == 2:
        raise RequestError(child.stderr.strip().splitlines()[-1].removeprefix("medwb: "))
    if child.returncode or not path.is_file():
        last = (child.stderr.strip().splitlines() or ["it was killed, perhaps because memory ran out"])[-1]
        raise RequestError(f"run {run.id} could not be exported as {format}: {last[:300]}")
    return float(json.loads(child.stdout.strip().splitlines()[-1])["difference"])


def onnx_scores(path: Path, images: Pixels, run_id: str) -> npt.NDArray[Any]:
    """What an ONNX file answers. Raises RequestError when it is damaged."""
    try:
        session = onnx_session(path)
        name = session.get_inputs()[0].name
        blocks = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
        return np.concatenate([session.run(None, {name: np.ascontiguousarray(block)})[0] for block in blocks])
    except Exception as error:  # the runtime raises what it likes
        text = " ".join(str(error).split())[:200]
        raise RequestError(f"run {run_id}: its ONNX file is damaged ({text}); train again") from error


def _metadata(
    run: Run, dataset: Dataset, format: str, name: str, written: Path, most: float, scans: int
) -> dict[str, Any]:
    """What the user of a model must know, ready for JSON."""
    from medwb.calibration import open_calibration

    config, decision, calibration = run.config, decide(run), open_calibration(run)
    height, width, channels = input_shape(config, dataset)
    return {
        "file": name,
        "format": format,
        "sha256": _sha256(written),
        "bytes": written.stat().st_size,
        "labels": list(run.label_names),
        "input": {"dtype": "uint8", "shape": [None, height, width, channels], "range": [0, 255]},
        "output": {"dtype": "float32", "shape": [None, len(run.label_names)], "range": [0, 1]},
        "preprocessing": _preprocessing(config, imported_shape(run), (height, width, channels)),
        "thresholds": decision.thresholds,
        "threshold_rule": decision.rule,
        "calibration": calibration and {"method": calibration.method, **_parameters(calibration.to_json())},
        "check": {
            "split": _SPLIT,
            "scans": scans,
            "max_difference": most,
            "limit": MOST_DIFFERENCE[format],
        },
        "run": run.id,
        "architecture": config.architecture,
        "settings": config.model_dump(),
        "dataset": {"name": dataset.name, "fingerprint": run.fingerprint},
        "weights": {file: _sha256(run.path / file) for file in weights_files(run)},
        "warnings": run.warnings,
        "versions": {**package_versions(), "onnxruntime": _version("onnxruntime")},
        "trained_with": run.record.get("versions", {}),
        "git_commit": git_commit(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _preprocessing(config: RunConfig, imported: tuple[int, int, int], shape: tuple[int, int, int]) -> dict[str, Any]:
    """What is done to a file before the model sees it, in order; `medwb predict` does just that."""
    height, width, channels = imported
    steps = [
        "decode to 8 bits: 16-bit pixels are divided by 256, or by 16 where none is above 4095; floating-point "
        "pixels are stretched from their least to their greatest; an alpha channel is dropped; RGB order",
        f"where the dataset has one channel and the scan three: grey by ITU-R BT.601 ({channels} in the dataset)",
        f"resize to {height} x {width} with the area filter; the aspect ratio is not kept",
    ]
    if shape[2] != channels:
        steps.append("grey by ITU-R BT.601" if shape[2] == 1 else "the one channel is repeated three times")
    if shape[:2] != (height, width):
        steps.append(f"resize to {shape[0]} x {shape[1]} with the area filter")
    scaling = "pixels are divided by 255" if config.scale else "pixels go in as 0..255"
    return {
        "imported_shape": list(imported),
        "input_shape": list(shape),
        "resize": "area",
        "channels": "grey" if shape[2] == 1 else "rgb",
        "steps": steps,
        "scaling": f"inside the model: {scaling}",
    }


def _parameters(record: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": record["parameters"], "applies_to": "scores; thresholds are of scores before calibration"}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
