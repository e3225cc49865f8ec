"""Rows of a backbone's diagram without TensorFlow: shipped, kept from before, or told by a process of their own."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from medwb.architectures import Architecture, LayerFacts
from medwb.architectures.layers import Shape
from medwb.errors import RequestError, short
from medwb.paths import home, write_text

LEAST_SIDE = 28
"""Pixels of the shorter side that every backbone takes."""

SHIPPED_SHAPES: list[Shape] = [(side, side, channels) for side in (28, 64, 128, 224) for channels in (1, 3)]
"""Shapes whose facts come with the package. `python -m medwb.training.describe --ship` writes them anew."""

SHIPPED = "backbones.json"

_TIMEOUT_S = 300.0


def check_backbone_shape(architecture: Architecture, shape: Shape) -> None:
    """Raise RequestError unless a backbone takes scans of that shape (height, width, channels)."""
    if min(shape[:2]) < LEAST_SIDE:
        sides = " x ".join(map(str, shape[:2]))
        raise RequestError(
            f"{architecture.name} cannot take {sides} pixels: it needs {LEAST_SIDE} or more; set image_size"
        )
    if shape[2] not in (1, 3):
        raise RequestError(f"{architecture.name} takes 1 or 3 channels, not {shape[2]}; set channels")


def known_facts(architecture: Architecture, shape: Shape) -> list[LayerFacts]:
    """A backbone's rows where they are known without building it, else none.

    Args:
        architecture: A backbone.
        shape: (height, width, channels).
    """
    if shipped := _shipped().get(architecture.name, {}).get(_key(shape)):
        return facts_from_json(shipped)
    try:
        kept = json.loads(_path(architecture, shape).read_text(encoding="utf-8"))
        return facts_from_json(kept["layers"]) if kept["source"] == _source_digest(architecture) else []
    except (OSError, ValueError, TypeError, KeyError):  # missing, or damaged: it is written anew
        return []


def find_facts(architecture: Architecture, shape: Shape) -> list[LayerFacts]:
    """A backbone's rows; where they are not known, a process with Keras tells them, which takes seconds.

    Args:
        architecture: A backbone.
        shape: (height, width, channels).

    Raises:
        RequestError: The shape is too small, or the process could not build the network.
    """
    check_backbone_shape(architecture, shape)
    if known := known_facts(architecture, shape):
        return known
    command = [sys.executable, "-m", "medwb.training.describe", architecture.name, *map(str, shape)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise RequestError(f"{architecture.name} was not built within {_TIMEOUT_S:.0f} s; try again") from None
    try:
        facts = facts_from_json(json.loads(answer.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        reason = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise RequestError(f"{architecture.name} could not be built for {_key(shape)}: {short(reason)}") from None
    keep_facts(architecture, shape, facts)
    return facts


def keep_facts(architecture: Architecture, shape: Shape, facts: Sequence[LayerFacts]) -> None:
    """Keep a backbone's rows below MEDWB_HOME; where that cannot be written, they are told anew each time."""
    path = _path(architecture, shape)
    record = {"source": _source_digest(architecture), "layers": [list(row) for row in facts]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record) + "\n")
    except OSError:
        pass


def facts_from_json(rows: Any) -> list[LayerFacts]:
    """Rows as JSON has them. Raises ValueError or TypeError for anything else."""
    facts = [
        LayerFacts(str(label), tuple(map(int, before)), tuple(map(int, after)), int(parameters), int(products))
        for label, before, after, parameters, products in rows
    ]
    if not facts or any(before.output_shape != after.input_shape for before, after in pairwise(facts)):
        raise ValueError("rows that do not follow from one another")
    return facts


def _source_digest(architecture: Architecture) -> str:
    """Of the module that builds a backbone: facts of another one are out of date."""
    module = sys.modules.get(getattr(architecture.backbone, "__module__", ""))
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""


@cache
def _shipped() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((files("medwb.architectures") / SHIPPED).read_text(encoding="utf-8"))
    return record


@cache
def _keras() -> str:
    try:
        return version("keras")
    except PackageNotFoundError:
        return "none"


def _key(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _path(architecture: Architecture, shape: Shape) -> Path:
    name = f"{architecture.name}-{_key(shape)}-{_keras()}.json"
    return home() / "cache" / "architectures" / name
