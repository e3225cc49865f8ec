"""Running one side of a benchmark in a process of its own, within a time limit, while its memory is watched."""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_POLL = 0.1  # seconds


@dataclass(frozen=True)
class Outcome:
    """What a child did.

    Attributes:
        answer: The last JSON object that it wrote.
        finished: Whether it ended by itself in time.
        peak_mb: Largest resident memory of the process (VmHWM). Pages of files that it maps count.
        anonymous_mb: Largest resident memory that no file backs (RssAnon), its workers included. Pages that workers
            share with it since they were forked count again.
        processes: Most processes at a time.
    """

    answer: dict[str, Any]
    finished: bool
    peak_mb: int
    anonymous_mb: int
    processes: int


def run(command: list[str], answer: Path, limit: float | None = None) -> Outcome:
    """Run a command that writes JSON to the file `answer`, first when its clock starts.

    Args:
        command: What to run. What it prints on standard output is dropped.
        answer: The file.
        limit: Seconds from the clock's start after which the command and its workers are killed.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    answer.unlink(missing_ok=True)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    peak = anonymous = processes = 0
    began = None
    finished = True
    try:
        while child.poll() is None:
            if began is None and answer.exists():
                began = time.monotonic()
            if limit is not None and began is not None and time.monotonic() - began > limit:
                finished = False
                break
            family = [child.pid, *_workers(child.pid)]
            states = [_memory(pid) for pid in family]
            peak = max(peak, states[0][0])
            anonymous = max(anonymous, sum(own for _, own in states))
            processes = max(processes, len(family))
            time.sleep(_POLL)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
    if finished and code:
        raise subprocess.CalledProcessError(code, command)
    found = json.loads(answer.read_text()) if answer.exists() else {}
    return Outcome(found, finished, round(peak / 1e6), round(anonymous / 1e6), processes)


def _workers(pid: int) -> list[int]:
    with contextlib.suppress(psutil.Error):
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    return []


def _memory(pid: int) -> tuple[int, int]:
    """VmHWM and RssAnon in bytes; 0 when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return tuple(int(found[name].split()[0]) * 1024 if name in found else 0 for name in ("VmHWM", "RssAnon"))
