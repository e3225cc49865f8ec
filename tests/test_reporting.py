import pytest

from medwb.config import make_config
from medwb.runs import create_run
from medwb.training import reporting


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(reporting, "time", clock)
    return clock


def test_the_estimate_leaves_out_the_first_step_and_what_was_passed_over(tiny, clock):
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)
    assert run.claim()
    with reporting.Reporter(run) as reporter:
        clock.now += 60  # loading
        reporter.step(1, 100, 1, "shared")
        assert run.status()["eta"] is None
        clock.now += 2
        reporter.step(2, 100, 1, "shared")
        assert run.status()["eta"] == pytest.approx(2 * 98)
        clock.now += 2
        reporter.step(51, 100, 6, "next")  # early stopping passed over 48 steps
        assert run.status()["eta"] == pytest.approx(2 * 49)
    assert reporter.totals()["train_seconds"] == 64


def test_a_stop_shows_at_once_and_other_steps_once_a_second(tiny, clock):
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)
    assert run.claim()
    with reporting.Reporter(run) as reporter:
        reporter.step(1, 100, 1, "shared")
        clock.now += 0.1
        reporter.step(2, 100, 1, "shared")
        assert run.status()["done"] == 1
        reporter.stop_requested = True
        reporter.step(3, 100, 1, "shared")
    assert run.status()["done"] == 3
