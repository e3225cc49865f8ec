"""Launching: run folders are the queue, and one detached worker a MEDWB_HOME trains them in turn.

    python -m medwb.launch

is that worker. It holds a lock while it works and ends when nothing is queued; starting a second one does no harm.
"""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from medwb.config import RunConfig
from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.paths import runs_dir
from medwb.runs import ACTIVE_STATES, Run, check_trainable, create_run, list_runs

_LOCK_WAIT_S = 5.0  # longer than the moment between a worker's last look at the queue and its end
_WORKER_CHECK_S = 15.0


def launch(configs: Sequence[RunConfig]) -> list[Run]:
    """Queue trainings and see to it that a worker is at work; returns at once.

    The worker is a process of its own: it outlives the notebook, page or terminal that launched it.

    Raises:
        RequestError: A config cannot be trained on its dataset; nothing is queued then.
    """
    datasets = {name: open_dataset(name) for name in {config.dataset for config in configs}}
    for config in configs:
        check_trainable(config, datasets[config.dataset])
    runs = [create_run(config, datasets[config.dataset]) for config in configs]
    start_worker()
    return runs


def start_worker() -> None:
    """Start a detached worker; when one is at work already, the new one ends by itself."""
    log_path = runs_dir() / "worker.log"
    with log_path.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "medwb.launch"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "MEDWB_HOME": str(runs_dir().parent)},
        )


def stop(run: Run) -> None:
    """Stop a run: a queued one at once, a running one after the batch, its weights and answers kept.

    Raises:
        RequestError: The run is over.
    """
    if run.cancel():
        return
    status = run.status()
    if status["state"] in ("running", "stopping"):
        if status["host"] != socket.gethostname():
            raise RequestError(f"run {run.id} is at work on {status['host']}; stop it there")
        os.kill(status["pid"], signal.SIGTERM)
    else:
        raise RequestError(f"run {run.id} is {status['state']}; there is nothing to stop")


def watch(runs: Sequence[Run], seconds: float = 0.5) -> Iterator[list[dict[str, object]]]:
    """Yield the status of each run, again and again, until all are over.

    A worker that was killed meanwhile is replaced while anything is queued.
    """
    checked = time.monotonic()
    while True:
        statuses = [run.status() for run in runs]
        if time.monotonic() - checked > _WORKER_CHECK_S:
            checked = time.monotonic()
            if any(status["state"] == "queued" for status in statuses):
                start_worker()
        yield statuses
        if all(status["state"] not in ACTIVE_STATES for status in statuses):
            return
        time.sleep(seconds)


def work() -> None:
    """Train what is queued, the oldest first, until nothing is."""
    with _sole_worker() as alone:
        while alone and (run := next((run for run in list_runs() if run.state == "queued"), None)):
            try:
                _train(run)
            except OSError:  # its folder was deleted, or the disk is full; the others shall go on
                logging.exception("%s could not be trained", run.id)
                time.sleep(1)


def _train(run: Run) -> None:
    """Train one run in a process of its own, and give it a final state whatever happens to that process."""
    logging.info("starting %s", run.id)
    with (run.path / "log.txt").open("ab") as log:
        code = subprocess.run(
            [sys.executable, "-m", "medwb.training", str(run.path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ).returncode
    status = run.status()
    if status["state"] in ACTIVE_STATES or (status["state"] == "failed" and code < 0):
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        last = run.log_tail(1)
        run.update_status(state="failed", error=f"the process was {reason}" if code < 0 else f"{reason}: {last}")
    logging.info("%s is %s", run.id, run.state)


@contextmanager
def _sole_worker() -> Iterator[bool]:
    """Hold the worker's lock; yields False when another worker keeps it."""
    runs_dir().mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _LOCK_WAIT_S
    with (runs_dir() / ".worker.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.2)
            else:
                yield True
                return


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    work()
