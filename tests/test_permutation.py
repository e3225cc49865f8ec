from itertools import product

import numpy as np
import pytest

from medwb.metrics import average, evaluate, support
from medwb.permutation import COUNT_SCORES, UnitCounts, swap_p_value, unit_counts

NAN = float("nan")


def answers(seed: int, samples: int, runs: tuple[int, int], labels: int = 3):
    """Truth with some labels unknown, and scores of two rows' runs."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((samples, labels)) < 0.5).astype(float)
    truth[rng.random(truth.shape) < 0.1] = NAN
    known = np.nan_to_num(truth, nan=0.5)
    rows = [[np.clip(known + rng.normal(0, 0.6, truth.shape), 0, 1) for _ in range(count)] for count in runs]
    return truth, rows


def score_of(name: str, truth: np.ndarray, score: np.ndarray) -> float:
    """A score from scratch, by the metrics that tables use."""
    if name == "macro_f1":
        return float(average(evaluate("f1", truth, score), "macro")[0])
    if name == "weighted_f1":
        return float(average(evaluate("f1", truth, score), "weighted", support(truth, np.ones((1, len(truth)))))[0])
    if name == "accuracy":
        return float(average(evaluate("accuracy", truth, score), "macro")[0])
    called, positive = (score >= 0.5) & ~np.isnan(truth), truth == 1
    return float(2 * (called & positive).sum() / (called.sum() + positive.sum()))


def brute_force(name: str, truth: np.ndarray, rows, units: np.ndarray) -> float:
    """All 2^U ways to swap the two rows' answers, unit by unit, one at a time."""
    pairs = (
        [(a, b) for a in rows[0] for b in rows[1]] if len(rows[0]) != len(rows[1]) else list(zip(*rows, strict=True))
    )

    def difference(swapped: np.ndarray) -> float:
        swap = swapped[:, None]
        values = [
            score_of(name, truth, np.where(swap, b, a)) - score_of(name, truth, np.where(swap, a, b))
            for a, b in pairs
        ]
        return float(np.mean(values))

    count = units.max() + 1
    observed = abs(difference(np.zeros(len(units), bool)))
    every = [abs(difference(np.array(swaps, bool)[units])) for swaps in product((0, 1), repeat=count)]
    return float(np.mean(np.array(every) >= observed - 1e-9))


@pytest.mark.parametrize("name", sorted(COUNT_SCORES))
@pytest.mark.parametrize("runs", [(1, 1), (2, 2), (2, 1)])
def test_all_swaps_one_at_a_time(name: str, runs: tuple[int, int]) -> None:
    truth, rows = answers(len(name) + sum(runs), 9, runs)
    units = np.array([0, 1, 2, 3, 4, 5, 5, 6, 6])
    counts = [unit_counts(truth, scores, units) for scores in rows]
    assert swap_p_value(*counts, COUNT_SCORES[name]) == pytest.approx(brute_force(name, truth, rows, units))


@pytest.mark.parametrize("name", sorted(COUNT_SCORES))
def test_a_count_score_is_the_metric(name: str) -> None:
    truth, (scores, _) = answers(3, 200, (2, 1))
    counts = unit_counts(truth, scores, np.arange(200) // 2)
    summed = counts.answers.sum(0, dtype=np.float64)
    found = COUNT_SCORES[name](summed[..., 0], summed[..., 1], counts.positives, counts.known)
    assert np.allclose(found, [score_of(name, truth, score) for score in scores], atol=1e-12)


def test_random_swaps_are_near_all_of_them() -> None:
    truth, rows = answers(1, 14, (1, 1))
    counts = [unit_counts(truth, scores, np.arange(14)) for scores in rows]
    exact = swap_p_value(*counts, COUNT_SCORES["macro_f1"], 2**14)
    drawn = swap_p_value(*counts, COUNT_SCORES["macro_f1"], 3000)
    assert 0.02 < exact < 1
    assert abs(exact - drawn) < 0.04
    assert drawn == swap_p_value(*counts, COUNT_SCORES["macro_f1"], 3000)


def test_rows_alike_and_rows_far_apart() -> None:
    truth, rows = answers(0, 300, (1, 1))
    good = unit_counts(truth, rows[0], np.arange(300))
    assert swap_p_value(good, good, COUNT_SCORES["macro_f1"]) == 1
    bad = unit_counts(truth, [1 - rows[0][0]], np.arange(300))
    assert swap_p_value(good, bad, COUNT_SCORES["macro_f1"], 500) < 1e-6  # less than 500 swaps alone can show


@pytest.mark.parametrize("name", sorted(COUNT_SCORES))
def test_nothing_to_score(name: str, recwarn: pytest.WarningsRecorder) -> None:
    truth = np.full((6, 2), NAN)
    counts = unit_counts(truth, [np.zeros((6, 2))], np.arange(6))
    assert np.isnan(swap_p_value(counts, counts, COUNT_SCORES[name]))
    no_positive = unit_counts(np.zeros((6, 2)), [np.ones((6, 2))], np.arange(6))
    none_called = unit_counts(np.zeros((6, 2)), [np.zeros((6, 2))], np.arange(6))
    p = swap_p_value(no_positive, none_called, COUNT_SCORES[name])
    assert np.isnan(p) if name != "accuracy" else p == pytest.approx(2 / 2**6)
    assert not recwarn


def test_patients_are_swapped_whole() -> None:
    """Eight samples of one patient on which one is right say as little as one."""
    truth = np.ones((8, 1))
    right, wrong = np.ones((8, 1)), np.zeros((8, 1))
    together = [unit_counts(truth, [scores], np.zeros(8, np.int64)) for scores in (right, wrong)]
    apart = [unit_counts(truth, [scores], np.arange(8)) for scores in (right, wrong)]
    assert swap_p_value(*together, COUNT_SCORES["accuracy"]) == 1
    assert swap_p_value(*apart, COUNT_SCORES["accuracy"]) == pytest.approx(2 / 2**8)
    assert isinstance(apart[0], UnitCounts)
