"""The queue at work, with real processes."""

import time

import pytest

from medwb.config import make_config
from medwb.errors import RequestError
from medwb.launch import launch, start_worker, stop, watch
from medwb.runs import create_run, list_runs


def config(**settings):
    return make_config({"dataset": "tiny", "architecture": "prevalence", **settings})


def wait(run, states, seconds=90.0):
    deadline = time.monotonic() + seconds
    while run.state not in states:
        assert time.monotonic() < deadline, f"{run.id} is {run.status()}"
        time.sleep(0.1)


def test_nothing_is_queued_when_one_config_is_wrong(tiny):
    with pytest.raises(RequestError, match="cnn-4 cannot take"):
        launch([config(), config(architecture="cnn-4")])
    assert list_runs() == []


def test_a_queued_run_that_is_stopped_never_starts(tiny):
    run = create_run(config(), tiny)
    stop(run)
    assert run.state == "stopped"
    with pytest.raises(RequestError, match="is stopped; there is nothing to stop"):
        stop(run)


@pytest.mark.slow
def test_runs_are_trained_in_turn_and_two_workers_do_no_harm(tiny):
    runs = launch([config(), config(architecture="always-negative"), config(architecture="k-nn")])
    start_worker()
    assert all(run.state in ("queued", "running", "finished") for run in runs)
    *_, last = watch(runs, 0.1)
    assert [status["state"] for status in last] == ["finished"] * 3
    started = [run.status()["started"] for run in runs]
    ended = [run.status()["finished"] for run in runs]
    assert started == sorted(started)
    assert all(start >= end for start, end in zip(started[1:], ended, strict=False))


@pytest.mark.slow
def test_a_killed_run_is_failed_and_the_queue_goes_on(tiny):
    import os
    import signal

    first, second = launch([config(architecture="fcnn-1", epochs=10_000), config()])
    wait(first, ("running",))
    os.kill(first.status()["pid"], signal.SIGKILL)
    wait(second, ("finished",))
    assert first.state == "failed"
    assert "killed by SIGKILL" in first.status()["error"]


@pytest.mark.slow
def test_a_running_run_is_stopped_after_the_batch(tiny):
    (run,) = launch([config(architecture="fcnn-1", epochs=10_000)])
    deadline = time.monotonic() + 90
    while run.status()["epoch"] < 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stop(run)
    wait(run, ("stopped",))
    assert run.predicted_splits() == ["train", "val", "test"]
