import json

import numpy as np
import pytest
from conftest import LABELS, finish_run
from sklearn.metrics import confusion_matrix, f1_score

import medwb.cli.thresholds  # noqa: F401  # registers the commands
from medwb.errors import RequestError
from medwb.metrics import tune_thresholds
from medwb.operating import POINTS, Counts, candidates, operating_curve
from medwb.threshold_rules import THRESHOLD_RULES, Policy, choose
from medwb.thresholds import (
    KINDS,
    Thresholds,
    cross_fit_thresholds,
    open_thresholds,
    remove_thresholds,
    save_thresholds,
    used_thresholds,
)
from medwb.validation import Validation, validation_of

NAN = float("nan")
RULES = THRESHOLD_RULES.names()
pytestmark = pytest.mark.filterwarnings("error")


def answers(truth: np.ndarray, score: np.ndarray, units: np.ndarray | None = None) -> Validation:
    truth, score = np.asarray(truth, float), np.asarray(score, float)
    names = tuple("abcdefgh"[: truth.shape[1]])
    return Validation("run", names, truth, score, np.arange(len(truth)) if units is None else units, "0" * 32)


def noisy(samples: int = 200, labels: int = 2, seed: int = 0, distinct: int = 30) -> Validation:
    """Scores with many ties, some labels unknown, two samples a unit."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((samples, labels)) < 0.3).astype(float)
    score = np.clip(0.3 + 0.2 * truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    truth[rng.random(truth.shape) < 0.1] = NAN
    return answers(truth, np.round(score * distinct) / distinct, np.arange(samples) // 2)


def candidates_of(truth, score):
    return operating_curve(np.asarray(truth, float), np.asarray(score, float)).candidates


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.31, 1 / 3, 0.5, 1.0, 2.0])
def test_counts_are_those_of_scikit_learn(threshold):
    data = noisy()
    truth, score = data.y_true[:, 0], data.y_score[:, 0]
    counts, known = operating_curve(truth, score).at(threshold), ~np.isnan(truth)
    tn, fp, fn, tp = confusion_matrix(truth[known], score[known] >= threshold, labels=[0, 1]).ravel()
    assert counts == (tp, fp, fn, tn)
    assert counts.f1 == pytest.approx(f1_score(truth[known], score[known] >= threshold, zero_division=0))


def test_every_candidate_calls_what_it_says_and_no_two_call_the_same():
    data = noisy()
    curve = operating_curve(data.y_true[:, 0], data.y_score[:, 0])
    found = curve.candidates
    stated = list(zip(*found.counts, strict=True))
    assert [tuple(curve.at(threshold)) for threshold in found.thresholds] == stated
    assert len(set(stated)) == len(stated) == len(np.unique(data.y_score[~np.isnan(data.y_true[:, 0]), 0])) + 1
    assert stated[0][:2] == (0, 0)
    assert stated[-1][2:] == (0, 0)


def test_neighbouring_numbers_stay_apart():
    low = 0.5
    high = np.nextafter(low, 1)
    found = candidates(np.array([1.0, high, low]), np.array([1, 1, 0]))
    assert [int((np.array([1.0, high, low]) >= threshold).sum()) for threshold in found.thresholds] == [0, 1, 2, 3]


def test_the_drawn_curve_is_short_holds_both_ends_and_lies_on_the_curve():
    rng = np.random.default_rng(0)
    truth = (rng.random(5000) < 0.02).astype(float)
    curve = operating_curve(truth, np.where(truth == 1, rng.beta(2, 3, 5000), rng.beta(1, 30, 5000)))
    points = curve.points()
    assert 300 < len(points) <= POINTS
    assert points["threshold"].is_monotonic_increasing
    assert (points["tp"] + points["fp"]).iloc[[0, -1]].tolist() == [5000, 0]
    for row in points.iloc[::50].itertuples():
        assert tuple(curve.at(row.threshold)) == (row.tp, row.fp, row.fn, row.tn)
    above = (curve.candidates.thresholds > 0.4).sum()  # where precision changes, and few scores lie
    assert 30 < above <= (points["threshold"] > 0.4).sum() / 0.8


def test_a_curve_needs_scores_that_fit():
    with pytest.raises(RequestError, match=r"y_true is \(2,\), y_score is \(3,\)"):
        operating_curve([0, 1], [0, 1, 1])
    with pytest.raises(RequestError, match="NaN"):
        operating_curve([0, 1], [0.5, NAN])
    assert operating_curve([NAN, 1], [NAN, 0.5]).at(0.5) == (1, 0, 0, 0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_does_better_than_the_rules(rule, seed):
    """Against trying every threshold there is."""
    data, entry = noisy(40, 1, seed, distinct=12), THRESHOLD_RULES.get(rule)
    curve = operating_curve(data.y_true[:, 0], data.y_score[:, 0])
    target = entry.target(None) if rule != "precision" else 0.4
    chosen = choose(curve.candidates, Policy(entry, target, None)).threshold
    mine, tried = curve.at(chosen), [curve.at(threshold) for threshold in np.linspace(0, 1.1, 1101)]
    value = entry.aim.measure(mine, target)
    if rule in ("best-f1", "youden"):
        assert value == pytest.approx(max(entry.aim.measure(one, target) for one in tried))
    elif rule == "least-cost":
        assert value == pytest.approx(min(entry.aim.measure(one, target) for one in tried))
    elif rule == "sensitivity":
        assert mine.recall >= target
        assert mine.tp + mine.fp == min(one.tp + one.fp for one in tried if one.recall >= target)
    elif rule == "precision":
        assert mine.precision >= target
        assert mine.tp == max(one.tp for one in tried if one.precision >= target)
    else:
        assert chosen == target


def test_best_f1_is_what_submissions_use():
    data = noisy(labels=4)
    found = cross_fit_thresholds(data, deals=1, draws=10)
    assert found.values.tolist() == tune_thresholds(data.y_true, data.y_score).tolist()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("truth", "score"),
    [
        ([0.0] * 9, np.linspace(0, 1, 9)),
        ([1.0] * 9, np.linspace(0, 1, 9)),
        ([1.0] + [0.0] * 8, np.linspace(0, 1, 9)),
        ([1.0, 0, 0] * 3, [0.4] * 9),
        ([1.0, 0, 0] * 3, [1.0] * 9),
        ([1.0, 0, 0] * 3, [0.0] * 9),
        ([NAN] * 9, np.linspace(0, 1, 9)),
        ([1.0, 1, 0] + [NAN] * 6, np.linspace(0, 1, 9)),
    ],
)
def test_odd_labels_have_a_clear_outcome(rule, truth, score):
    found = cross_fit_thresholds(answers(np.c_[truth, [1, 0, 1] * 3], np.c_[score, score]), rule, deals=2, draws=20)
    json.dumps(found.to_json(), allow_nan=False)
    known = np.unique(np.asarray(truth)[~np.isnan(truth)]).astype(int).tolist()
    lacking = [name for name, value in (("positive", 1), ("negative", 0)) if value not in known]
    for missing in lacking:
        if missing in THRESHOLD_RULES.get(rule).needs:
            assert found.values[0] == 0.5
            assert found.rules[0] == ""
            assert found.notes[0].startswith("a: no ")
            break
    assert found.sentence.startswith("macro F1")


def test_precision_that_is_not_reached_is_said_and_never_replaced_silently(tiny):
    run = finish_run(tiny, 3.0)
    data = validation_of(run, tiny)
    found = cross_fit_thresholds(data, "precision", 0.99, deals=2, draws=50)
    assert found.missing
    note = next(note for note in found.notes if note.startswith(found.missing[0]))
    assert "precision 0.99 is not reached; the best is 0." in note
    with pytest.raises(RequestError, match=r"rule 'precision' gives no threshold for .*--otherwise best-f1"):
        save_thresholds(run, found)
    assert open_thresholds(run) is None
    filled = cross_fit_thresholds(data, "precision", 0.99, "best-f1", deals=2, draws=50)
    assert not filled.missing
    place = LABELS.index(found.missing[0])
    assert filled.values[place] == tune_thresholds(data.y_true, data.y_score)[place]
    assert filled.rules[place] == "best-f1"
    assert any("its threshold is by best-f1" in note for note in filled.notes)


def test_pure_noise_is_seen_through():
    """Youden's J of scores that know nothing is 0; tuned on few samples it looks like something."""
    tuned, cross = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        data = answers(rng.random((60, 1)) < 0.5, rng.random((60, 1)))
        found = cross_fit_thresholds(data, "youden", deals=5, draws=10)
        tuned.append(found.score("tuned", "youden").value)
        cross.append(found.score("cross_fitted", "youden").value)
    assert np.mean(tuned) > 0.12
    assert abs(np.mean(cross)) < 0.06


