"""The supervisor with trainings that only pretend, so that it can be put through much in little time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from medwb import supervisor
from medwb.config import make_config
from medwb.errors import RequestError
from medwb.launch import move, resume, stop
from medwb.queue import positions
from medwb.runs import Run, create_run

pytestmark = pytest.mark.slow  # starts processes

FAKE = """
import json, os, sys, time
from pathlib import Path
from medwb.status import claim_status, edit_status, stored_status
folder = Path(sys.argv[1])
plan = folder / "plan.json"
plan = json.loads(plan.read_text()) if plan.exists() else {}
if "unclaimed" in plan:
    print("no such module", flush=True)
    sys.exit(plan["unclaimed"])
if not claim_status(folder):
    sys.exit(2)
saw = os.environ.get("CUDA_VISIBLE_DEVICES")
edit_status(folder, lambda status: {**status, "began": time.monotonic(), "saw": saw})
end = time.monotonic() + plan.get("seconds", 0.2)
while time.monotonic() < end:
    time.sleep(0.02)
print(plan.get("says", ""), flush=True)
if "exit" in plan:
    os._exit(plan["exit"])
edit_status(folder, lambda status: {**status, "state": "finished", "ended": time.monotonic()})
"""
WAIT_S = 30.0


@pytest.fixture
def queue(tiny) -> Callable[..., Run]:
    """Queues a run whose pretended training follows a plan."""

    def add(**plan: object) -> Run:
        run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)
        (run.path / "plan.json").write_text(json.dumps(plan))
        return run

    return add


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a supervisor of pretended trainings; at the end whatever it started is ended."""
    (tmp_path / "fake.py").write_text(FAKE)
    code = "import sys; from medwb import supervisor as s; import logging; logging.basicConfig(level='INFO')\n"
    code += f"s.TRAIN_COMMAND = (sys.executable, {str(tmp_path / 'fake.py')!r}); s.supervise()"
    started: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "log").open("wb")

    def begin(**environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code]
        child = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        started.append(child)
        return child

    monkeypatch.setattr("medwb.launch.start_worker", lambda: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield begin
    for child in started:
        child.kill()
        child.wait()
    log.close()
    for path in (home / "runs").glob("*/status.json"):
        try:
            stop(Run(path.parent), now=True)
        except (RequestError, OSError):
            continue


def wait(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def over(child: subprocess.Popen[bytes]) -> None:
    assert child.wait(WAIT_S) == 0


def test_runs_are_trained_in_their_order_and_it_ends_when_nothing_is_queued(queue, start):
    first, second, third = queue(), queue(), queue()
    move(third, first=True)
    over(start())
    statuses = [run.status() for run in (third, first, second)]
    assert [status["state"] for status in statuses] == ["finished"] * 3
    assert all(b["began"] >= a["ended"] for a, b in pairwise(statuses))


@pytest.mark.slow
def test_two_train_at_once_when_two_workers_are_asked_for(queue, start):
    runs = [queue(seconds=1.5) for _ in range(3)]
    over(start(MEDWB_WORKERS="2"))
    a, b, c = (run.status() for run in runs)
    assert b["began"] < a["ended"] <= c["began"]


@pytest.mark.slow
def test_a_second_supervisor_leaves_the_work_to_the_first(queue, start):
    runs = [queue(seconds=0.5) for _ in range(3)]
    children = [start(), start(), start()]
    for child in children:
        over(child)
    statuses = [run.status() for run in runs]
    assert [status["state"] for status in statuses] == ["finished"] * 3
    assert all(b["began"] >= a["ended"] for a, b in pairwise(statuses))


@pytest.mark.slow
def test_after_a_kill_the_trainings_go_on_and_the_next_one_takes_them_over(queue, start):
    first, second = queue(seconds=3), queue()
    child = start()
    wait(lambda: first.state == "running")
    child.kill()
    child.wait()
    again = start()
    time.sleep(0.8)
    assert (first.state, second.state) == ("running", "queued")
    over(again)
    assert (first.state, second.state) == ("finished", "finished")
    assert second.status()["began"] >= first.status()["ended"]


@pytest.mark.slow
def test_a_killed_training_that_was_taken_over_is_failed(queue, start):
    first, second = queue(seconds=60), queue()
    child = start()
    wait(lambda: first.state == "running")
    child.kill()
    child.wait()
    again = start()
    os.kill(first.status()["pid"], signal.SIGKILL)
    over(again)
    stored = json.loads((first.path / "status.json").read_text())
    assert stored["state"] == "failed"
    assert second.state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"exit": 3, "says": "boom"}, "it ended with status 3; its log ends: boom"),
        ({"unclaimed": 1}, "it ended with status 1; its log ends: no such module"),
        ({"exit": 1, "says": "OSError: [Errno 28] No space left on device"}, "the disk is full: free some space"),
    ],
)
def test_a_training_that_breaks_is_failed_with_the_reason_and_the_next_one_trains(queue, start, plan, reason):
    broken, fine = queue(**plan), queue()
    over(start())
    assert broken.state == "failed"
    assert broken.status()["error"].startswith(reason)
    assert fine.state == "finished"


def test_a_run_that_is_stopped_now_is_stopped(queue, start):
    run, other = queue(seconds=60), queue()
    child = start()
    wait(lambda: run.state == "running")
    stop(run, now=True)
    assert run.state == "stopped"
    over(child)
    assert json.loads((run.path / "status.json").read_text())["state"] == "stopped"
    assert other.state == "finished"


