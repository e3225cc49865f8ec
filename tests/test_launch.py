"""What a user does to runs, and the queue at work with real trainings."""

import json
import os
import signal
import sys
import time
from types import ModuleType

import pytest
from conftest import finish_run

import medwb.launch as launching
from medwb import terminal
from medwb.config import make_config
from medwb.errors import RequestError
from medwb.launch import cancel, launch, look_after, move, recipe_again, resume, retry, start_worker, stop, watch
from medwb.queue import positions
from medwb.runs import create_run, list_runs, open_run


def config(**settings):
    return make_config({"dataset": "tiny", "architecture": "prevalence", **settings})


def queued(dataset, **settings):
    return create_run(config(**{"architecture": "fcnn-1", "recipe": "reference", **settings}), dataset)


@pytest.fixture
def idle(monkeypatch):
    """No supervisor starts; the list says how often one would have."""
    started: list[None] = []
    monkeypatch.setattr(launching, "start_worker", lambda: started.append(None))
    return started


def wait(run, states, seconds=90.0):
    deadline = time.monotonic() + seconds
    while run.state not in states:
        assert time.monotonic() < deadline, f"{run.id} is {run.status()}"
        time.sleep(0.1)


def test_nothing_is_queued_when_one_config_is_wrong(tiny):
    with pytest.raises(RequestError, match="cnn-4 cannot take"):
        launch([config(), config(architecture="cnn-4")])
    assert list_runs() == []


def test_nothing_is_queued_when_the_number_of_workers_is_nonsense(tiny, monkeypatch):
    monkeypatch.setenv("MEDWB_WORKERS", "many")
    with pytest.raises(RequestError, match="MEDWB_WORKERS='many'"):
        launch([config()])
    assert list_runs() == []


def test_nothing_is_left_when_the_disk_is_full(tiny, idle, monkeypatch, home):
    from medwb import runs, status

    def write(path, text, write=status.write_text, written=[]):  # noqa: B006
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(status, "write_text", write)
    monkeypatch.setattr(runs, "write_text", write)
    with pytest.raises(OSError, match="No space left"):
        launch([config(), config(), config()])
    assert not [path for path in (home / "runs").iterdir() if path.is_dir()]
    assert not idle


def test_launched_runs_stand_in_their_order_behind_those_that_wait(tiny, idle):
    first = launch([config(), config(architecture="k-nn")])
    second = launch([config(architecture="svc"), config()])
    assert list(positions()) == [run.id for run in [*first, *second]]
    assert len(idle) == 2


def test_a_queued_run_that_is_stopped_or_cancelled_never_starts(tiny, idle):
    for act in (stop, cancel):
        run = create_run(config(), tiny)
        act(run)
        assert run.state == "stopped"
        assert not run.claim()
        assert positions() == {}
    with pytest.raises(RequestError, match="is stopped; there is nothing to stop"):
        stop(run)
    with pytest.raises(RequestError, match="is stopped, not queued"):
        cancel(run)


def test_a_run_of_another_host_is_stopped_there_until_it_has_been_silent_for_long(tiny):
    run = queued(tiny)
    run.claim()
    run.update_status(host="elsewhere")
    for now in (False, True):
        with pytest.raises(RequestError, match="is at work on elsewhere; stop it there"):
            stop(run, now=now)
    long_ago = time.time() - 3600
    os.utime(run.path / "status.json", (long_ago, long_ago))
    with pytest.raises(RequestError, match="stop --now"):
        stop(run)
    stop(run, now=True)
    assert run.state == "stopped"


@pytest.mark.parametrize("act", [resume, retry])
def test_only_a_stopped_or_failed_run_is_queued_again(tiny, idle, act):
    run = queued(tiny)
    with pytest.raises(RequestError, match="is queued and cannot be"):
        act(run)
    run.claim()
    with pytest.raises(RequestError, match="is running and cannot be"):
        act(run)
    finished = finish_run(tiny, 0.2)
    with pytest.raises(RequestError, match="is finished and cannot be"):
        act(finished)
    assert finished.predicted_splits()
    run.update_status(state="failed", error="x", eta=3.0)
    waiting = queued(tiny)
    act(run)
    status = run.status()
    assert (status["state"], status["error"], status["eta"], status["attempt"]) == ("queued", None, None, 1)
    assert list(positions()) == [waiting.id]  # this process is alive, so the run counts as one that is about to begin
    assert status["starting"]
    run.update_status(pid=None)
    assert list(positions()) == [waiting.id, run.id]
    assert len(idle) == 1


