"""The supervisor: a detached process that works a MEDWB_HOME's queue, each training a process of its own.

    python -m medwb.supervisor

It holds a lock while it works, so that there is one, and ends when nothing is queued and nothing trains. When it is
killed its trainings go on, and the next one takes them over. It never opens a config or a dataset.
"""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from medwb.errors import RequestError
from medwb.paths import runs_dir
from medwb.process import is_alive, is_full, process_facts, says_full, send_signal, usable_cores, why_ended
from medwb.queue import is_local, statuses, waiting
from medwb.status import ACTIVE_STATES, AT_WORK_STATES, Status, edit_status, settle, stored_status

TRAIN_COMMAND = (sys.executable, "-m", "medwb.training")

_LOCK_WAIT_S = 5.0  # longer than the moment between a supervisor's last look at the queue and its end
_LOOK_S = 0.5
_PAUSE_S = 5.0  # after the system refused a process, or while the disk is full
_LOG_BYTES = 1_000_000
_MOST_WORKERS = 64
_CORES_A_RUN = 4  # TensorFlow takes every core, but small networks leave most of a large machine idle
_BYTES_A_RUN = 3 * 2**30

T = TypeVar("T")


def start_supervisor() -> None:
    """Start a detached supervisor; when one is at work already, the new one ends by itself."""
    path = runs_dir() / "supervisor.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "medwb.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=runs_dir().parent,
            env={**os.environ, "MEDWB_HOME": str(runs_dir().parent)},
        )