@pytest.mark.slow
def test_a_run_that_is_resumed_while_its_process_ends_trains_again(queue, start):
    run = queue(exit=1, seconds=0.4)
    child = start()
    wait(lambda: run.state == "running")
    run.update_status(state="failed")  # as a training does before it ends
    (run.path / "plan.json").write_text("{}")
    resume(run)
    assert run.status().get("starting")
    over(child)
    assert run.state == "finished"
    assert run.status()["attempt"] == 1


@pytest.mark.slow
def test_a_run_that_is_removed_while_it_trains_costs_nothing_else(queue, start):
    gone, fine = queue(seconds=60), queue()
    child = start()
    wait(lambda: "began" in gone.status())
    pid = gone.status()["pid"]
    wait(lambda: shutil.rmtree(gone.path, ignore_errors=True) or not gone.path.exists())
    over(child)
    assert fine.state == "finished"
    assert not gone.path.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_damaged_status_or_log_costs_nothing_else(queue, start):
    damaged, log, fine = queue(), queue(), queue()
    (damaged.path / "status.json").write_text("{")
    (log.path / "log.txt").mkdir()
    over(start())
    assert (damaged.state, log.state, fine.state) == ("failed", "failed", "finished")
    assert "it could not be started" in log.status()["error"]


def mounted(folder: Path, *options: str) -> None:
    answer = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"mounting is not allowed here: {answer.stderr.strip()}")


@pytest.mark.slow
def test_a_folder_that_can_only_be_read_costs_nothing_else(queue, start):
    closed, fine = queue(), queue()
    if os.geteuid():
        closed.path.chmod(0o555)
    else:
        mounted(closed.path, "--bind", str(closed.path))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(closed.path)], check=True)
    try:
        over(start())
        assert fine.state == "finished"
        assert closed.state == "failed"
        assert "cannot be written to" in closed.status()["error"]
    finally:
        if os.geteuid():
            closed.path.chmod(0o755)
        else:
            subprocess.run(["umount", str(closed.path)], check=True)
    assert closed.state == "queued"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_holds_the_queue_and_loses_nothing(home, tmp_path, start):
    home.mkdir()
    mounted(home, "-t", "tmpfs", "-o", "size=40m", "none")
    try:
        from conftest import write_dataset

        dataset = write_dataset()
        config = make_config({"dataset": "tiny", "architecture": "fcnn-1"})
        broken, waits = create_run(config, dataset), create_run(config, dataset)
        (broken.path / "plan.json").write_text('{"seconds": 1.5, "exit": 1}')
        child = start()
        wait(lambda: broken.state == "running")
        with (home / "ballast").open("wb") as ballast, pytest.raises(OSError, match="space"):
            while True:
                ballast.write(bytes(1 << 20))
                ballast.flush()
        wait(lambda: broken.state == "failed")
        assert broken.status()["error"].startswith("the disk is full")
        time.sleep(0.7)
        assert child.poll() is None
        assert waits.state == "queued"
        (home / "ballast").unlink()
        over(child)
        assert waits.state == "finished"
        assert json.loads((broken.path / "status.json").read_text())["state"] == "failed"
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


@pytest.mark.slow
def test_each_run_gets_a_gpu_of_its_own(queue, start, tmp_path):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho GPU-aaa\necho GPU-bbb\n")
    tool.chmod(0o755)
    runs = [queue(seconds=1), queue(seconds=1)]
    over(start(PATH=f"{tool.parent}:{os.environ['PATH']}"))
    a, b = (run.status() for run in runs)
    assert {a["saw"], b["saw"]} == {"GPU-aaa", "GPU-bbb"}
    assert b["began"] < a["ended"]


@pytest.mark.parametrize(
    ("visible", "names"), [("", []), ("-1", []), ("0", ["0"]), ("1, 3", ["1", "3"]), ("0,0", ["0"])]
)
def test_visible_gpus_are_those_that_are_named(monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert supervisor.gpus() == names


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "65", "²"])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch, value):
    monkeypatch.setenv("MEDWB_WORKERS", value)
    with pytest.raises(RequestError, match=r"MEDWB_WORKERS=.* is no whole number from 1 to 64"):
        supervisor.worker_count()


@pytest.mark.parametrize(
    ("cores", "memory_gb", "workers"), [(1, 64, 1), (2, 64, 1), (8, 64, 2), (16, 7, 2), (16, 1, 1)]
)
def test_as_many_train_at_once_as_cores_and_memory_bear(monkeypatch, cores, memory_gb, workers):
    monkeypatch.delenv("MEDWB_WORKERS", raising=False)
    monkeypatch.setattr(supervisor, "gpus", list)
    monkeypatch.setattr(supervisor, "_cores", lambda: cores)
    monkeypatch.setattr(supervisor, "_memory", lambda: memory_gb * 2**30)
    assert supervisor.worker_count() == workers


@pytest.mark.slow
def test_it_gives_way_when_its_lock_was_removed(queue, start):
    run = queue(seconds=4)
    first = start()
    wait(lambda: run.state == "running")
    (run.path.parent / ".supervisor.lock").unlink()
    over(first)
    assert run.state == "running"
    over(start())
    assert run.state == "finished"


def test_runs_of_a_cluster_are_not_touched(queue, start):
    theirs, ours = queue(), queue()
    theirs.update_status(launcher="ray")
    assert list(positions()) == [ours.id]
    over(start())
    assert (theirs.state, ours.state) == ("queued", "finished")


def test_it_loads_nothing_heavy():
    code = "import sys, medwb.supervisor; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "pydantic", "tensorflow", "psutil"} & set(loaded)
