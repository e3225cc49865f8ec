import json

import numpy as np
import pytest
from conftest import LABELS, finish_run
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss

import medwb.cli.thresholds  # noqa: F401  # registers the commands
from medwb.calibration import (
    CALIBRATIONS,
    KINDS,
    SCORE_TITLES,
    Calibration,
    cross_fit_calibration,
    open_calibration,
    reliability,
    remove_calibration,
    save_calibration,
)
from medwb.calibration_methods import calibrated
from medwb.errors import RequestError
from medwb.metrics import evaluate
from medwb.validation import Validation, validation_of

NAN = float("nan")
METHODS = CALIBRATIONS.names()
pytestmark = pytest.mark.filterwarnings("error")


def answers(truth: np.ndarray, score: np.ndarray) -> Validation:
    truth, score = np.asarray(truth, float), np.asarray(score, float)
    return Validation("run", tuple("abc"[: truth.shape[1]]), truth, score, np.arange(len(truth)), "0" * 32)


def overconfident(samples: int = 1500, sharpness: float = 3.0, seed: int = 0) -> Validation:
    """Two labels whose logits are too large by a factor."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.5, (samples, 2))
    truth = (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(float)
    truth[rng.random(truth.shape) < 0.05] = NAN
    return answers(truth, 1 / (1 + np.exp(-sharpness * logit)))


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_too_sure_become_better_on_samples_that_were_not_fitted_on(method):
    found = cross_fit_calibration(overconfident(), method, draws=200)
    for score in SCORE_TITLES:
        gain = found.score("gain", score)
        assert gain.value == pytest.approx(found.score("before", score).value - found.score("after", score).value)
        assert gain.low > 0.005
        for kind in KINDS:
            value = found.score(kind, score)
            assert value.low <= value.value <= value.high


def test_the_temperature_is_the_factor():
    found = cross_fit_calibration(overconfident(20_000), "temperature", draws=2, deals=1)
    assert found.parameters[0] == found.parameters[1]
    assert found.parameters[0]["temperature"] == pytest.approx(3, rel=0.05)


def test_the_temperature_has_the_greatest_likelihood():
    data = overconfident(400)
    known = ~np.isnan(data.y_true[:, 0])
    truth, score = data.y_true[known, 0], np.clip(data.y_score[known, 0], 1e-6, 1 - 1e-6)
    logit = np.log(score / (1 - score))
    loss = lambda inverse: np.logaddexp(0, np.where(truth == 1, -1, 1) * logit * inverse[0]).mean()  # noqa: E731
    best = minimize(loss, [1.0], tol=1e-12).x[0]
    found = cross_fit_calibration(data, "temperature-per-label", draws=2, deals=1)
    assert found.parameters[0]["temperature"] == pytest.approx(1 / best, rel=1e-3)


def test_isotonic_is_that_of_scikit_learn():
    data = overconfident(300)
    found, known = cross_fit_calibration(data, "isotonic", draws=2, deals=1), ~np.isnan(data.y_true[:, 1])
    peer = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    peer.fit(data.y_score[known, 1], data.y_true[known, 1])
    asked = np.linspace(0, 1, 501)
    given = found.apply(np.column_stack([asked, asked]))[:, 1]
    assert given == pytest.approx(peer.predict(asked), abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_scores_keep_their_order_and_range(method):
    found = cross_fit_calibration(overconfident(300), method, draws=2, deals=1)
    given = found.apply(np.column_stack([np.linspace(0, 1, 101)] * 2))
    assert given.shape == (101, 2)
    assert (np.diff(given, axis=0) >= 0).all()
    assert given.min() >= 0
    assert given.max() <= 1


def test_before_is_what_the_table_has():
    data = overconfident(500)
    found = cross_fit_calibration(data, "temperature", draws=2, deals=1)
    for score in SCORE_TITLES:
        expected = evaluate(score, data.y_true, data.y_score)[0]
        got = [found.score("before", score, label).value for label in data.label_names]
        assert got == pytest.approx(expected.tolist(), abs=1e-9)
    known = ~np.isnan(data.y_true[:, 0])
    peer = brier_score_loss(data.y_true[known, 0], data.y_score[known, 0])
    assert found.score("before", "brier", "a").value == pytest.approx(peer)


def test_noise_gains_nothing_though_it_looks_so():
    """Isotonic regression on 60 samples of calibrated scores overfits; cross-fitting says so."""
    gains, looks = [], []
    for seed in range(10):
        data = overconfident(60, 1.0, seed)
        found = cross_fit_calibration(data, "isotonic", draws=2)
        gains.append(found.score("gain", "brier").value)
        fitted = found.apply(data.y_score)
        looks.append(np.nanmean((data.y_score - data.y_true) ** 2) - np.nanmean((fitted - data.y_true) ** 2))
    assert np.mean(looks) > 0.005
    assert np.mean(gains) < 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("truth", "score", "note"),
    [
        ([0.0] * 20, np.linspace(0, 1, 20), "a: no positive on validation"),
        ([1.0] * 20, np.linspace(0, 1, 20), ""),
        ([1.0] + [0.0] * 19, np.linspace(0, 1, 20), "a: too few positives on validation"),
        ([1.0, 0] * 10, [0.3] * 20, "a: every score is the same"),
        ([1.0, 0] * 10, [0.0] * 20, "a: every score is the same"),
        ([NAN] * 20, np.linspace(0, 1, 20), "a: no positive on validation"),
    ],
)
def test_odd_labels_have_a_clear_outcome(method, truth, score, note):
    data = answers(np.column_stack([truth, [1, 0, 0, 1] * 5]), np.column_stack([score, np.linspace(0.1, 0.9, 20)]))
    found = cross_fit_calibration(data, method, deals=2, draws=20)
    if method != "temperature" or "too few" not in note:  # one temperature has the other label's positives
        assert any(one.startswith(note) for one in found.notes)
    given = found.apply(data.y_score)
    assert np.isfinite(given).all()
    json.dumps(found.to_json(), allow_nan=False)


def test_nothing_to_fit_on_leaves_scores_as_they_are():
    data = answers(np.zeros((20, 1)), np.linspace(0, 1, 20)[:, None])
    for method in METHODS:
        found = cross_fit_calibration(data, method, deals=1, draws=5)
        assert found.parameters == ({},)
        assert found.apply(data.y_score).tolist() == data.y_score.tolist()
        assert "a: no positive on validation to fit on, so its scores stay as they are" in found.notes


def test_clipped_scores_are_said():
    data = overconfident(200, 20.0)
    found = cross_fit_calibration(data, "temperature", deals=1, draws=5)
    outside = int(((data.y_score < 1e-6) | (data.y_score > 1 - 1e-6)).sum())
    assert outside
    assert any(note.startswith(f"{outside:,} of 400 scores are nearer to 0 or 1 than 1e-06") for note in found.notes)


def test_apply_refuses_other_labels():
    found = cross_fit_calibration(overconfident(50), "temperature", deals=1, draws=2)
    with pytest.raises(RequestError, match=r"scores are \(4, 3\); "):
        found.apply(np.zeros((4, 3)))
    assert np.isnan(found.apply([[NAN, 0.5]])[0, 0])


def test_reliability_bins_hold_equally_many_and_tie_equal_scores():
    rng = np.random.default_rng(0)
    truth, score = (rng.random(1000) < 0.3).astype(float), rng.random(1000)
    bins = reliability(truth, score)
    assert bins["count"].tolist() == [100] * 10
    inside = (score >= bins["low"][3]) & (score <= bins["high"][3])
    assert bins["positives"][3] == truth[inside].sum()
    assert bins["score"][3] == pytest.approx(score[inside].mean())
    tied = reliability(truth, np.round(score * 3) / 3)
    assert tied["low"].tolist() == tied["high"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert tied["count"].sum() == 1000
    assert len(reliability(truth, np.full(1000, 0.3))) == 1
    assert reliability([NAN, NAN], [0.1, 0.2]).empty
    assert reliability([1, NAN, 0], [0.1, 0.2, 0.3])["count"].tolist() == [1, 1]


def test_reliability_intervals_are_wilsons_over_units():
    """Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 and 0 of 20."""
    truth = np.r_[np.ones(81), np.zeros(182)]
    bins = reliability(truth, np.full(263, 0.5))
    assert (bins["share_low"][0], bins["share_high"][0]) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    none = reliability(np.zeros(20), np.full(20, 0.5))
    assert (none["share_low"][0], none["share_high"][0]) == pytest.approx((0, 0.1611), abs=5e-5)
    twice = reliability(np.repeat(truth, 2), np.full(526, 0.5), np.repeat(np.arange(263), 2))
    assert twice["units"].tolist() == [263]
    assert twice["share_high"][0] == pytest.approx(bins["share_high"][0])


@pytest.fixture
def run(tiny):
    return finish_run(tiny, 0.5)


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_calibration_comes_back(run, tiny, method):
    assert open_calibration(run) is None
    found = cross_fit_calibration(validation_of(run, tiny), method, deals=1, draws=20)
    save_calibration(run, found)
    saved = open_calibration(run)
    assert isinstance(saved, Calibration)
    assert saved.to_json() == found.to_json()
    score = run.predictions("test").y_score.astype(np.float64)
    assert saved.apply(score).tolist() == found.apply(score).tolist() == calibrated(found.parameters, score).tolist()
    assert remove_calibration(run)
    assert open_calibration(run) is None


def test_a_changed_or_stale_calibration_is_refused(run, tiny):
    save_calibration(run, cross_fit_calibration(validation_of(run, tiny), deals=1, draws=20))
    path = run.path / "calibration.json"
    text = path.read_text()
    path.write_text(text.replace('"temperature": ', '"temperature": 1', 1))
    with pytest.raises(RequestError, match=r"calibration.json is damaged or was changed by hand"):
        open_calibration(run)
    path.write_text(text)
    same = {split: run.predictions(split) for split in run.predicted_splits()}
    same["val"].y_score[0, 0] += 0.01
    run.save_predictions(same)
    with pytest.raises(RequestError, match=rf"fitted on other answers .*`medwb calibrate {run.id}"):
        open_calibration(run)


def test_the_command_compares_keeps_and_goes_back(run, medwb):
    status, out, err = medwb("calibrate", run.id)
    assert status == 0, err
    assert all(method in out for method in METHODS)
    assert "in use: scores as they are" in err
    status, out, err = medwb("calibrate", run.id, "--method", "isotonic", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert set(facts["parameters"]) == set(LABELS)
    assert set(facts["macro"]) == set(SCORE_TITLES)
    assert open_calibration(run).method == "isotonic"
    assert "in use: isotonic" in medwb("calibrate", run.id)[2]
    assert medwb("calibrate", run.id, "--method", "temperature")[0] == 0
    assert "its scores as they are" in medwb("calibrate", run.id, "--method", "none")[2]
    assert open_calibration(run) is None
    status, out, err = medwb("calibrate", run.id, "--method", "isotonik")
    assert (status, out) == (2, "")
    assert "unknown calibration method 'isotonik'; did you mean isotonic" in err
