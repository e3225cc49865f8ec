"""Launching: run folders are the queue, and one detached supervisor a MEDWB_HOME works it (medwb/supervisor.py).

What a user does to runs is here too: stop, cancel, resume, retry, move, watch.
"""

import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, make_config, usual_settings
from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.paths import runs_dir
from medwb.process import is_alive, is_full, send_signal
from medwb.queue import move as move_id
from medwb.queue import next_order, positions, statuses, waiting
from medwb.recipes import RECIPES
from medwb.runs import ACTIVE_STATES, Run, check_trainable, create_run, first_status
from medwb.status import AT_WORK_STATES, Status, edit_status, settle
from medwb.supervisor import start_supervisor, supervisor_at_work, worker_count

LAUNCHERS = ("local", "ray")

_LOOK_AFTER_S = 15.0
_KILL_WAIT_S = 10.0
_SILENT_S = 600.0  # a status that did not change for so long: the process on the other host is probably gone
_LEARNED = (
    "checkpoint.npz", ".*.partial.checkpoint.npz", "predictions.npz", "history.csv", "model*.weights.h5",
    "model*.onnx", "architecture.json", "receipt.*", "tensorboard",
)  # fmt: skip
_LEARNED_KEYS = ("launcher", "launcher_options", "warnings", "pid", "host", "boot_id", "start_ticks")


def launch(configs: Sequence[RunConfig], launcher: str = "local", **options: Any) -> list[Run]:
    """Queue trainings and see to it that they are worked; returns at once.

    They are processes of their own: they outlive the notebook, page or terminal that launched them.

    Args:
        configs: What to train, in this order.
        launcher: "local" for this machine, or "ray" for a Ray cluster.
        options: For "ray": `address`, and `cpus` and `gpus` a run.

    Raises:
        RequestError: A config cannot be trained on its dataset, MEDWB_WORKERS is nonsense, or the cluster refuses;
            nothing is queued then.
    """
    if launcher not in LAUNCHERS:
        raise RequestError(f"launcher {launcher!r} is unknown; use {' or '.join(LAUNCHERS)}")
    if launcher == "local":
        if options:
            raise RequestError(f"{next(iter(options))} is an option of the launcher ray; leave it out, or name ray")
        worker_count()
    datasets = {name: open_dataset(name) for name in {config.dataset for config in configs}}
    for config in configs:
        check_trainable(config, datasets[config.dataset])
    runs, first = list[Run](), next_order()
    try:
        for place, config in enumerate(configs):
            runs.append(create_run(config, datasets[config.dataset], order=first + place, launcher=launcher))
        if launcher == "ray":
            _submit(runs, options)
    except BaseException:
        for run in runs:
            _take_back(run)
        raise
    if launcher == "local":
        start_worker()
    return runs


def _take_back(run: Run) -> None:
    """Remove a run that was queued a moment ago, unless it has begun or a cluster has it."""
    try:
        queued = run.status().get("ray_job") is None and run.cancel()
    except OSError:  # the disk is full, which may be why
        queued = run.state == "queued"
    if queued:
        shutil.rmtree(run.path, ignore_errors=True)


def _submit(runs: Sequence[Run], options: dict[str, Any]) -> None:
    from medwb.ray_launcher import submit

    for run in runs:
        run.update_status(launcher_options=options)
    submit(runs, **options)


def start_worker() -> None:
    """Start the detached supervisor; when one is at work already, the new one ends by itself."""
    start_supervisor()


def look_after() -> None:
    """Do what a supervisor that was killed left undone; start another one when something waits."""
    if supervisor_at_work():
        return
    try:
        for folder, status in statuses():
            if status["state"] in AT_WORK_STATES and is_alive(status) is False:
                settle(folder)
        if waiting():
            start_worker()
    except OSError:  # a MEDWB_HOME that may only be read is looked at all the same
        return


def queue_note() -> str:
    """Why the queue stands still although something waits; "" when it does not."""
    return (
        f"the disk below {runs_dir()} is full; the queue goes on when there is space" if is_full(runs_dir()) else ""
    )


def stop(run: Run, now: bool = False) -> None:
    """Stop a run: a queued one at once, a running one after the batch, its weights and answers kept.

    Args:
        run: The run.
        now: Kill the process; what is left is its last checkpoint.

    Raises:
        RequestError: The run is over, trains on another host, or belongs to another user.
    """
    status = run.status()
    if status.get("launcher") == "ray" and status["state"] in ACTIVE_STATES:
        from medwb.ray_launcher import stop as stop_job

        return stop_job(run, now=now)
    if run.cancel():
        return None
    status = run.status()
    if status["state"] not in AT_WORK_STATES:
        raise RequestError(f"run {run.id} is {status['state']}; there is nothing to stop")
    if status["host"] != socket.gethostname():
        return _stop_elsewhere(run, status, now)
    marks = {"state": "stopping", **({"stop_now": True} if now else {})}
    edit_status(run.path, lambda stored: {**stored, **marks} if stored.get("state") in AT_WORK_STATES else None)
    try:
        send_signal(status, signal.SIGKILL if now else signal.SIGTERM)
    except PermissionError:
        raise RequestError(f"run {run.id} is process {status['pid']} of another user, who must stop it") from None
    if now:
        _wait_until_gone(run)
    return None


def _wait_until_gone(run: Run) -> None:
    deadline = time.monotonic() + _KILL_WAIT_S
    while run.state in AT_WORK_STATES and time.monotonic() < deadline:
        time.sleep(0.02)
    settle(run.path)


