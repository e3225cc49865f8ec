import numpy as np

from medwb.metrics import evaluate
from medwb.statistics import Score, bootstrap_weights, interval


def test_draws_are_whole_groups():
    groups = np.array(["a", "a", "b", "", "", "b", "c"])
    weights = bootstrap_weights(groups, draws=200)
    assert weights.shape == (200, 7)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 5]).all()
    assert not (weights[:, 3] == weights[:, 4]).all()
    units = weights[:, [0, 2, 3, 4, 6]].sum(1)
    assert (units == 5).all()


def test_same_seed_same_draws():
    groups = np.array([""] * 50)
    assert np.array_equal(bootstrap_weights(groups, 10, seed=3), bootstrap_weights(groups, 10, seed=3))
    assert not np.array_equal(bootstrap_weights(groups, 10, seed=3), bootstrap_weights(groups, 10, seed=4))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """200 samples of a classifier that is right 80 % of the time: nominal 95 %."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        truth = (rng.random((200, 1)) < 0.5).astype(float)
        right = rng.random((200, 1)) < 0.8
        score = np.where(right, truth, 1 - truth)
        weights = np.vstack([np.ones(200), bootstrap_weights(np.array([""] * 200), 300, seed=trial)])
        values = evaluate("accuracy", truth, score, weights=weights)[:, 0]
        found = interval(values[0], values[1:])
        covered += found.low <= 0.8 <= found.high
    assert 0.90 <= covered / 300 <= 0.99


def test_groups_widen_the_interval():
    """Four equal samples a patient hold as much as one."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(50), 4)
    groups = np.repeat([f"p{n}" for n in range(50)], 4)
    spread = {
        name: (bootstrap_weights(named, 2000) @ values / 200).std()
        for name, named in (("grouped", groups), ("alone", np.array([""] * 200)))
    }
    assert 1.7 < spread["grouped"] / spread["alone"] < 2.3


def test_undefined_replicates_do_not_count():
    score = interval(0.5, np.array([0.4, np.nan, 0.6]))
    assert 0.4 <= score.low < score.high <= 0.6
    assert str(Score(float("nan"), 0, 1)) == "undefined"
    assert str(interval(0.5, np.array([0.5]))) == "0.500 [0.500, 0.500]"
