"""The queue: run folders in state `queued`, by the `order` in their status. It is read without opening a config."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medwb.errors import RequestError
from medwb.paths import runs_dir
from medwb.status import Status, edit_status, seen, stored_status


def statuses() -> Iterator[tuple[Path, Status]]:
    """Every run's folder with its status as it is stored; damaged ones are left out."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(runs_dir()) if not entry.name.startswith(".")]
    except OSError:
        return
    for folder in folders:
        try:
            status = stored_status(folder)
            complete = (folder / "config.json").is_file()  # it is written last
        except (OSError, ValueError):
            continue
        if complete:
            yield folder, status


def waiting() -> list[Path]:
    """Folders of the runs that wait for their turn on this machine, the next one first."""
    found = [
        (_order(status), folder.name, folder)
        for folder, status in statuses()
        if status["state"] == "queued" and is_local(status)
    ]
    return [folder for _, _, folder in sorted(found) if _waits(folder)]


def _waits(folder: Path) -> bool:
    try:
        status = seen(folder, stored_status(folder))
    except (OSError, ValueError):
        return False
    return status["state"] == "queued" and not status.get("starting")


def is_local(status: Status) -> bool:
    """Whether this machine's supervisor trains the run."""
    return status.get("launcher", "local") == "local"


def positions() -> dict[str, int]:
    """Id of each waiting run to its place in the queue, from 1."""
    return {folder.name: place for place, folder in enumerate(waiting(), 1)}


def next_order() -> float:
    """The `order` of a run that goes behind all others."""
    return max((_order(status) for _, status in statuses() if status["state"] == "queued"), default=0.0) + 1


def move(run_id: str, *, before: str | None = None, last: bool = False) -> None:
    """Move a waiting run in the queue.

    Args:
        run_id: The run.
        before: Id of the waiting run that it is to stand before; None for the whole queue.
        last: Whether it goes to the end.

    Raises:
        RequestError: One of the two does not wait.
    """
    with _queue_locked():
        line = waiting()
        names = [folder.name for folder in line]
        for name in filter(None, (run_id, before)):
            if name not in names:
                raise RequestError(f"run {name} does not wait in the queue; `medwb runs` shows which ones do")
        if run_id == before:
            raise RequestError(f"run {run_id} cannot stand before itself; name another one")
        mine = line.pop(names.index(run_id))
        place = len(line) if last else 0 if before is None else [folder.name for folder in line].index(before)
        line.insert(place, mine)
        orders = [_order(stored_status(folder)) for folder in line]
        low = orders[place - 1] if place else orders[1] - 2 if len(line) > 1 else 0.0
        high = orders[place + 1] if place + 1 < len(line) else low + 2
        middle = (low + high) / 2
        if low < middle < high:
            _set_order(mine, middle)
        else:  # two share an order, or halves have become too small
            first = min(orders)
            for number, folder in enumerate(line):
                _set_order(folder, first + number)


def _order(status: Status) -> float:
    order = status.get("order")
    return float(order) if isinstance(order, int | float) else 0.0


def _set_order(folder: Path, order: float) -> None:
    edit_status(folder, lambda status: {**status, "order": order} if status.get("state") == "queued" else None)


@contextmanager
def _queue_locked() -> Iterator[None]:
    with (runs_dir() / ".queue.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