def _stop_elsewhere(run: Run, status: Status, now: bool) -> None:
    """A run that another host trains, or did before it went away: only who asks twice gets it marked as stopped."""
    silent = time.time() - (run.path / "status.json").stat().st_mtime
    if not now or silent < _SILENT_S:
        gone = "; if that host is gone, `medwb stop --now` after ten minutes of silence" if silent > 60 or now else ""
        raise RequestError(f"run {run.id} is at work on {status['host']}; stop it there{gone}")
    run.update_status(state="stopped", eta=0)


def cancel(run: Run) -> None:
    """Take a queued run out of the queue; its state is then stopped.

    Raises:
        RequestError: It is not queued any more.
    """
    if run.status().get("launcher") == "ray" and run.state == "queued":
        return stop(run)
    if not run.cancel():
        raise RequestError(f"run {run.id} is {run.state}, not queued; `medwb stop {run.id}` stops a running one")
    return None


def resume(run: Run) -> None:
    """Queue a stopped or failed run again; it goes on from its checkpoint, or from the start when it has none.

    Raises:
        RequestError: It is queued, running or finished, or its config is damaged.
    """
    _queue_again(run, "resumed", keep=True)


def retry(run: Run) -> None:
    """Queue a stopped or failed run again, from the start: its checkpoint, history, weights and answers are removed.

    Raises:
        RequestError: It is queued, running or finished, or its config is damaged.
    """
    _queue_again(run, "tried again", keep=False)


def check_resumable(run: Run, verb: str = "resumed") -> None:
    """Raise RequestError unless a run is stopped or failed, and its config is in order.

    Args:
        run: The run.
        verb: What is to be done with it, for the message.
    """
    _check_over(run, run.state, verb)
    _ = run.config


def _check_over(run: Run, state: str, verb: str) -> None:
    if state == "finished":
        raise RequestError(f"run {run.id} is finished and cannot be {verb}; launch a new one")
    if state not in ("stopped", "failed"):
        raise RequestError(f"run {run.id} is {state} and cannot be {verb}; stop it first")


def _queue_again(run: Run, verb: str, keep: bool) -> None:
    check_resumable(run, verb)
    order = next_order()

    def edit(stored: Status) -> Status:
        _check_over(run, run.state, verb)
        begun = first_status(run.config, run.warnings)
        kept = stored if keep else {key: stored[key] for key in _LEARNED_KEYS if key in stored}
        if not keep:
            _remove_learned(run)
        again = {"state": "queued", "order": order, "attempt": stored.get("attempt", 0) + 1}
        cleared = {"error": None, "eta": None, "stop_now": False}
        return {**begun, **kept, **again, **cleared}

    try:
        edit_status(run.path, edit)
    except OSError as error:
        raise RequestError(f"run {run.id} cannot be {verb}: {error}") from error
    status = run.status()
    if status.get("launcher") == "ray":
        try:
            _submit([run], status.get("launcher_options") or {})
        except BaseException:
            run.cancel()
            raise
    else:
        start_worker()


def _remove_learned(run: Run) -> None:
    for pattern in _LEARNED:
        for path in run.path.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def move(run: Run, *, first: bool = False, last: bool = False, before: Run | None = None) -> None:
    """Move a waiting run to the front of the queue, to its end, or before another one.

    Raises:
        RequestError: None of the three is said, or more than one; one of the runs does not wait.
    """
    if first + last + (before is not None) != 1:
        raise RequestError(f"say where run {run.id} is to stand: --first, --last or --before OTHER")
    move_id(run.id, before=before.id if before else None, last=last)


def recipe_again(run: Run, recipe: str) -> RunConfig:
    """The run's config under another recipe: what was chosen by hand stays, but for what the recipe says itself.

    Raises:
        RequestError: The recipe is unknown, or does not go with what was chosen.
    """
    config, ruled = run.config, {*RECIPES.get(recipe).settings, "recipe", "plateau_patience"}
    usual = {**usual_settings(ARCHITECTURES.get(config.architecture), config.recipe), "seed": None}
    chosen = {key: getattr(config, key) for key in usual if getattr(config, key) != usual[key] and key not in ruled}
    facts = {"dataset": config.dataset, "architecture": config.architecture, "recipe": recipe}
    return make_config({**chosen, **facts})


def watch(runs: Sequence[Run], seconds: float = 0.5) -> Iterator[list[dict[str, object]]]:
    """Yield the status of each run, again and again, until all are over.

    A status has `position`, the run's place in the queue, while it waits. A supervisor that was killed meanwhile is
    replaced while anything waits, and a cluster is asked whether its jobs are still there.
    """
    checked = -_LOOK_AFTER_S
    while True:
        if time.monotonic() - checked > _LOOK_AFTER_S:
            checked = time.monotonic()
            look_after()
            refresh(runs)
        places = positions()
        looks = [{**run.status(), "position": places.get(run.id)} for run in runs]
        yield looks
        if all(status["state"] not in ACTIVE_STATES for status in looks):
            return
        time.sleep(seconds)


def refresh(runs: Sequence[Run]) -> list[str]:
    """Ask clusters whether the jobs of active runs are still there; one that is not fails its run.

    Returns:
        What could not be asked, a line each.
    """
    problems = []
    for run in runs:
        status = run.status()
        if status.get("launcher") == "ray" and status["state"] in ACTIVE_STATES:
            from medwb.ray_launcher import check

            try:
                check(run)
            except RequestError as error:
                problems.append(str(error))
    return problems
