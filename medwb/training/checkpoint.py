"""Checkpoint: all that the next batch of a training depends on, in one file that is replaced in one step.

`checkpoint.npz` of a run folder holds arrays by name, and under "facts" JSON: what they belong to (config, data
fingerprint), where the training stands, and the machine. It is gone once the run is finished.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.errors import RequestError
from medwb.paths import replacing
from medwb.process import usable_cores
from medwb.runs import Run
from medwb.training.arithmetic import has_bfloat16
from medwb.versions import package_versions

CHECKPOINT_FILE = "checkpoint.npz"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read.

    Attributes:
        arrays: By name.
        facts: Where the training stands.
        elsewhere: What differs from the machine that wrote it, in words; "" when the same bits follow.
    """

    arrays: Mapping[str, Array]
    facts: Mapping[str, Any]
    elsewhere: str

    def group(self, name: str) -> list[Array]:
        """The arrays `name/0`, `name/1`, ... in order."""
        found: list[Array] = []
        while (array := self.arrays.get(f"{name}/{len(found)}")) is not None:
            found.append(array)
        return found


def numbered(name: str, arrays: Iterable[Array]) -> dict[str, Array]:
    """Arrays under the names that `Checkpoint.group` reads."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def save_checkpoint(run: Run, arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Replace the run's checkpoint, on the disk before the old one is gone.

    Raises:
        OSError: The disk is full or cannot be written; the old checkpoint is still there.
    """
    about = {**facts, **_identity(run), "machine": _machine()}
    with replacing(run.path / CHECKPOINT_FILE) as temporary, temporary.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            text = np.frombuffer(json.dumps(about).encode(), np.uint8)
            for name, array in {"facts": text, **arrays}.items():  # one after the other: large networks are large
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def open_checkpoint(run: Run) -> Checkpoint | None:
    """The run's checkpoint; None when there is none.

    Raises:
        RequestError: It is damaged, or the run's config is another than when it was written.
    """
    way_out = f"`medwb retry {run.id}` starts from the beginning"
    try:
        with np.load(run.path / CHECKPOINT_FILE, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        identity, machine = {key: facts[key] for key in _identity(run)}, dict(facts["machine"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RequestError(f"run {run.id}: {CHECKPOINT_FILE} is damaged ({error}); {way_out}") from error
    if identity != _identity(run):
        raise RequestError(f"run {run.id}: config.json was changed after {CHECKPOINT_FILE} was written; {way_out}")
    return Checkpoint(arrays, facts, _differences(machine, _machine()))


def remove_checkpoint(run: Run) -> None:
    """Remove the run's checkpoint, if there is one."""
    (run.path / CHECKPOINT_FILE).unlink(missing_ok=True)


def _identity(run: Run) -> dict[str, Any]:
    digests = {"cleaning": run.cleaning_digest, "augmentation": run.augmentation_digest}
    return {"config": run.config.model_dump(), "fingerprint": run.fingerprint, **digests}


def _machine() -> dict[str, str]:
    """What the last bits of a training depend on beside its config."""
    found = {name: text for name, text in package_versions().items() if name in ("tensorflow", "keras", "numpy")}
    cores = usable_cores()
    found["bfloat16"] = str(has_bfloat16())
    return {**found, "cores": str(cores), "oneDNN": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")}


def _differences(then: Mapping[str, Any], now: Mapping[str, str]) -> str:
    changed = {key: value for key, value in now.items() if then.get(key) != value}
    return ", ".join(f"{key} {then.get(key)} then, {value} now" for key, value in changed.items())
