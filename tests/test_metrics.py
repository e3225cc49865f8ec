import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from medwb.errors import RequestError
from medwb.metrics import (
    METRICS,
    Answers,
    Tally,
    Weightings,
    average,
    collapsed_labels,
    compute,
    evaluate,
    support,
    tune_thresholds,
)

LABEL = [entry.name for entry in METRICS if entry.kind == "label"]
SET = [entry.name for entry in METRICS if entry.kind == "set"]


def calibration_error(truth, score, weights):
    """Bin by bin, as in the paper."""
    total = 0.0
    for edge in range(15):
        low, high = edge / 15, (edge + 1) / 15
        inside = (score > low) & (score <= high) if edge else score <= high
        if weights[inside].sum():
            confidence = np.average(score[inside], weights=weights[inside])
            share = np.average(truth[inside], weights=weights[inside])
            total += weights[inside].sum() / weights.sum() * abs(confidence - share)
    return total


THEIRS = {
    "f1": lambda y, s, w: sk.f1_score(y, s >= 0.5, sample_weight=w),
    "accuracy": lambda y, s, w: sk.accuracy_score(y, s >= 0.5, sample_weight=w),
    "average_precision": lambda y, s, w: sk.average_precision_score(y, s, sample_weight=w),
    "roc_auc": lambda y, s, w: sk.roc_auc_score(y, s, sample_weight=w),
    "precision": lambda y, s, w: sk.precision_score(y, s >= 0.5, sample_weight=w),
    "recall": lambda y, s, w: sk.recall_score(y, s >= 0.5, sample_weight=w),
    "specificity": lambda y, s, w: sk.recall_score(y, s >= 0.5, sample_weight=w, pos_label=0),
    "mcc": lambda y, s, w: sk.matthews_corrcoef(y, s >= 0.5, sample_weight=w),
    "brier": lambda y, s, w: sk.brier_score_loss(y, s, sample_weight=w),
    "calibration_error": calibration_error,
    "macro_f1": lambda y, s, w: sk.f1_score(y, s >= 0.5, sample_weight=w, average="macro"),
    "weighted_f1": lambda y, s, w: sk.f1_score(y, s >= 0.5, sample_weight=w, average="weighted"),
    "micro_f1": lambda y, s, w: sk.f1_score(y, s >= 0.5, sample_weight=w, average="micro"),
    "samples_f1": lambda y, s, w: sk.f1_score(y, s >= 0.5, sample_weight=w, average="samples", zero_division=1),
    "exact_match": lambda y, s, w: sk.accuracy_score(y, s >= 0.5, sample_weight=w),
    "hamming_loss": lambda y, s, w: sk.hamming_loss(y, s >= 0.5, sample_weight=w),
    "ranking_loss": lambda y, s, w: sk.label_ranking_loss(y, s, sample_weight=w),
}
"""Ours, from an independent hand: scikit-learn's but for the calibration error, which it has not."""


