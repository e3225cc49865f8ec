"""The budget planner: how long a selection of trainings takes on this machine, and what of it fits into a given time.

A child process (`medwb.training.measure`) takes a few steps of each; the rest is arithmetic. Nothing is written into
`runs/`; what was measured is kept for a day below `cache/plan/`.
"""

import fcntl
import hashlib
import json
import math
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medwb.budget import Budget, Measurement, Row, Seconds
from medwb.config import RunConfig
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError, short
from medwb.paths import home, sweep, write_text
from medwb.process import usable_cores
from medwb.runs import check_trainable, run_augmentation, run_cleaning
from medwb.versions import package_versions

Report = Callable[[int, int, str], None]
"""Called several times a second as report(measured, of how many, what is being done); raising ends the measuring."""

KEPT_S = 24 * 3600.0
"""How long what was measured counts."""

_PAUSE_S = 0.2


def plan(
    configs: Sequence[RunConfig],
    *,
    minutes: float | None = None,
    fresh: bool = False,
    measure: bool = True,
    report: Report | None = None,
) -> Budget:
    """Say how long trainings take on this machine, one after the other; what is not known is measured.

    Args:
        configs: What to train, as `make_configs` makes them, all on one dataset. Those that differ only in the seed
            are one row.
        minutes: The time that they shall fit into.
        fresh: Measure also what was measured within the last day.
        measure: Whether to measure at all; otherwise only what was measured before is told.
        report: Told how far the measuring is; what it raises ends the measuring.

    Returns:
        A row an architecture. One that cannot be trained or built has its reason there, and the others their times.

    Raises:
        RequestError: No config, several datasets, no such dataset, or `minutes` is no time.
    """
    check_minutes(minutes)
    if len(names := {config.dataset for config in configs}) != 1:
        raise RequestError(f"a plan is for trainings on one dataset, not on {len(names)}; plan each by itself")
    dataset, here = open_dataset(configs[0].dataset), machine()
    groups: dict[RunConfig, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(config.model_copy(update={"seed": 0}), []).append(config)
    rows = [_refused(Row(same[0], len(same)), dataset) for same in groups.values()]
    keys = {place: _key(row.config, dataset, here) for place, row in enumerate(rows) if not row.error}
    if measure:
        with _alone(report or _silent, len(keys)):
            _fill(rows, keys, fresh, report or _silent)
    else:
        for place, key in keys.items():
            rows[place] = replace(rows[place], measured=_kept(key))
    return Budget(dataset.name, here, tuple(rows), minutes, _at_once())


def check_minutes(minutes: float | None) -> None:
    """Raise RequestError unless it is a time to plan for, or None."""
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise RequestError(f"minutes={minutes:g} is no time to plan for; give a number above 0, such as 30")


def _at_once() -> int:
    from medwb.supervisor import worker_count

    try:
        return worker_count()
    except RequestError:
        return 1  # whoever launches is told


def machine() -> dict[str, Any]:
    """What decides how quick a training is here: host, processor, cores, GPUs that may be used, versions."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        processor = next(
            line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")
        )
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    cores = usable_cores()
    settings = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "TF_ENABLE_ONEDNN_OPTS")}
    facts = {"host": socket.gethostname(), "processor": processor, "cores": cores}
    return {**facts, **settings, "versions": package_versions()}


def _refused(row: Row, dataset: Dataset) -> Row:
    """The row, with the reason when it cannot be trained, or is of a kind that nobody measures."""
    try:
        check_trainable(row.config, dataset)
    except RequestError as error:
        return replace(row, error=str(error))
    if row.config.frozen != "none":
        return replace(row, error=f"frozen={row.config.frozen} is not measured: it has no steps")
    return row


def _key(config: RunConfig, dataset: Dataset, here: dict[str, Any]) -> str:
    """What a measurement is kept under: all that it depends on. The fingerprint covers the dataset's sizes."""
    cleaning = run_cleaning(config, dataset)
    digests = [dataset.fingerprint, cleaning.digest if cleaning else "", run_augmentation(config).digest]
    settings = config.model_dump(exclude={"seed", "epochs", "dataset"})
    return hashlib.sha256(json.dumps([1, settings, digests, here], sort_keys=True).encode()).hexdigest()[:24]


def _fill(rows: list[Row], keys: dict[int, str], fresh: bool, report: Report) -> None:
    """Measure the rows that are not known yet, in place."""
    for place, key in keys.items() if not fresh else ():
        rows[place] = replace(rows[place], measured=_kept(key))
    pending = [place for place in keys if rows[place].measured is None]
    while pending:
        begun, configs = len(keys) - len(pending), [rows[place].config for place in pending]
        kept = [keys[place] for place in pending]
        answers = _ask(configs, kept, lambda done, text: report(begun + done, len(keys), text))  # noqa: B023
        for place, answer in zip(pending, answers, strict=False):
            if isinstance(answer, Measurement):
                rows[place] = replace(rows[place], measured=answer)
            else:
                rows[place] = replace(rows[place], error=answer)
        pending = pending[len(answers) :]


def _ask(
    configs: Sequence[RunConfig], keys: Sequence[str], report: Callable[[int, str], None]
) -> list[Measurement | str]:
    """Measure in a child process, and keep what it tells, also when it is ended half-way.

    Returns:
        An answer a config, what it took or why that cannot be said; fewer, but at least one, when the child died.
    """
    with _scratch() as folder:
        request = {"configs": [c.model_dump() for c in configs], "folder": str(folder), "spawned": time.monotonic()}
        output, errors = folder / "output", folder / "errors"
        (folder / "request").write_text(json.dumps(request), encoding="utf-8")
        with (folder / "request").open() as asked, output.open("wb") as out, errors.open("wb") as err:
            command = [sys.executable, "-m", "medwb.training.measure"]
            child = subprocess.Popen(command, stdin=asked, stdout=out, stderr=err)
        try:
            while child.poll() is None:
                report(*_heard(output, configs)[1:])
                time.sleep(_PAUSE_S)
        finally:  # whoever watches may have had enough
            child.kill()
            child.wait()
            answers, *_ = _heard(output, configs)
            for key, answer in zip(keys, answers, strict=False):
                if isinstance(answer, Measurement):
                    _keep(key, answer)
        if len(answers) < len(configs) and (child.returncode or not answers):
            last = (errors.read_text(encoding="utf-8", errors="replace").splitlines() or [""])[-1]
            killed = "it was killed, perhaps because memory ran out"
            answers.append(f"measuring it failed: {killed if child.returncode < 0 else short(last)}")
        return answers


def _heard(output: Path, configs: Sequence[RunConfig]) -> tuple[list[Measurement | str], int, str]:
    """What a child has told so far: its answers in order, how many they are, and what it is at."""
    answers, doing = list[Measurement | str](), "starting"
    for line in output.read_text(encoding="utf-8").split("\n")[:-1]:
        facts = json.loads(line)
        if "doing" in facts:
            doing = f"{configs[facts['at']].architecture}: {facts['doing']}"
        else:
            answers.append(_measurement(facts["measured"]) if "measured" in facts else str(facts["error"]))
    return answers, len(answers), doing


def _measurement(facts: dict[str, Any]) -> Measurement:
    """From JSON. Raises TypeError for anything else."""
    times = {name: Seconds(**facts[name]) for name in ("step", "whole") if facts.get(name) is not None}
    return Measurement(**{**facts, **times})


def _folder() -> Path:
    return home() / "cache" / "plan"


def _kept(key: str) -> Measurement | None:
    try:
        record = json.loads((_folder() / f"{key}.json").read_text(encoding="utf-8"))
        return _measurement(record["measured"]) if 0 <= time.time() - record["time"] < KEPT_S else None
    except (OSError, ValueError, TypeError, KeyError):  # not there, or damaged: it is measured anew
        return None


def _keep(key: str, measured: Measurement) -> None:
    record = {"time": time.time(), "measured": asdict(measured)}
    with suppress(OSError):  # where nothing can be kept, it is measured each time
        write_text(_folder() / f"{key}.json", json.dumps(record) + "\n")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that is gone afterwards, on the disk of the runs where that can be written."""
    target = _folder() / "scratch"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        where = tempfile.TemporaryDirectory(".partial", f".scratch.{os.getpid()}.", target.parent)
    except OSError:
        where = tempfile.TemporaryDirectory()
    with where as name:
        yield Path(name)


@contextmanager
def _alone(report: Report, total: int) -> Iterator[None]:
    """No other plan below this MEDWB_HOME measures meanwhile: each would see the other as load."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        lock = (_folder() / ".lock").open("w")
    except OSError:
        yield
        return
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report(0, total, "waiting for another plan")
                time.sleep(_PAUSE_S)
        yield


def _silent(done: int, total: int, doing: str) -> None:
    """Say nothing."""
