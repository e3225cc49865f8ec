"""Outcomes: counts, intervals, galleries, label sets, hard scans, causes, against brute force."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import LABELS, finish_run

import medwb.cli.errors  # noqa: F401  # registers the command
from medwb.audit import Audit
from medwb.decisions import decide
from medwb.errors import RequestError
from medwb.looks import list_looks
from medwb.outcomes import (
    KINDS,
    ORDERS,
    OTHERS,
    UNKNOWN,
    Outcomes,
    confusion,
    disagreements,
    errors_by_group,
    errors_by_property,
    flip_counts,
    gallery,
    hardest_scans,
    keep_threshold,
    missed_while_answering,
    outcome_table,
    outcomes_of,
    scan_properties,
    scan_table,
    set_matrix,
    share_interval,
    suspects,
)
from medwb.outcomes.causes import ERRORS
from medwb.plots.outcomes import (
    OUTCOME_COLOURS,
    at_threshold,
    disagreement_scatter,
    error_bins,
    missed_figure,
    operating_curves,
    scan_scores,
    set_matrix_figure,
)
from medwb.runs import Predictions
from medwb.thresholds import open_thresholds


def made(samples: int = 300, seed: int = 0, per_unit: int = 3) -> Outcomes:
    """Random answers to three labels, a tenth of them unknown, some scores equal."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((samples, 3)) < (0.5, 0.3, 0.1)).astype(np.float32)
    score = np.clip(rng.normal(0.35, 0.2, truth.shape) + 0.3 * truth, 0, 1).round(2).astype(np.float32)
    truth[rng.random(truth.shape) < 0.1] = np.nan
    units = np.arange(samples) // per_unit
    groups = np.array([f"p{unit}" for unit in units], object)
    ids = np.array([f"{number:04d}" for number in range(samples)], object)
    positions = np.arange(samples) + 7
    return Outcomes(
        "run", "val", LABELS, ids, positions, groups, truth, score, units, np.array([0.5, 0.4, 0.6]), "own"
    )


def outcome(truth: float, called: bool) -> str:
    if np.isnan(truth):
        return UNKNOWN
    return ("true" if (truth == 1) == called else "false") + ("_positive" if called else "_negative")


@pytest.mark.parametrize("threshold", [0.0, 0.31, 0.5, 1.0])
@pytest.mark.parametrize("label", LABELS)
def test_counts_are_those_of_counting(label: str, threshold: float) -> None:
    found = made()
    place = LABELS.index(label)
    expected = [
        outcome(t, float(s) >= threshold)
        for t, s in zip(found.y_true[:, place], found.y_score[:, place], strict=True)
    ]
    counted = confusion(found, label, threshold)
    for kind, count in zip(("true_positive", "false_positive", "false_negative", "true_negative"), counted.counts):  # noqa: B905
        assert count == expected.count(kind) == counted.ranges[kind].value
        assert counted.ranges[kind].low <= count <= counted.ranges[kind].high
    assert counted.unknown == expected.count(UNKNOWN)
    assert outcome_table(found, label, threshold)["outcome"].tolist() == expected
    for name in ("recall", "specificity", "precision", "f1"):
        assert counted.scores[name].value == pytest.approx(getattr(counted.counts, name), nan_ok=True)
    for row in (0, 17):
        table = scan_table(found, row, {label: threshold})
        assert table["outcome"][place] == expected[row]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gallery_holds_that_outcome_in_that_order(kind: str, order: str) -> None:
    found = made()
    table = outcome_table(found, "mass", 0.42)
    expected = set(np.flatnonzero(table["outcome"] == kind).tolist())
    rows, count = gallery(found, "mass", 0.42, kind, order, 1000)
    assert set(rows.tolist()) == expected
    assert count == len(expected)
    some, _ = gallery(found, "mass", 0.42, kind, order, 5)
    assert some.tolist() == rows[:5].tolist()
    distance = np.abs(found.y_score[rows, 1].astype(float) - 0.42)
    if order != "random":
        steps = np.diff(distance)
        assert (steps >= 0).all() if order == "nearest" else (steps <= 0).all()


def test_a_random_gallery_does_not_reshuffle_while_the_threshold_moves() -> None:
    found = made()
    low, high = (gallery(found, "mass", at, "false_positive", "random", 1000)[0].tolist() for at in (0.3, 0.4))
    assert set(high) < set(low)
    assert [row for row in low if row in set(high)] == high