def test_resume_keeps_what_was_learned_and_retry_removes_it(tiny, idle):
    run = finish_run(tiny, 0.2)
    learned = ("checkpoint.npz", "history.csv", "model.weights.h5", "model.onnx", "receipt.json", "predictions.npz")
    for name in (*learned, "log.txt", "notes.txt"):
        (run.path / name).touch()
    (run.path / "tensorboard").mkdir()
    run.update_status(state="stopped", epoch=3, collapsed=True, mlflow_run="m", launcher="local")
    resume(run)
    assert all((run.path / name).exists() for name in learned)
    assert (run.status()["epoch"], run.status()["mlflow_run"]) == (3, "m")
    cancel(run)
    retry(run)
    left = {path.name for path in run.path.iterdir()}
    assert left == {"config.json", "status.json", "log.txt", "notes.txt", ".lock"}
    status = run.status()
    assert (status["state"], status["epoch"], status["collapsed"], status["attempt"]) == ("queued", 0, False, 2)
    assert status["warnings"] == run.warnings
    assert "mlflow_run" not in status


def test_a_run_with_a_damaged_status_is_resumed(tiny, idle):
    run = queued(tiny, epochs=3)
    (run.path / "status.json").write_text("{")
    resume(run)
    assert run.status()["state"] == "queued"
    assert run.status()["epochs"] == 3
    assert run.claim()


def test_a_run_with_a_damaged_config_is_not_resumed(tiny, idle):
    run = queued(tiny)
    stop(run)
    (run.path / "config.json").write_text("{")
    with pytest.raises(RequestError, match=r"config\.json is damaged"):
        resume(open_run(run.id))


def test_waiting_runs_are_moved(tiny):
    a, b, c, d = (queued(tiny) for _ in range(4))

    names = {a.id: "a", b.id: "b", c.id: "c", d.id: "d"}

    def line():
        return [names[run_id] for run_id in positions()]

    assert line() == ["a", "b", "c", "d"]
    move(c, first=True)
    assert line() == ["c", "a", "b", "d"]
    move(a, last=True)
    assert line() == ["c", "b", "d", "a"]
    move(a, before=b)
    assert line() == ["c", "a", "b", "d"]
    for _ in range(60):  # halving what lies between two orders comes to an end
        move(b, before=a)
        move(a, before=b)
    assert line() == ["c", "a", "b", "d"]
    for run in (a, b, c, d):  # as runs have it that were queued before there was an order
        run.update_status(order=0.0)
    before = line()
    move(open_run(list(positions())[3]), first=True)
    assert line() == [before[3], *before[:3]]


def test_a_move_that_means_nothing_is_refused(tiny):
    a, b = queued(tiny), queued(tiny)
    with pytest.raises(RequestError, match="say where"):
        move(a)
    with pytest.raises(RequestError, match="say where"):
        move(a, first=True, before=b)
    with pytest.raises(RequestError, match="before itself"):
        move(a, before=a)
    stop(a)
    with pytest.raises(RequestError, match="does not wait"):
        move(a, first=True)
    with pytest.raises(RequestError, match="does not wait"):
        move(b, before=a)
    assert list(positions()) == [b.id]