def supervisor_at_work() -> bool:
    """Whether somebody works the queue."""
    try:
        with _lock_path().open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def worker_count() -> int:
    """How many runs train at once: `MEDWB_WORKERS`, or one a GPU, or what cores and memory bear, at least one.

    Raises:
        RequestError: MEDWB_WORKERS is no whole number from 1 to 64.
    """
    named = os.environ.get("MEDWB_WORKERS", "").strip()
    if named:
        if not named.isascii() or not named.isdigit() or not 1 <= int(named) <= _MOST_WORKERS:
            raise RequestError(
                f"MEDWB_WORKERS={named!r} is no whole number from 1 to {_MOST_WORKERS}; it says how many runs train "
                "at once, unset it to leave that to the machine"
            )
        return int(named)
    return len(gpus()) or max(1, min(_cores() // _CORES_A_RUN, _memory() // _BYTES_A_RUN, _MOST_WORKERS))


def gpus() -> list[str]:
    """GPUs that trainings may use, as CUDA_VISIBLE_DEVICES names them.

    Those of CUDA_VISIBLE_DEVICES when it is set; otherwise all that `nvidia-smi` lists.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return [] if "-1" in names else list(dict.fromkeys(filter(None, names)))
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip().startswith("GPU-")]


def _cores() -> int:
    """Cores that this process may use: those of its affinity, within the limit of its container."""
    cores = usable_cores()
    for path in ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        quota, _, period = (_text(path) or "").partition(" ")
        period = period or _text("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period):
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def _memory() -> int:
    """Bytes of memory that this process may use, those in use by others included."""
    limits = [_text(f"/sys/fs/cgroup/{name}") for name in ("memory.max", "memory/memory.limit_in_bytes")]
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(int(limit) for limit in limits if limit and limit.isdigit())])


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


@dataclass
class _Training:
    """A training under the supervisor's eyes; without `process` it is another supervisor's child."""

    folder: Path
    facts: Status
    attempt: int
    device: str | None
    process: subprocess.Popen[bytes] | None = None

    def ended(self) -> bool:
        return self.process.poll() is not None if self.process else is_alive(self.facts) is False

    @property
    def code(self) -> int | None:
        return self.process.returncode if self.process else None


class _Supervisor:
    def __init__(self, devices: list[str], workers: int, holds_lock: Callable[[], bool]) -> None:
        self._devices, self._workers, self._holds_lock = devices, workers, holds_lock
        self._trainings: list[_Training] = []
        self._refused: set[Path] = set()
        self._codes: dict[Path, int | None] = {}
        self._told: dict[str, str] = {}
        self._not_before = 0.0

    def work(self) -> None:
        """Train what is queued until nothing is."""
        while self._holds_lock():
            for training in [training for training in self._trainings if training.ended()]:
                self._trainings.remove(training)
                self._guard(training.folder, self._end, training)
            for training in self._trainings:
                self._guard(training.folder, _kill_orphan, training)
            self._look()
            out = self._refused | {training.folder for training in self._trainings}
            line = [folder for folder in waiting() if folder not in out]
            if not line and not self._trainings:
                return
            self._fill(line)
            time.sleep(_LOOK_S)
        logging.info("the lock is not ours any more")

    def _guard(self, folder: Path, act: Callable[[T], None], argument: T) -> None:
        """Whatever goes wrong with one run is written down, once, and costs that run alone."""
        try:
            act(argument)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if self._told.get(folder.name) != text:
                self._told[folder.name] = text
                logging.exception("%s", folder.name)

    def _look(self) -> None:
        """Take over trainings that nobody watches, and write down the end of those that are gone."""
        watched = {training.folder for training in self._trainings}
        for folder, status in statuses():
            if folder in watched or status["state"] not in ACTIVE_STATES or not is_local(status):
                continue
            alive = is_alive(status)
            if alive:
                logging.info("taking over %s", folder.name)
                self._trainings.append(_Training(folder, status, _attempt(status), status.get("device")))
            elif alive is False and status["state"] in AT_WORK_STATES:
                self._guard(folder, self._settle, folder)

    def _fill(self, line: list[Path]) -> None:
        if time.monotonic() < self._not_before:
            return
        for folder in line[: max(0, self._workers - len(self._trainings))]:
            if is_full(folder):
                self._hold(f"the disk is full; {len(line)} runs wait for space")
                return
            self._guard(folder, self._start, folder)

    def _hold(self, reason: str) -> None:
        self._not_before = time.monotonic() + _PAUSE_S
        if self._told.get("queue") != reason:
            self._told["queue"] = reason
            logging.warning("%s", reason)

    def _start(self, folder: Path) -> None:
        status = stored_status(folder)
        device = self._free_device()
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}  # a crash of native code is told in the log
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        try:
            log: IO[bytes] = (folder / "log.txt").open("ab")
        except OSError as error:
            self._refuse(folder, error)
            return
        with log:
            try:
                process = subprocess.Popen(
                    [*TRAIN_COMMAND, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=folder.parent.parent,  # whatever folder the launcher stood in may be gone, or hold modules
                    env=environment,
                )
            except OSError as error:  # no memory or too many processes; another moment may be better
                self._hold(f"{folder.name} could not be started: {error}")
                return
        logging.info("started %s, process %d", folder.name, process.pid)
        facts = {**process_facts(process.pid), "device": device}
        self._trainings.append(_Training(folder, facts, _attempt(status), device, process))
        edit_status(folder, lambda now: {**now, **facts} if now.get("state") == "queued" else None)

    def _refuse(self, folder: Path, error: OSError) -> None:
        if says_full(error):
            self._hold("the disk is full")
            return
        self._refused.add(folder)  # should the next line fail as well
        _fail(folder, f"it could not be started: {error}", _attempt(stored_status(folder)))
        self._refused.remove(folder)

    def _free_device(self) -> str | None:
        busy = Counter(training.device for training in self._trainings)
        return min(self._devices, key=lambda name: busy[name]) if self._devices else None

    def _end(self, training: _Training) -> None:
        """Give a run whose process has ended a final state, unless that did so itself."""
        folder, code = training.folder, training.code
        if not folder.is_dir():
            logging.info("%s was removed", folder.name)
            return
        self._codes[folder] = code
        settle(folder, code)
        if code is not None:
            _fail(folder, why_ended(folder, training.facts, code), training.attempt)
        _log_end(folder)

    def _settle(self, folder: Path) -> None:
        if settle(folder, self._codes.get(folder)):
            _log_end(folder)


def _kill_orphan(training: _Training) -> None:
    """End a training whose folder was removed: nobody will ever see what it learns."""
    if not training.folder.is_dir() and send_signal(training.facts, signal.SIGKILL):
        logging.info("%s was removed while it trained; its process is ended", training.folder.name)


def _fail(folder: Path, reason: str, attempt: int) -> None:
    """Mark a run as failed that ended before it had begun, unless it was queued again meanwhile."""

    def edit(status: Status) -> Status | None:
        error = str(status.get("error"))
        if status.get("state") == "queued" and _attempt(status) == attempt:
            return {**status, "state": "failed", "error": reason}
        if status.get("state") == "failed" and says_full(error) and "the disk is full" not in error:
            way_out = f"free some space, then `medwb resume {folder.name}`"
            return {**status, "error": f"the disk is full ({error}): {way_out}"}
        return None

    edit_status(folder, edit)


def _attempt(status: Status) -> int:
    attempt = status.get("attempt", 0)
    return attempt if isinstance(attempt, int) else 0


def _log_end(folder: Path) -> None:
    status = stored_status(folder)
    logging.info("%s is %s: %s", folder.name, status["state"], status.get("error") or "no error")


def _lock_path() -> Path:
    return runs_dir() / ".supervisor.lock"


@contextmanager
def _sole() -> Iterator[Callable[[], bool] | None]:
    """Hold the supervisor's lock; yields whether it still is the lock that others find, None when another has it."""
    path = _lock_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while time.monotonic() < deadline:
        with path.open("w") as lock:
            mine = os.fstat(lock.fileno())

            def holds(mine: os.stat_result = mine) -> bool:
                try:
                    found = path.stat()
                except OSError:
                    return False
                return (found.st_ino, found.st_dev) == (mine.st_ino, mine.st_dev)

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                if holds():
                    yield holds
                    return
        time.sleep(0.2)
    yield None


def supervise() -> None:
    """Work the queue until nothing is queued and nothing trains; at once over where another does."""
    with _sole() as holds_lock:
        if holds_lock is None:
            return
        log = runs_dir() / "supervisor.log"
        if log.is_file() and log.stat().st_size > _LOG_BYTES:
            os.truncate(log, 0)
        try:
            workers = worker_count()
        except RequestError as error:
            logging.warning("%s", error)
            workers = 1
        _Supervisor(gpus(), workers, holds_lock).work()


if __name__ == "__main__":
    logging.raiseExceptions = False  # a full disk must not end it for a line in its log
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    supervise()