def test_an_interval_covers_and_knows_units() -> None:
    rng = np.random.default_rng(1)
    truth, covered, naive = 0.3, 0, 0
    for _ in range(400):
        rates = rng.beta(truth * 2, (1 - truth) * 2, 60)
        part = rng.random((60, 5)) < rates[:, None]
        every = np.ones(300, bool)
        score = share_interval(part.ravel(), every, np.repeat(np.arange(60), 5))
        covered += score.low <= truth <= score.high
        score = share_interval(part.ravel(), every, np.arange(300))
        naive += score.low <= truth <= score.high
    assert 0.92 <= covered / 400 <= 0.98
    assert naive / 400 < 0.88


def test_an_interval_of_independent_samples_is_wilsons() -> None:
    # Wilson for 8 of 10: Newcombe (1998) gives 0.4902 to 0.9433.
    part = np.arange(10) < 8
    score = share_interval(part, np.ones(10, bool), np.arange(10))
    assert score == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    none = share_interval(part, np.zeros(10, bool), np.arange(10))
    assert np.isnan(none).all()
    alike = share_interval(np.ones(10, bool), np.ones(10, bool), np.arange(10) // 5)
    assert alike.low == pytest.approx(share_interval(np.ones(2, bool), np.ones(2, bool), np.arange(2)).low)


def test_label_sets_against_counting() -> None:
    found = made()

    def name(row: list[float]) -> str:
        yes = " + ".join(label for label, value in zip(LABELS, row, strict=True) if value == 1) or "no finding"
        doubt = [f"{label}?" for label, value in zip(LABELS, row, strict=True) if np.isnan(value)]
        return "nothing known" if len(doubt) == len(LABELS) else ", ".join([yes, *doubt])

    true_sets = [name(row) for row in found.y_true.tolist()]
    answers = [name(row) for row in found.called().astype(float).tolist()]
    whole = set_matrix(found, top=100)
    assert whole.counts.sum() == len(found)
    expected = pd.crosstab(pd.Series(true_sets), pd.Series(answers))
    for row in whole.rows:
        for column in whole.columns:
            members = whole.members(row, column)
            assert (
                len(members)
                == expected.loc[row, column]
                == whole.counts[whole.rows.index(row), whole.columns.index(column)]
            )
            assert {(true_sets[one], answers[one]) for one in members.tolist()} <= {(row, column)}
    few = set_matrix(found, top=3)
    assert len(few.rows) == len(few.columns) == 4
    assert few.rows[-1] == few.columns[-1] == OTHERS
    assert few.counts.sum() == len(found) == few.table()["samples"].sum()
    assert not len(few.members("no such set", OTHERS))


@pytest.mark.parametrize("wrongly", [True, False])
def test_missed_labels_against_counting(wrongly: bool) -> None:
    found, table = made(), missed_while_answering(made(), wrongly=wrongly)
    called = found.called()
    for a, first in enumerate(LABELS):
        for b, second in enumerate(LABELS):
            if a == b:
                assert table.loc[first, second] is pd.NA
                continue
            missed = (found.y_true[:, a] == 1) & ~called[:, a]
            answered = called[:, b] & (found.y_true[:, b] == 0) if wrongly else called[:, b]
            assert table.loc[first, second] == (missed & answered).sum()


def test_the_hardest_scan_is_the_one_that_was_answered_worst() -> None:
    found = made()
    found.y_true[11], found.y_score[11] = (1, np.nan, 0), (0.0, 0.5, 1.0)
    found.y_true[12] = np.nan
    table = hardest_scans([found, found])
    assert table["id"][0] == "0011"
    assert table["known"][0] == 2
    assert table["wrong"][0] == 2
    assert "0012" not in set(table["id"])
    row = table["row"][5]
    truth, score = found.y_true[row], np.clip(found.y_score[row].astype(float), 1e-7, 1 - 1e-7)
    loss = [-np.log(s if t == 1 else 1 - s) for t, s in zip(truth, score, strict=True) if not np.isnan(t)]
    assert table["loss"][5] == pytest.approx(np.mean(loss))


def test_disagreements_name_who_is_right() -> None:
    a = made()
    b = Outcomes(**{**vars(made(seed=5)), "y_true": a.y_true, "run_id": "other"})
    table = disagreements(a, b)
    assert len(table) == (a.called() != b.called()).sum()
    known = table[table["right"] != "unknown"]
    assert ((known["right"] == "a") == (known["a_called"] == (known["truth"] == 1))).all()
    assert np.isnan(table.loc[table["right"] == "unknown", "truth"]).all()
    assert (np.diff((table["a_score"] - table["b_score"]).abs()) <= 1e-6).all()
    counts = flip_counts(table, LABELS)
    assert counts[["a_right", "b_right", "unknown"]].sum(axis=1).tolist() == counts["flips"].tolist()
    with pytest.raises(RequestError, match="other splits or labels"):
        disagreements(a, Outcomes(**{**vars(b), "split": "test"}))
    assert disagreements(a, a).empty


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("label", [None, "mass"])
def test_errors_add_up_over_bins_and_groups(label: str | None, kind: str) -> None:
    found = made()
    places = [0, 1, 2] if label is None else [1]
    truth = found.y_true[:, places]
    base = {"all": ~np.isnan(truth), "missed": truth == 1, "false": truth == 0}[kind]
    wrong = int((found.wrong()[:, places] & base).sum())
    values = np.arange(len(found)) % 50.0
    for table in (errors_by_property(found, values, label, kind), errors_by_group(found, label, kind)):
        assert table["calls"].sum() == base.sum()
        assert table["wrong"].sum() == wrong
        assert ((table["rate_low"] <= table["rate"]) & (table["rate"] <= table["rate_high"])).all()
    assert len(errors_by_property(found, np.where(values > 40, 1.0, 0.0), label, kind)) <= 2
    assert errors_by_property(found, np.full(len(found), np.nan), label, kind).empty


def test_a_dark_scan_that_is_always_wrong_stands_out() -> None:
    found = made(600)
    dark = np.arange(600) % 3 == 0
    found.y_score[dark] = np.where(found.y_true[dark] == 1, 0, 1)
    table = errors_by_property(found, np.where(dark, 10.0, 100.0))
    assert table["rate"][0] == 1
    assert table["rate_low"][0] > table["rate_high"][1]


def test_answers_of_a_run(tiny) -> None:
    run = finish_run(tiny, 0.5)
    found = outcomes_of(run, tiny)
    part = tiny.split("val")
    assert found.ids.tolist() == part.samples["id"].tolist()
    assert (found.y_true == part.labels).all()
    assert np.bincount(found.units).max() >= 3
    assert found.rule == "best F1 on validation"
    assert scan_properties(tiny, found).columns.tolist()[:2] == ["mean", "contrast"]
    answer = run.predictions("val")
    run.save_predictions({"val": Predictions(answer.ids[::-1], answer.y_true[::-1], answer.y_score[::-1])})
    again = outcomes_of(run, tiny)
    assert (again.y_score == found.y_score).all()
    with pytest.raises(RequestError, match="no predictions for the split 'test'"):
        outcomes_of(run, tiny, "test")
    run.save_predictions({"val": Predictions(np.array(["x.png"]), answer.y_true[:1], answer.y_score[:1])})
    with pytest.raises(RequestError, match="answered other samples"):
        outcomes_of(run, tiny)
    with pytest.raises(RequestError, match="did you mean mass"):
        found.place("mas")
    for wrong in ({"kind": "positive"}, {"order": "worst"}):
        with pytest.raises(RequestError, match="unknown"):
            gallery(found, "mass", 0.5, **{"kind": "true_positive", **wrong})


def test_a_threshold_is_kept_by_hand(tiny) -> None:
    run = finish_run(tiny, 0.5)
    before = outcomes_of(run, tiny).thresholds
    keep_threshold(run, "mass", 0.25)
    found = outcomes_of(run, tiny)
    assert found.threshold("mass") == 0.25
    assert found.thresholds[[0, 2]].tolist() == before[[0, 2]].tolist()
    kept = open_thresholds(run)
    assert np.isnan(kept.score("cross_fitted").value)
    assert np.isnan(kept.score("tuned", label="mass").value)
    assert not np.isnan(kept.score("tuned", label="edema").value)
    keep_threshold(run, "mass", 0.75)
    assert [note for note in open_thresholds(run).notes if note.startswith("mass")] == [
        "mass: set to 0.75 by hand, so it cannot be cross-fitted, nor can means over labels"
    ]
    decision = decide(run)
    assert decision.rule.endswith("as saved, 1 by hand")
    answer = run.predictions("val")
    assert decision.tune(answer.y_true[:20], answer.y_score[:20])[1] == 0.75  # tuned anew but for that
    for label, value in (("mas", 0.5), ("mass", 1.5), ("mass", float("nan"))):
        with pytest.raises(RequestError):
            keep_threshold(run, label, value)


def test_suspects_are_joined_with_the_runs_answer(tiny) -> None:
    found = outcomes_of(finish_run(tiny, 0.3), tiny)
    row = 4
    given = found.y_true[row, 1]
    issue = {"check": "label_error", "id": found.ids[row], "label": "mass", "score": 0.9, "set": "", "evidence": "e"}
    elsewhere = {**issue, "id": tiny.split("train").samples["id"].iloc[0]}
    frames = pd.DataFrame({"id": tiny.samples["id"], "sharpness": np.arange(len(tiny)), "mean": 1.0})
    audit = Audit(tiny, pd.DataFrame([issue, elsewhere]), pd.DataFrame(), pd.DataFrame(), frames, {})
    table = suspects(found, audit)
    assert table["id"].tolist() == [found.ids[row]]
    assert table["probability"][0] == pytest.approx(0.1 if given == 1 else 0.9)
    assert table["agrees"][0] == found.wrong()[row, 1]
    properties = scan_properties(tiny, found, audit.frames)
    assert properties.columns.tolist() == ["sharpness", "labels"]  # what is the same everywhere explains nothing
    assert properties["sharpness"].tolist() == found.positions.tolist()


def test_figures_hold_what_they_are_given() -> None:
    found = made()
    curve = found.ranked[1].curve
    base = operating_curves(curve)
    marked = at_threshold(base, curve, 0.4)
    counts = confusion(found, "mass", 0.4).scores
    assert marked.data[-2].y[0] == pytest.approx(counts["recall"].value)
    assert marked.data[-1].y[0] == pytest.approx(counts["precision"].value)
    assert base.data[-1].y[0] is None
    matrix = set_matrix_figure(set_matrix(found))
    assert (
        sum(np.isfinite(np.array(trace.z, float)).sum() for trace in matrix.data)
        == (set_matrix(found).counts > 0).sum()
    )
    assert len(missed_figure(missed_while_answering(found)).data) == 1
    bars = scan_scores(scan_table(found, 3)).data[0]
    assert list(bars.marker.color)[::-1] == [OUTCOME_COLOURS[name] for name in scan_table(found, 3)["outcome"]]
    bins = errors_by_property(found, np.arange(300.0))
    assert len(error_bins(bins, "Mean", whole=0.2).data[0].y) == len(bins)


def test_figures_without_data_say_so_and_names_are_escaped() -> None:
    found = made()
    one = Outcomes(**{**vars(found), "y_true": np.zeros_like(found.y_true)})
    empty = operating_curves(one.ranked[0].curve)
    assert "no curve" in at_threshold(empty, one.ranked[0].curve, 0.5).to_json()
    assert "same labels on every scan" in disagreement_scatter(disagreements(found, found), ("a", "b")).to_json()
    assert "no other" in missed_figure(missed_while_answering(found).iloc[:1, :1]).to_json()
    assert "truth" in error_bins(errors_by_property(found, np.full(300, np.nan)), "x", whole=np.nan).to_json()
    named = Outcomes(**{**vars(found), "label_names": ("<b>x</b>", "y", "z")})
    for figure in (set_matrix_figure(set_matrix(named)), scan_scores(scan_table(named, 0))):
        assert "<b>x" not in figure.to_json()
        assert "\\u003cb\\u003ex" not in figure.to_json()


def test_the_command(medwb, tiny) -> None:
    run = finish_run(tiny, 0.5)
    status, out, err = medwb("errors", run.id)
    assert status == 0
    assert "Hardest scans" in out
    assert "thresholds: best F1 on validation" in err
    status, out, _ = medwb("errors", run.id, "--label", "mass", "--threshold", "0.4", "--json")
    facts = json.loads(out)
    expected = confusion(outcomes_of(run, tiny), "mass", 0.4)
    assert facts["labels"] == [json.loads(json.dumps(expected.to_json()))]
    assert [facts["labels"][0]["counts"]["false_positive"]["value"]] == [expected.counts.fp]
    assert len(facts["false_negative"]) <= 10
    assert not list_looks(run)
    status, out, _ = medwb("errors", run.id, "--split", "test", "--csv")
    assert out.splitlines()[0] == "id,split,group,label,truth,score,threshold,outcome"
    assert len(out.splitlines()) == 1 + 3 * len(tiny.split("test"))
    assert [look["what"] for look in list_looks(run)] == ["errors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "mas"], "did you mean mass"),
        (["--split", "tset"], "no predictions for the split 'tset'"),
        (["--csv", "--json"], "exclude one another"),
    ],
)
def test_a_wrong_request_is_one_line(medwb, tiny, arguments, message) -> None:
    status, out, err = medwb("errors", finish_run(tiny).id, *arguments)
    assert status == 2
    assert not out
    assert message in err
    assert len(err.strip().splitlines()) == 1