def test_a_supervisor_is_started_only_where_something_waits_and_none_is_at_work(tiny, idle, home):
    import fcntl

    look_after()
    assert not idle
    run = queued(tiny)
    look_after()
    assert len(idle) == 1
    with (home / "runs" / ".supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        look_after()
    assert len(idle) == 1
    stop(run)
    look_after()
    assert len(idle) == 1


def test_the_end_of_a_run_that_nobody_saw_is_written_down(tiny, idle):
    run = queued(tiny)
    run.claim()
    run.update_status(start_ticks=0)
    look_after()
    stored = json.loads((run.path / "status.json").read_text())
    assert stored["state"] == "failed"
    assert "the process is gone" in stored["error"]
    assert not idle


def test_a_run_is_launched_again_under_another_recipe(tiny):
    chosen = {"seed": 4, "optimizer": "sgd", "momentum": 0.5, "plateau_floor": 1e-6}
    run = queued(tiny, plateau_patience=2, **chosen)
    again = recipe_again(run, "stable")
    assert again == config(architecture="fcnn-1", recipe="stable", **chosen)
    assert again.schedule == "cosine"


class TestRay:
    @pytest.fixture
    def calls(self, monkeypatch):
        """What the launcher is asked to do, instead of a cluster."""
        calls: list[tuple[object, ...]] = []
        fake = ModuleType("medwb.ray_launcher")

        def submit(runs, **options):
            calls.append(("submit", [run.id for run in runs], options))
            if options.get("address") == "nowhere":
                raise RequestError("no Ray dashboard answers at nowhere")

        fake.submit = submit
        fake.stop = lambda run, now=False: calls.append(("stop", run.id, now))
        fake.check = lambda run: calls.append(("check", run.id))
        monkeypatch.setitem(sys.modules, "medwb.ray_launcher", fake)
        return calls

    def test_runs_are_submitted_and_stopped_by_the_cluster(self, tiny, idle, calls):
        (run,) = launch([config()], "ray", address="head:8265", cpus=2)
        assert calls == [("submit", [run.id], {"address": "head:8265", "cpus": 2})]
        assert run.status()["launcher"] == "ray"
        assert positions() == {}
        assert not idle
        stop(run, now=True)
        launching.refresh([run])
        assert calls[1:] == [("stop", run.id, True), ("check", run.id)]
        run.update_status(state="failed")
        resume(run)
        assert calls[3] == calls[0]

    def test_nothing_is_left_when_the_cluster_does_not_answer(self, tiny, idle, calls):
        with pytest.raises(RequestError, match="no Ray dashboard"):
            launch([config(), config()], "ray", address="nowhere")
        assert list_runs() == []

    def test_a_resume_that_the_cluster_refuses_leaves_the_run_stopped(self, tiny, idle, calls):
        (run,) = launch([config()], "ray")
        run.update_status(state="failed", launcher_options={"address": "nowhere"})
        with pytest.raises(RequestError, match="no Ray dashboard"):
            resume(run)
        assert run.state == "stopped"

    def test_options_without_ray_are_refused(self, tiny):
        with pytest.raises(RequestError, match="address is an option of the launcher ray"):
            launch([config()], address="head:8265")
        with pytest.raises(RequestError, match="launcher 'slurm' is unknown"):
            launch([config()], "slurm")


def test_ctrl_c_leaves_the_runs_going_and_says_so(tiny, monkeypatch, capsys):
    run = queued(tiny)

    def interrupted(runs):
        yield [run.status() for run in runs]
        raise KeyboardInterrupt

    monkeypatch.setattr(launching, "watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        terminal.watch_runs([run])
    assert run.state == "queued"
    assert "1 run goes on" in capsys.readouterr().err


def test_the_command_line_works_the_queue(tiny, idle, medwb):
    a, b = queued(tiny), queued(tiny)
    assert medwb("move", b.id, "--first")[0] == 0
    out = json.loads(medwb("runs", "--json")[1])
    assert {row["id"]: row["position"] for row in out["runs"]} == {a.id: 2, b.id: 1}
    assert out["damaged"] == []
    assert medwb("move", a.id, "--before", b.id)[0] == 0
    assert list(positions()) == [a.id, b.id]
    assert medwb("cancel", a.id)[0] == 0
    assert medwb("stop", b.id, "--now")[0] == 0
    assert [run.state for run in (a, b)] == ["stopped", "stopped"]
    status, out, _ = medwb("resume", a.id, b.id, "--detach", "--json")
    assert (status, json.loads(out)) == (0, {"runs": [a.id, b.id]})
    status, _, err = medwb("resume", a.id, "--detach")
    assert status == 2
    assert err.count("\n") == 1
    assert "is queued and cannot be resumed" in err
    cancel(b)
    assert medwb("resume", b.id, a.id, "--detach")[0] == 2
    assert b.state == "stopped"  # nothing is done when one of them cannot be
    assert medwb("retry", b.id, "--detach")[1].strip() == b.id
    (a.path / "config.json").write_text("{")
    status, out, err = medwb("runs")
    assert status == 0
    assert b.id in out
    assert f"run {a.id}: config.json is damaged" in err
    assert json.loads(medwb("runs", "--json")[1])["damaged"][0]["id"] == a.id


@pytest.mark.slow
def test_runs_are_trained_in_turn_and_two_workers_do_no_harm(tiny):
    runs = launch([config(), config(architecture="always-negative")])
    start_worker()
    assert all(run.state in ("queued", "running", "finished") for run in runs)
    *_, last = watch(runs, 0.1)
    assert [status["state"] for status in last] == ["finished"] * 2
    first, second = (run.status() for run in runs)
    assert second["started"] >= first["finished"]


@pytest.mark.slow
def test_a_killed_run_is_failed_the_queue_goes_on_and_a_stopped_one_is_resumed(tiny):
    first, second = launch([config(architecture="fcnn-1", epochs=10_000), config()])
    wait(first, ("running",))
    os.kill(first.status()["pid"], signal.SIGKILL)
    wait(second, ("finished",))
    assert first.state == "failed"
    assert "killed by SIGKILL" in first.status()["error"]

    resume(first)
    deadline = time.monotonic() + 90
    while first.status()["epoch"] < 2:
        assert time.monotonic() < deadline, first.status()
        time.sleep(0.1)
    stop(first)
    wait(first, ("stopped",))
    assert first.predicted_splits() == ["train", "val", "test"]
    assert len(first.history()) >= 1
