"""status.json: what a run is at. It is the truth about a run, and is replaced in one step under the run's lock.

Keys: `state`, `error`, `epoch`, `epochs`, `head`, `done` and `total` (steps), `eta` (seconds), `collapsed`,
`launcher` ("local" or "ray"), `order` (place in the queue, the lowest first), `attempt` (how often it was queued
again), `device`, `stop_now`, and what `medwb.process.process_facts` tells of the process.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from medwb.paths import write_text
from medwb.process import is_alive, process_facts, why_ended

State = Literal["queued", "running", "stopping", "stopped", "finished", "failed"]
ACTIVE_STATES = ("queued", "running", "stopping")
AT_WORK_STATES = ("running", "stopping")

Status = dict[str, Any]
Stamp = tuple[int, int, int]

_read: dict[Path, tuple[Stamp, Status]] = {}  # what hundreds of finished runs say is not parsed anew each second
_written: dict[Path, Status] = {}


def stored_status(folder: Path) -> Status:
    """`status.json` of a run's folder as it stands on the disk.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: It is damaged.
    """
    path = folder / "status.json"
    facts = path.stat()
    stamp = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
    kept = _read.get(path)
    if kept is None or kept[0] != stamp:
        kept = _read[path] = stamp, _checked(path.read_text(encoding="utf-8"))
    return dict(kept[1])


def _checked(text: str) -> Status:
    status = json.loads(text)
    if not isinstance(status, dict) or status.get("state") not in get_args(State):
        raise ValueError(f"state {status.get('state') if isinstance(status, dict) else status!r}")
    at_work = status["state"] in AT_WORK_STATES
    if (at_work and not {"pid", "host", "start_ticks"} <= set(status)) or not isinstance(
        status.get("pid"), int | None
    ):
        raise ValueError(f"state {status['state']!r} of no process")
    return status


def read_status(folder: Path) -> Status:
    """What a run is at, as it can be seen from here.

    A run whose process is gone is `failed`, with the reason, never `running`. A queued one that cannot start because
    its folder cannot be written to is `failed` too. One that is about to begin has `starting`.
    """
    try:
        status = stored_status(folder)
    except (OSError, ValueError) as error:
        return {"state": "failed", "error": f"status.json is damaged ({type(error).__name__}: {error})"}
    return seen(folder, status)


def seen(folder: Path, status: Status, code: int | None = None) -> Status:
    """A stored status, put right where the process or the folder says otherwise; see `read_status`."""
    if status["state"] in AT_WORK_STATES and is_alive(status) is False:
        if status.get("stop_now"):
            return {**status, "state": "stopped", "eta": 0, "error": None}
        return {**status, "state": "failed", "eta": None, "error": why_ended(folder, status, code)}
    if status["state"] == "queued":
        if not os.access(folder, os.W_OK):
            way_out = f"make it writable, then `medwb resume {folder.name}`"
            return {**status, "state": "failed", "error": f"{folder} cannot be written to; {way_out}"}
        if is_alive(status):
            return {**status, "starting": True}
    return status


def edit_status(folder: Path, edit: Callable[[Status], Mapping[str, Any] | None]) -> bool:
    """Replace a run's status under its lock.

    Args:
        folder: The run's folder.
        edit: From the stored status to the new one, or to None to leave it. It gets {} when there is none yet; for
            a damaged one it gets what this process wrote last.

    Returns:
        Whether it was replaced.

    Raises:
        OSError: The folder is gone or cannot be written to.
    """
    with locked(folder):
        try:
            status = stored_status(folder)
        except (FileNotFoundError, ValueError):
            status = dict(_written.get(folder, {}))
        edited = edit(status)
        if edited is None:
            return False
        write_text(folder / "status.json", json.dumps(dict(edited), indent=1) + "\n")
        _written[folder] = dict(edited)
        return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other process or thread changes what stands in the folder meanwhile, if it asks as well."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def claim_status(folder: Path) -> bool:
    """Mark a queued run as running in this process; False when it is not queued any more."""
    mine = {**process_facts(os.getpid()), "state": "running", "started": time.time(), "error": None}
    return edit_status(
        folder, lambda status: {**status, **mine, "stop_now": False} if status.get("state") == "queued" else None
    )


def cancel_status(folder: Path) -> bool:
    """Mark a queued run as stopped; False when it is not queued any more."""
    return edit_status(
        folder, lambda status: {**status, "state": "stopped"} if status.get("state") == "queued" else None
    )


def settle(folder: Path, code: int | None = None) -> bool:
    """Write down that a run is over whose process is gone; False when it is not, or that stands there already.

    Args:
        folder: The run's folder.
        code: The process's exit status when it is known; it tells more about the reason.
    """

    def edit(status: Status) -> Status | None:
        if status.get("state") not in AT_WORK_STATES:
            return None
        now = seen(folder, status, code)
        return now if now["state"] != status["state"] else None

    return edit_status(folder, edit)