def test_optimism_is_the_difference_and_lies_in_its_interval():
    found = cross_fit_thresholds(noisy(labels=3), draws=200)
    for label in (*found.label_names, ""):
        tuned, cross, optimism = (found.score(kind, label=label) for kind in KINDS)
        assert optimism.value == pytest.approx(tuned.value - cross.value)
        for score in (tuned, cross, optimism):
            assert score.low <= score.value <= score.high
    mean = np.mean([found.score("tuned", label=label).value for label in found.label_names])
    assert found.score("tuned").value == pytest.approx(mean)


def test_a_fixed_threshold_has_no_optimism():
    found = cross_fit_thresholds(noisy(), "fixed", 0.4, draws=50)
    assert found.score("optimism") == (0, 0, 0)


def test_copies_never_help_to_tune_what_they_are_scored_on():
    """Each sample twice, as one unit: cross-fitted as if each stood once, though scores are noise."""
    rng = np.random.default_rng(0)
    truth, score = (rng.random((50, 1)) < 0.5).astype(float), rng.random((50, 1))
    once = cross_fit_thresholds(answers(truth, score), "youden", draws=20)
    twice = answers(np.repeat(truth, 2, 0), np.repeat(score, 2, 0), np.repeat(np.arange(50), 2))
    assert cross_fit_thresholds(twice, "youden", draws=20).score("cross_fitted", "youden").value == pytest.approx(
        once.score("cross_fitted", "youden").value
    )
    loose = answers(twice.y_true, twice.y_score)
    loosely = cross_fit_thresholds(loose, "youden", draws=20).score("cross_fitted", "youden").value
    assert loosely > once.score("cross_fitted", "youden").value + 0.05