def answers(samples=400, seed=0, decimals=2):
    """Truth and scores with many ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((samples, 3)) < (0.5, 0.2, 0.05)).astype(float)
    score = np.clip(0.3 * truth + rng.normal(0.4, 0.2, truth.shape), 0, 1).round(decimals)
    return truth, score


def theirs(name, truth, score, weights):
    """The same metric, an array of one value a label or one value."""
    if name in SET:
        return np.array([THEIRS[name](truth, score, weights)])
    return np.array([THEIRS[name](y, s, weights) for y, s in zip(truth.T, score.T, strict=True)])


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_agrees_with_an_independent_hand(name, decimals):
    truth, score = answers(decimals=decimals)
    rng = np.random.default_rng(1)
    for weights in (
        np.ones((1, 400)),
        rng.integers(0, 4, (20, 400)),
        rng.integers(0, 9000, (3, 400)),
        rng.random((2, 400)),
    ):
        ours = evaluate(name, truth, score, weights=weights).reshape(len(weights), -1)
        for values, weight in list(zip(ours, weights, strict=True))[-3:]:
            assert values == pytest.approx(theirs(name, truth, score, weight), abs=1e-9)


@pytest.mark.parametrize("name", METRICS.names())
def test_a_weight_is_so_many_copies(name):
    truth, score = answers(decimals=1)
    truth[np.random.default_rng(2).random(truth.shape) < 0.2] = np.nan
    weights = np.random.default_rng(3).integers(0, 5, 400).astype(np.uint16)
    repeated = evaluate(name, truth.repeat(weights, axis=0), score.repeat(weights, axis=0))
    assert evaluate(name, truth, score, weights=weights[None]) == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize("name", METRICS.names())
def test_many_weightings_at_once_are_what_each_is_alone(name):
    """Counts take other ways for one weighting, for many, and for those that are no whole numbers."""
    truth, score = answers(decimals=1)
    weights = np.random.default_rng(4).integers(0, 4, (37, 400)).astype(np.uint16)
    whole = evaluate(name, truth, score, weights=weights)
    assert whole == pytest.approx(evaluate(name, truth, score, weights=weights.astype(float)), abs=1e-12)
    alone = np.concatenate([evaluate(name, truth, score, weights=row[None]) for row in weights])
    assert whole == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("name", LABEL)
def test_unknown_labels_do_not_count(name):
    truth, score = answers()
    hidden = np.random.default_rng(2).random(400) < 0.3
    truth[hidden, 1] = np.nan
    ours = evaluate(name, truth, score)[0, 1]
    known = ~hidden
    assert ours == pytest.approx(THEIRS[name](truth[known, 1], score[known, 1], np.ones(known.sum())), abs=1e-9)


@pytest.mark.parametrize("name", SET)
def test_unknown_labels_of_a_sample_do_not_count(name):
    truth, score = answers(60)
    truth[np.random.default_rng(2).random(truth.shape) < 0.3] = np.nan
    truth[7] = np.nan
    if name in ("macro_f1", "weighted_f1", "micro_f1"):
        tp, fp, fn = (
            ((truth == value) & ((score >= 0.5) == called)).sum(0)
            for value, called in ((1, True), (0, True), (1, False))
        )
        f1 = 2 * tp / (2 * tp + fp + fn)
        pooled = 2 * tp.sum() / (2 * tp.sum() + fp.sum() + fn.sum())
        expected = {"macro_f1": f1.mean(), "weighted_f1": np.average(f1, weights=tp + fn), "micro_f1": pooled}[name]
    else:
        values = []
        for y, s in zip(truth, score, strict=True):
            known = ~np.isnan(y)
            positive, called = y[known] == 1, s[known] >= 0.5
            pairs = [(a, b) for a in s[known][positive] for b in s[known][~positive]]
            either = positive.sum() + called.sum()
            if known.any():
                values.append(
                    {
                        "exact_match": (positive == called).all(),
                        "hamming_loss": (positive != called).mean(),
                        "ranking_loss": np.mean([a <= b for a, b in pairs]) if pairs else 0,
                        "samples_f1": 2 * (positive & called).sum() / either if either else 1,
                    }[name]
                )
        assert len(values) < 60
        expected = np.mean(values)
    assert evaluate(name, truth, score)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["f1", "precision", "recall", "average_precision", "roc_auc", "mcc"])
def test_no_positives_is_undefined_and_left_out_of_the_mean(name):
    truth, score = answers()
    truth[:, 2] = 0
    values = evaluate(name, truth, score)
    assert np.isnan(values[0, 2])
    assert average(values, "macro")[0] == pytest.approx(values[0, :2].mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
@pytest.mark.parametrize("samples", [0, 1, 5])
def test_what_is_not_defined_is_nan_without_a_warning(name, value, samples):
    truth, score = np.full((samples, 2), value), np.full((samples, 2), 0.7)
    values = evaluate(name, truth, score)
    assert values.shape == ((1,) if name in SET else (1, 2))
    if np.isnan(value) or not samples:
        assert np.isnan(values).all()


def test_one_answer_for_all_is_worth_nothing():
    truth, score = answers()
    low = np.zeros_like(score)
    assert evaluate("precision", truth, low)[0].tolist() == [0, 0, 0]
    assert evaluate("mcc", truth, low)[0].tolist() == [0, 0, 0]
    assert evaluate("roc_auc", truth, low)[0].tolist() == [0.5, 0.5, 0.5]


def test_a_healthy_scan_that_is_called_healthy_is_right():
    assert evaluate("samples_f1", [[0, 0], [1, 0]], [[0.1, 0.1], [0.9, 0.1]])[0] == 1


@pytest.mark.parametrize("entry", list(METRICS), ids=lambda entry: entry.name)
def test_what_a_metric_says_of_itself_holds(entry):
    truth, score = answers(decimals=8)
    perfect, worst = truth * 0.98 + 0.01, 0.99 - truth * 0.98
    good, bad = (np.nanmean(evaluate(entry.name, truth, answer)) for answer in (perfect, worst))
    assert good > bad if entry.better == "higher" else good < bad
    moved = evaluate(entry.name, truth, score, threshold=0.31) != evaluate(entry.name, truth, score)
    assert moved.any() == entry.needs_threshold
    assert entry.summary
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tally = Tally(Answers(truth, score, np.full(3, 0.5)), Weightings(np.ones((1, 400))))
        assert compute(entry, tally).shape == ((1, 3) if entry.kind == "label" else (1,))


def test_lanes_do_not_run_over():
    """Sums of weights as large as a lane holds, and larger."""
    truth, score = answers(50, decimals=1)
    for most in (650, 700, 50_000_000, 2**40):
        weights = np.random.default_rng(5).integers(most - 5, most, (5, 50))
        for name in ("average_precision", "roc_auc"):
            ours = evaluate(name, truth, score, weights=weights)
            assert ours == pytest.approx(evaluate(name, truth, score, weights=weights.astype(float)), abs=1e-12)


@pytest.mark.parametrize("how", ["macro", "weighted"])
def test_averages_agree_with_scikit_learn(how):
    truth, score = answers()
    ones = np.ones((1, 400))
    ours = average(evaluate("f1", truth, score), how, support(truth, ones))[0]
    assert ours == pytest.approx(sk.f1_score(truth, score >= 0.5, average=how), abs=1e-12)


def test_bad_arrays_are_named():
    truth, score = answers()
    with pytest.raises(RequestError, match=r"y_true is \(400, 3\), y_score is \(400, 2\)"):
        evaluate("f1", truth, score[:, :2])
    score[3, 1] = np.nan
    with pytest.raises(RequestError, match="1 of 1200 scores are NaN"):
        evaluate("f1", truth, score)


def test_bad_thresholds_and_weights_are_named():
    truth, score = answers()
    with pytest.raises(
        RequestError, match=r"thresholds are \[0.5, 0.5\]; give one number, or one for each of 3 labels"
    ):
        evaluate("f1", truth, score, threshold=[0.5, 0.5])
    with pytest.raises(RequestError, match=r"weights are \(2, 7\); they must be \(weightings, 400 samples\)"):
        evaluate("f1", truth, score, weights=np.ones((2, 7)))


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
