import numpy as np
import pytest

from medwb.config import make_config
from medwb.training.schedule import learning_rate


def rates(total=100, **settings):
    config = make_config({"dataset": "any", "architecture": "cnn-2", "recipe": "reference", **settings})
    return np.array([learning_rate(config, 0.1, step, total) for step in range(total)])


def test_a_constant_rate_stays():
    assert rates() == pytest.approx(np.full(100, 0.1))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_nothing(schedule):
    found = rates(schedule=schedule, warmup=0.3)
    assert found.argmax() == 30
    assert found.max() == pytest.approx(0.1)
    assert (np.diff(found[:31]) > 0).all()
    assert (np.diff(found[30:]) < 0).all()
    assert 0 < found[-1] < 0.002
    assert found[0] == pytest.approx(0.1 / 31)


def test_the_cosine_is_half_way_down_half_way_through():
    assert rates(schedule="cosine")[50] == pytest.approx(0.05)
    assert rates(schedule="linear")[50] == pytest.approx(0.05)
    assert rates(schedule="cosine")[25] == pytest.approx(0.1 * (1 + np.cos(np.pi / 4)) / 2)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0, 0.5, 0.99])
def test_short_trainings_have_a_rate_too(total, warmup):
    found = rates(total, schedule="cosine", warmup=warmup)
    assert ((found > 0) & (found <= 0.1)).all()