def test_positives_of_one_unit_cannot_be_cross_fitted():
    truth = np.zeros((20, 2))
    truth[:2, 0] = truth[::3, 1] = 1
    units = np.array([0, 0, *range(1, 19)])
    found = cross_fit_thresholds(answers(truth, np.random.default_rng(0).random((20, 2)), units), draws=50)
    assert np.isnan(found.score("cross_fitted", label="a").value)
    assert not np.isnan(found.score("tuned", label="a").value)
    assert any("all of one patient or set of copies, so it cannot be cross-fitted" in note for note in found.notes)
    assert found.score("tuned").value == found.score("tuned", label="b").value


@pytest.fixture
def run(tiny):
    return finish_run(tiny, 0.5)


def test_saved_thresholds_come_back(run, tiny):
    assert used_thresholds(run)[1] == "best F1 on validation"
    found = cross_fit_thresholds(validation_of(run, tiny), "sensitivity", 0.8, deals=2, draws=50)
    save_thresholds(run, found)
    saved = open_thresholds(run)
    assert isinstance(saved, Thresholds)
    assert saved.to_json() == found.to_json()
    assert saved.values.tolist() == found.values.tolist()
    values, said = used_thresholds(run)
    assert (values.tolist(), said) == (found.values.tolist(), "Fixed sensitivity 0.8 on validation, as saved")
    assert remove_thresholds(run)
    assert not remove_thresholds(run)
    assert open_thresholds(run) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"rule": "best-f1"', '"rule": "youden"', 1),
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: "{}",
    ],
)
def test_a_file_that_was_changed_is_refused(run, tiny, change):
    save_thresholds(run, cross_fit_thresholds(validation_of(run, tiny), deals=1, draws=20))
    path = run.path / "thresholds.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(RequestError, match=rf"run {run.id}: thresholds.json is damaged .*`medwb thresholds {run.id}"):
        open_thresholds(run)


def test_thresholds_of_other_answers_are_refused(run, tiny):
    save_thresholds(run, cross_fit_thresholds(validation_of(run, tiny), deals=1, draws=20))
    same = {split: run.predictions(split) for split in run.predicted_splits()}
    run.save_predictions(same)
    assert open_thresholds(run) is not None
    same["val"].y_score[0, 0] += 0.01
    run.save_predictions(same)
    with pytest.raises(RequestError, match=r"fitted on other answers than its predictions.npz holds now"):
        open_thresholds(run)


def test_the_command_shows_all_rules_and_keeps_one(run, medwb):
    status, out, err = medwb("thresholds", run.id)
    assert status == 0, err
    assert all(rule in out for rule in RULES)
    assert "in use: best F1 on validation" in err
    status, out, err = medwb("thresholds", run.id, "--rule", "youden", "--save", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["saved"]
    assert set(facts["thresholds"]) == set(LABELS)
    assert set(facts["macro"]) == {"f1", "youden"}
    assert set(facts["macro"]["f1"]["optimism"]) == {"value", "low", "high"}
    assert "in use: Youden's J on validation, as saved" in medwb("thresholds", run.id, "--rule", "best-f1")[2]
    assert len(json.loads(medwb("thresholds", run.id, "--json")[1])["rules"]) == len(RULES)
    assert json.loads(medwb("thresholds", run.id, "--remove", "--json")[1]) == {"run": run.id, "removed": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "best-f2"], "unknown threshold rule 'best-f2'; did you mean best-f1"),
        (["--rule", "sensitivity", "--target", "1.2"], "sensitivity=1.2 is out of range; it goes from 0.01 to 1"),
        (["--rule", "youden", "--target", "1"], "threshold rule 'youden' has no target; leave 1 out"),
        (["--rule", "precision", "--otherwise", "f"], "unknown threshold rule 'f'"),
        (["--save"], "belong to a rule; name one with --rule"),
        (["--rule", "youden", "--remove"], "--remove stands alone"),
    ],
)
def test_wrong_requests_are_one_line(run, medwb, arguments, message):
    status, out, err = medwb("thresholds", run.id, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_counts_of_arrays_leave_what_is_undefined():
    counts = Counts(*(np.array(part) for part in ([0, 1], [0, 1], [0, 1], [0, 1])))
    for score in (counts.precision, counts.recall, counts.specificity, counts.f1):
        assert np.isnan(score[0])
        assert score[1] == 0.5
