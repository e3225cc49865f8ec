import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from medwb.errors import RequestError
from medwb.metrics import METRICS, average, collapsed_labels, evaluate, support, tune_thresholds

THEIRS = {
    "f1": lambda y, s, w: f1_score(y, s >= 0.5, sample_weight=w),
    "accuracy": lambda y, s, w: accuracy_score(y, s >= 0.5, sample_weight=w),
    "average_precision": lambda y, s, w: average_precision_score(y, s, sample_weight=w),
    "roc_auc": lambda y, s, w: roc_auc_score(y, s, sample_weight=w),
}


def answers(samples=400, seed=0, decimals=2):
    """Truth and scores with many ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((samples, 3)) < (0.5, 0.2, 0.05)).astype(float)
    score = np.clip(0.3 * truth + rng.normal(0.4, 0.2, truth.shape), 0, 1).round(decimals)
    return truth, score


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_agrees_with_scikit_learn(name, decimals):
    truth, score = answers(decimals=decimals)
    weights = np.vstack([np.ones(400), np.random.default_rng(1).integers(0, 4, 400)])
    ours = evaluate(name, truth, score, weights=weights)
    for row, weight in enumerate(weights):
        for label in range(3):
            assert ours[row, label] == pytest.approx(
                THEIRS[name](truth[:, label], score[:, label], weight), abs=1e-12
            )


@pytest.mark.parametrize("name", METRICS.names())
def test_unknown_labels_do_not_count(name):
    truth, score = answers()
    hidden = np.random.default_rng(2).random(400) < 0.3
    truth[hidden, 1] = np.nan
    ours = evaluate(name, truth, score)[0, 1]
    known = ~hidden
    assert ours == pytest.approx(THEIRS[name](truth[known, 1], score[known, 1], np.ones(known.sum())), abs=1e-12)


@pytest.mark.parametrize("name", ["f1", "average_precision", "roc_auc"])
def test_no_positives_is_undefined_and_left_out_of_the_mean(name):
    truth, score = answers()
    truth[:, 2] = 0
    values = evaluate(name, truth, score)
    assert np.isnan(values[0, 2])
    assert average(values, "macro")[0] == pytest.approx(values[0, :2].mean())


@pytest.mark.parametrize("name", METRICS.names())
def test_nothing_known_is_undefined(name):
    truth, score = answers()
    truth[:, 0] = np.nan
    assert np.isnan(evaluate(name, truth, score)[0, 0])


@pytest.mark.parametrize("how", ["macro", "weighted"])
def test_averages_agree_with_scikit_learn(how):
    truth, score = answers()
    ones = np.ones((1, 400))
    ours = average(evaluate("f1", truth, score), how, support(truth, ones))[0]
    assert ours == pytest.approx(f1_score(truth, score >= 0.5, average=how), abs=1e-12)


def test_bad_arrays_are_named():
    truth, score = answers()
    with pytest.raises(RequestError, match=r"y_true is \(400, 3\), y_score is \(400, 2\)"):
        evaluate("f1", truth, score[:, :2])
    score[3, 1] = np.nan
    with pytest.raises(RequestError, match="1 of 1200 scores are NaN"):
        evaluate("f1", truth, score)


def test_tuned_thresholds_are_the_best_of_all():
    truth, score = answers()
    tuned = tune_thresholds(truth, score)
    best = evaluate("f1", truth, score, threshold=tuned)[0]
    for threshold in np.linspace(0, 1, 201):
        assert (evaluate("f1", truth, score, threshold=threshold)[0] <= best + 1e-12).all()


def test_tuned_threshold_without_positives_is_one_half():
    assert tune_thresholds(np.zeros((9, 1)), np.random.default_rng(0).random((9, 1))).tolist() == [0.5]


def test_collapse_is_told_from_rarity():
    rng = np.random.default_rng(0)
    dead = np.full(500, 0.46) + rng.normal(0, 1e-5, 500)
    rare = rng.random(500) * 0.005
    fine = rng.random(500)
    zero = np.zeros(500)
    assert collapsed_labels(np.stack([dead, rare, fine, zero], axis=1)).tolist() == [True, False, False, True]
