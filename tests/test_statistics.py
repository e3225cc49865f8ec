from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from medwb.metrics import evaluate
from medwb.statistics import (
    Score,
    bootstrap_weights,
    interval,
    mcnemar,
    mean_over_seeds,
    paired_difference,
    tie_groups,
    tied,
)


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


def test_a_mean_over_seeds_draws_seeds_in_each_replicate():
    rng = np.random.default_rng(0)
    scores = rng.random((3, 40, 2))
    means = mean_over_seeds(scores, seed=5)
    drawn = np.random.default_rng(5).integers(3, size=(40, 3))
    assert np.allclose(means[0], (scores[0, 0] + scores[1, 0] + scores[2, 0]) / 3)
    for replicate in range(1, 40):
        expected = sum(scores[seed, replicate] for seed in drawn[replicate]) / 3
        assert np.allclose(means[replicate], expected)
    assert np.array_equal(mean_over_seeds(scores[:1]), scores[0])


def test_a_paired_difference_is_that_of_a_simple_loop():
    """Accuracies of two models with three seeds each on 60 samples of 20 patients."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{number}" for number in range(20)], 3)
    right = {"a": rng.random((3, 60)) < 0.8, "b": rng.random((3, 60)) < 0.6}
    weights = np.vstack([np.ones((1, 60)), bootstrap_weights(groups, 50)])
    replicates = {
        name: mean_over_seeds(np.stack([weights @ seed / weights.sum(1) for seed in found]))
        for name, found in right.items()
    }
    drawn = np.random.default_rng(1).integers(3, size=(51, 3))
    differences = []
    for replicate in range(1, 51):
        total = 0.0
        for seed in drawn[replicate]:
            for sample in range(60):
                difference = float(right["a"][seed, sample]) - float(right["b"][seed, sample])
                total += weights[replicate, sample] * difference / 60 / 3
        differences.append(total)
    found = paired_difference(replicates["a"], replicates["b"])
    assert np.isclose(found.value, right["a"].mean() - right["b"].mean())
    assert np.allclose((found.low, found.high), np.percentile(differences, [2.5, 97.5]))


def test_pairing_makes_a_difference_sure_that_two_intervals_do_not():
    """b is right wherever a is, and on a few samples more."""
    rng = np.random.default_rng(0)
    a = rng.random(200) < 0.7
    b = a | (rng.random(200) < 0.1)
    weights = np.vstack([np.ones((1, 200)), bootstrap_weights(np.array([""] * 200))])
    first, second = (weights @ right / 200 for right in (a, b))
    apart = [interval(values[0], values[1:]) for values in (first, second)]
    assert apart[0].high > apart[1].low
    difference = paired_difference(second, first)
    assert difference.low > 0
    assert not tied(difference)
    assert tied(paired_difference(first, first))


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (Score(0.1, 0.01, 0.2), False),
        (Score(-0.1, -0.2, -0.01), False),
        (Score(0.1, -0.01, 0.2), True),
        (Score(0.1, 0.0, 0.2), True),
        (Score(np.nan, np.nan, np.nan), True),
    ],
)
def test_ties(difference, expected):
    assert tied(difference) is expected


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (5, 5), (3, 12), (20, 7), (0, 40)])
def test_mcnemar_is_the_binomial_test(a, b):
    expected = binomtest(a, a + b).pvalue if a + b else 1
    assert mcnemar(a, b) == pytest.approx(expected, abs=1e-12)
    assert mcnemar(a, b) == mcnemar(b, a)


@pytest.mark.parametrize(
    ("rows", "apart", "expected"),
    [
        (3, [], [(0, 1, 2)]),
        (3, [(0, 1), (0, 2), (1, 2)], [(0,), (1,), (2,)]),
        (3, [(0, 2)], [(0, 1), (1, 2)]),
        (4, [(0, 1), (0, 3)], [(0, 2), (1, 2, 3)]),  # a tie that steps over a row between
        (5, [(0, 3), (0, 4), (1, 4)], [(0, 1, 2), (1, 2, 3), (2, 3, 4)]),
        (1, [], [(0,)]),
    ],
)
def test_tie_groups(rows, apart, expected):
    assert tie_groups(matrix(rows, apart)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_tie_groups_are_the_largest_there_are(seed):
    """Against all subsets of seven rows."""
    rng = np.random.default_rng(seed)
    apart = matrix(7, [pair for pair in combinations(range(7), 2) if rng.random() < 0.4])
    ties = [
        group
        for size in range(1, 8)
        for group in combinations(range(7), size)
        if not any(apart[pair] for pair in combinations(group, 2))
    ]
    largest = [group for group in ties if not any(set(group) < set(other) for other in ties)]
    assert tie_groups(apart) == sorted(largest)


def matrix(rows, apart):
    found = np.zeros((rows, rows), bool)
    for a, b in apart:
        found[a, b] = found[b, a] = True
    return found
