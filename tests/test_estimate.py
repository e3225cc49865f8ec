import pytest
from conftest import finish_run

from medwb.config import make_config
from medwb.estimate import Pace, duration, expected_seconds, paces, progress_text, queue_estimate
from medwb.runs import create_run, list_runs


def queued(dataset, **settings):
    facts = {"dataset": "tiny", "architecture": "fcnn-1", "recipe": "reference"}
    return create_run(make_config({**facts, **settings}), dataset)


def history(run, seconds):
    lines = [f"shared,{epoch},0.5,0.75,{second}" for epoch, second in enumerate(seconds, 1)]
    (run.path / "history.csv").write_text("\n".join(["head,epoch,val_loss,val_f1,seconds", *lines]) + "\n")


def test_a_run_is_expected_to_take_what_runs_like_it_took(tiny):
    known = finish_run(tiny, architecture="fcnn-1", recipe="reference")
    history(known, [2.0, 4.0])
    known.update_status(started=100.0, finished=116.0)
    told = paces(list_runs())
    assert list(told.values()) == [Pace(3.0, 10.0)]
    assert expected_seconds(queued(tiny, epochs=20, seed=5), told) == 70.0
    assert expected_seconds(queued(tiny, epochs=20, heads="per-label"), told) is None
    assert expected_seconds(queued(tiny, batch_size=64), told) is None
    known.update_status(finished=50.0)  # the clock was set back
    assert next(iter(paces([known]).values())).start == 8.0


def test_the_estimate_of_a_queue_adds_up_and_says_what_it_does_not_know(tiny):
    known = {}
    runs = [queued(tiny, epochs=1, seed=seed) for seed in range(3)]
    statuses = {run.id: run.status() for run in runs}
    assert "no estimate yet" in str(queue_estimate(runs, statuses, known, 1))
    done = finish_run(tiny, architecture="fcnn-1", recipe="reference")
    history(done, [5.0])
    done.update_status(started=100.0, finished=110.0)
    known = paces([done])
    assert queue_estimate(runs, statuses, known, 1).seconds == 30.0
    assert queue_estimate(runs, statuses, known, 2).seconds == 20.0
    statuses[runs[0].id] |= {"state": "running", "eta": 2.0}
    assert str(queue_estimate(runs, statuses, known, 1)) == "at most 22 s"
    strange = queued(tiny, architecture="k-nn")
    statuses[strange.id] = strange.status()
    assert str(queue_estimate([*runs, strange], statuses, known, 1)).startswith("at most 22 s for 3 of 4 runs")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({"state": "queued", "position": 1}, "queued: next"),
        ({"state": "queued", "position": 3}, "queued: place 3"),
        ({"state": "queued", "starting": True}, "starting"),
        ({"state": "queued", "launcher": "ray"}, "queued on the cluster"),
        ({"state": "running"}, "starting"),
        (
            {"state": "running", "total": 9, "epoch": 2, "eta": 9.2},
            "epoch 2 of 10 · val f1 0.750 · at most 9 s left",
        ),
        ({"state": "stopping", "total": 9, "epoch": 2}, "epoch 2 of 10 · val f1 0.750 · stopping after the batch"),
        ({"state": "failed"}, "failed"),
    ],
)
def test_progress_in_words(tiny, status, text):
    run = queued(tiny)
    history(run, [1.0])
    assert progress_text(run, status) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (61, "1 min 1 s"), (7500, "2 h 5 min"), (-3, "0 s")])
def test_duration(seconds, text):
    assert duration(seconds) == text
