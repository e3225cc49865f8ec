import json

import numpy as np
import pandas as pd
import pytest
from conftest import LABELS, finish_run, write_csv, write_dataset
from sklearn.metrics import f1_score

from medwb.decisions import Decision, decide, parse_thresholds
from medwb.errors import RequestError
from medwb.metrics import tune_thresholds
from medwb.paths import datasets_dir
from medwb.runs import Predictions
from medwb.submission import (
    CHECKS,
    changes,
    draft_submission,
    expected_score,
    list_submissions,
    submissions_dir,
    write_submission,
)
from medwb.threshold_rules import THRESHOLD_RULES
from medwb.thresholds import cross_fit_thresholds, open_thresholds, save_thresholds
from medwb.validation import validation_of


@pytest.fixture
def run(tiny):
    return finish_run(tiny, 0.2)


@pytest.fixture
def sample(tiny, tmp_path):
    """The test split's ids in an order of their own, the columns too."""
    ids = tiny.split("test").samples["id"].tolist()[::-1]
    write_csv(tmp_path / "sample.csv", [["id", *LABELS[::-1]], *([image_id, 0, 0, 0] for image_id in ids)])
    return tmp_path / "sample.csv"


def test_same_ids_order_and_columns(run, sample, tmp_path):
    written = write_submission(run, sample, tmp_path / "out.csv")
    asked, given = (pd.read_csv(path, dtype={"id": str}) for path in (sample, tmp_path / "out.csv"))
    assert list(given.columns) == list(asked.columns)
    assert given["id"].tolist() == asked["id"].tolist()
    assert set(given[LABELS[0]]) <= {0, 1}
    assert written.notes == []


def test_thresholds_come_from_validation(run, sample, tmp_path):
    written = write_submission(run, sample, tmp_path / "out.csv")
    validation = run.predictions("val")
    tuned = tune_thresholds(validation.y_true, validation.y_score)
    assert list(written.thresholds.values()) == tuned.tolist()
    answers = run.predictions("test")
    expected = pd.DataFrame(answers.y_score >= tuned, index=answers.ids, columns=list(LABELS))
    for label in LABELS:
        assert written.table[label].tolist() == expected.loc[written.table["id"], label].astype(int).tolist()


def change(sample, function):
    table = pd.read_csv(sample, dtype=str)
    function(table).to_csv(sample, index=False)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: table.drop(columns="mass"), "unknown column in sample.csv 'mass'"),
        (lambda table: table.assign(nodule=0), "columns that run .* does not predict: nodule"),
        (lambda table: pd.concat([table, table.head(1)]), "lists '0239.png' more than once"),
        (lambda table: table.assign(id="x" + table["id"]), "has no answer for 48 of 48 ids, such as 'x0239.png'"),
    ],
)
def test_mismatches_are_named_and_nothing_is_written(run, sample, tmp_path, function, message):
    change(sample, function)
    with pytest.raises(RequestError, match=message):
        write_submission(run, sample, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_scans_that_the_sample_leaves_out_are_said(run, sample, tmp_path):
    change(sample, lambda table: table.head(40))
    assert (
        "8 scans of the test split are not in the sample"
        in write_submission(run, sample, tmp_path / "o.csv").notes[0]
    )


def test_missing_files_are_named(run, sample, tmp_path):
    with pytest.raises(RequestError, match="no such sample submission"):
        write_submission(run, tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(RequestError, match="no such folder to write to"):
        write_submission(run, sample, tmp_path / "none" / "out.csv")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: table.assign(id=["", *table["id"][1:]]), r"sample.csv:2: the id is empty; 1 of 48 are"),
        (lambda table: table.assign(id=["nan", *table["id"][1:]]), "no answer for 1 of 48 ids, such as 'nan'"),
        (lambda table: table.head(0), "lists no ids"),
        (lambda table: table[[*LABELS, "id"]], "first column is the label 'edema'"),
    ],
)
def test_other_samples_that_do_not_fit(run, sample, tmp_path, function, message):
    change(sample, function)
    with pytest.raises(RequestError, match=message):
        write_submission(run, sample, tmp_path / "out.csv")
    assert not submissions_dir("tiny").exists()


def test_each_check_is_a_line_and_the_first_that_fails_ends_them(run, sample):
    draft = draft_submission(run, sample)
    assert [check.name for check in draft.checks] == list(CHECKS)
    assert all(check.passed for check in draft.checks)
    assert draft.problem is None
    change(sample, lambda table: pd.concat([table, table.head(1)]))
    draft = draft_submission(run, sample)
    assert [check.passed for check in draft.checks] == [True] * 4 + [False] + [None] * 3
    assert "more than once" in str(draft.problem)
    assert draft.content == ""


def test_a_run_on_other_data_is_refused(run, sample, tmp_path):
    record = datasets_dir() / "tiny" / "dataset.json"
    record.write_text(record.read_text().replace(run.fingerprint, "f" * 16))
    with pytest.raises(RequestError, match=rf"run {run.id} is stale: dataset 'tiny' has changed"):
        write_submission(run, sample, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x00" * 64])
def test_damaged_predictions_are_one_line(run, sample, tmp_path, content):
    (run.path / "predictions.npz").write_bytes(content)
    with pytest.raises(RequestError, match=r"predictions\.npz is damaged"):
        write_submission(run, sample, tmp_path / "out.csv")
    (run.path / "predictions.npz").unlink()
    with pytest.raises(RequestError, match="has no predictions yet"):
        write_submission(run, sample, tmp_path / "out.csv")


def test_places_that_cannot_be_written_to(run, sample, tmp_path):
    with pytest.raises(RequestError, match="is a folder"):
        write_submission(run, sample, tmp_path)
    with pytest.raises(RequestError, match="is the sample itself"):
        write_submission(run, sample, sample)
    with pytest.raises(RequestError, match="cannot be written"):
        write_submission(run, sample, tmp_path / ("x" * 300))
    assert list_submissions("tiny") == ([], [])


def test_the_separator_is_the_samples(run, sample, tmp_path):
    sample.write_text(sample.read_text().replace(",", ";"))
    write_submission(run, sample, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("id;effusion;mass;edema\n")


def test_ids_with_signs_of_csv_come_back_as_they_were(tiny, tmp_path):
    run = finish_run(tiny, 0.2)
    answer = run.predictions("test")
    ids = answer.ids.astype("<U40")
    ids[:4] = ['a,b"c', "007", "=1+1", "ä ü"]
    run.save_predictions({"val": run.predictions("val"), "test": Predictions(ids, answer.y_true, answer.y_score)})
    write_csv(tmp_path / "s.csv", [["id", *LABELS], *([image_id, "", "", ""] for image_id in ids)])
    written = write_submission(run, tmp_path / "s.csv", tmp_path / "o.csv")
    assert pd.read_csv(tmp_path / "o.csv", dtype=str)["id"].tolist() == ids.tolist()
    assert written.table["id"].tolist() == ids.tolist()


def test_a_sample_with_other_values_and_seen_scans_is_noted(run, tiny, tmp_path):
    ids = [*tiny.split("test").samples["id"][:5], *tiny.split("train").samples["id"][:2]]
    write_csv(tmp_path / "s.csv", [["id", *LABELS], *([image_id, 0.5, 0, 0] for image_id in ids)])
    notes = " ".join(write_submission(run, tmp_path / "s.csv", tmp_path / "o.csv").notes)
    assert "cells such as '0.5'" in notes
    assert "2 ids of the sample are in train or val" in notes


class TestThresholds:
    def test_the_runs_own_are_the_saved_ones(self, run, tiny, sample, tmp_path):
        saved = cross_fit_thresholds(validation_of(run, tiny), "sensitivity", 0.95, deals=1, draws=10)
        save_thresholds(run, saved)
        written = write_submission(run, sample, tmp_path / "o.csv")
        assert list(written.thresholds.values()) == open_thresholds(run).values.tolist()
        assert written.rule == "Fixed sensitivity 0.95 on validation, as saved"

    @pytest.mark.parametrize("rule", THRESHOLD_RULES.names())
    def test_tuning_again_on_the_same_samples_gives_the_saved_ones(self, run, tiny, rule):
        save_thresholds(run, cross_fit_thresholds(validation_of(run, tiny), rule, deals=1, draws=10))
        decision, answer = decide(run), run.predictions("val")
        if decision.tune is None:
            assert rule == "fixed"
        else:
            assert decision.tune(answer.y_true, answer.y_score).tolist() == decision.values.tolist()

    def test_some_or_all_are_chosen(self, run):
        own = decide(run)
        some = decide(run, {"mass": 0.7})
        assert some.thresholds == {**own.thresholds, "mass": 0.7}
        assert some.rule == "best F1 on validation, 1 chosen by hand"
        answer = run.predictions("val")
        assert some.tune(answer.y_true, answer.y_score).tolist() == some.values.tolist()
        assert decide(run, 0.5).values.tolist() == [0.5] * 3
        assert decide(run, 0.5).tune is None

    @pytest.mark.parametrize("chosen", [1.5, -0.1, float("nan"), {"mass": 2.0}])
    def test_outside_of_scores(self, run, chosen):
        with pytest.raises(RequestError, match=r"is outside 0\.\.1"):
            decide(run, chosen)

    def test_from_a_command_line(self):
        assert parse_thresholds([], LABELS) is None
        assert parse_thresholds(["0.5", "mass=0.25"], LABELS) == {"edema": 0.5, "mass": 0.25, "effusion": 0.5}
        assert parse_thresholds(["a=b=0.1"], ["a=b"]) == {"a=b": 0.1}
        with pytest.raises(RequestError, match="did you mean mass"):
            parse_thresholds(["mas=0.2"], LABELS)
        with pytest.raises(RequestError, match="'mass=high' is no threshold"):
            parse_thresholds(["mass=high"], LABELS)


class TestExpected:
    @pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
    def test_fixed_thresholds_score_as_scikit_learn_says(self, run, tiny, average):
        answer = run.predictions("val")
        found = expected_score(run, tiny, decide(run, 0.5), draws=50)
        truth, called = answer.y_true == 1, answer.y_score >= 0.5
        assert found.scores[f"{average}_f1"].value == pytest.approx(
            f1_score(truth, called, average=average), abs=1e-12
        )
        assert found.scores["exact_match"].value == pytest.approx((truth == called).all(axis=1).mean())
        assert found.same == {}
        assert (found.samples, found.units) == (48, 16)

    def test_unknown_labels_do_not_count(self, run, tiny):
        answer = run.predictions("val")
        truth = answer.y_true.copy()
        truth[:10, 0] = np.nan
        run.save_predictions({"val": Predictions(answer.ids, truth, answer.y_score)})
        found = expected_score(run, tiny, decide(run, 0.5), draws=10)
        known, called = truth[10:, 0] == 1, answer.y_score[10:, 0] >= 0.5
        assert found.scores["f1:edema"].value == pytest.approx(f1_score(known, called))
        match = ((truth == 1) == (answer.y_score >= 0.5))[10:].all(axis=1)
        assert found.scores["exact_match"].value == pytest.approx(match.mean())

    def test_tuned_thresholds_are_not_scored_on_what_they_saw(self, tiny):
        run = finish_run(tiny)
        answer = run.predictions("val")
        noise = np.random.default_rng(0).random(answer.y_score.shape)  # no two samples have the same
        scores = (0.7 * noise + 0.3 * answer.y_true).astype(np.float32)
        run.save_predictions({"val": Predictions(answer.ids, answer.y_true, scores)})
        seen = []

        def tune(truth, score):
            seen.append({tuple(row) for row in score.tolist()})
            return np.full(3, 0.5)

        own = decide(run, 0.5)
        found = expected_score(run, tiny, Decision(own.thresholds, "spied on", tune), draws=200)
        whatever_the_folds = expected_score(run, tiny, own, draws=200).scores
        assert {name: pytest.approx(score) for name, score in found.scores.items()} == whatever_the_folds
        answer = run.predictions("val")
        folds = [{tuple(row) for row in answer.y_score.astype(np.float64).tolist()} - one for one in seen]
        assert len(folds) == 15
        for deal in (folds[:5], folds[5:10], folds[10:]):
            assert sum(map(len, deal)) == len(set().union(*deal)) == len(answer.ids)
        patients = tiny.split("val").samples["group"].to_numpy()
        row = {tuple(values): place for place, values in enumerate(answer.y_score.astype(np.float64).tolist())}
        owners = [{patients[row[values]] for values in fold} for fold in folds[:5]]
        assert sum(map(len, owners)) == len(set().union(*owners))  # no patient is on both sides
        tuned = expected_score(run, tiny, decide(run), draws=200)
        assert tuned.scores["macro_f1"].value < tuned.same["macro_f1"]

    def test_copies_widen_the_interval(self, home):
        """The same scan four times is no more evidence than once."""
        data = write_dataset("single", samples=400)
        single = finish_run(data, 0.5)
        alone = expected_score(single, data, decide(single, 0.5)).scores["macro_f1"]
        val = data.split("val")
        copied = np.repeat(val.rows[::4], 4)[: len(val)]
        writable = np.load(data.path / "images.npy", mmap_mode="r+")
        writable[val.rows] = writable[copied]
        answer = single.predictions("val")
        picked = copied - val.rows[0]
        again = Predictions(answer.ids, answer.y_true[picked], answer.y_score[picked])
        single.save_predictions({"val": again})
        fresh = expected_score(single, data, decide(single, 0.5))
        assert fresh.units < 40
        assert fresh.scores["macro_f1"].high - fresh.scores["macro_f1"].low > 1.1 * (alone.high - alone.low)

    def test_contradictory_copies_have_a_ceiling(self, tiny):
        run = finish_run(tiny, 0.01)
        rows = tiny.split("val").rows
        writable = np.load(tiny.path / "images.npy", mmap_mode="r+")
        writable[rows[:20]] = 0
        found = expected_score(run, tiny, decide(run, 0.5), draws=10)
        assert 0 < found.ceiling["macro_f1"] < 1
        assert found.contradictory == 20
        assert f"macro F1 is at most {found.ceiling['macro_f1']:.3f}" in found.notes[0]

    def test_nothing_known_is_said(self, run, tiny):
        answer = run.predictions("val")
        run.save_predictions({"val": Predictions(answer.ids, np.full_like(answer.y_true, np.nan), answer.y_score)})
        found = expected_score(run, tiny, decide(run), draws=10)
        assert np.isnan(found.scores["macro_f1"].value)
        assert "no label has a positive" in found.notes[0]


class TestKept:
    def test_a_submission_is_kept_with_what_it_was_made_of(self, run, sample, tmp_path):
        written = write_submission(run, sample, tmp_path / "out.csv")
        (kept,), problems = list_submissions("tiny")
        assert problems == []
        assert kept.path.read_bytes() == (tmp_path / "out.csv").read_bytes()
        assert kept.table.equals(written.table)
        assert kept.record["thresholds"] == written.thresholds
        assert kept.record["run"] == run.id
        assert kept.expected_macro_f1["value"] == pytest.approx(written.expected.scores["macro_f1"].value)
        assert kept.record["positives"] == {label: int(written.table[label].sum()) for label in LABELS}

    def test_several_in_one_second_are_all_kept(self, run, sample):
        names = {write_submission(run, sample, None).kept.name for _ in range(3)}
        assert len(names) == 3
        assert {one.name for one in list_submissions("tiny")[0]} == names

    def test_damage_is_said_and_the_others_stay(self, run, sample):
        first, second, third = (write_submission(run, sample, None).kept for _ in range(3))
        first.path.with_suffix(".json").write_text("{")
        second.path.write_text(second.path.read_text().replace("1", "0"))
        found, problems = list_submissions("tiny")
        assert {one.name for one in found} == {second.name, third.name}
        assert "is damaged" in problems[0]
        with pytest.raises(RequestError, match="was changed after it was written"):
            _ = next(one for one in found if one.name == second.name).table

    def test_a_home_that_cannot_be_written_costs_the_copy_alone(self, run, sample, tmp_path):
        submissions_dir("tiny").parent.mkdir()
        submissions_dir("tiny").write_text("a file")
        written = write_submission(run, sample, tmp_path / "out.csv")
        assert written.kept is None
        assert "no copy is kept" in written.notes[-1]
        assert (tmp_path / "out.csv").is_file()

    def test_changes_count_what_flips(self):
        earlier = pd.DataFrame({"id": ["a", "b", "c", "x"], "mass": [0, 1, 1, 0], "edema": [0, 0, 0, 0]})
        new = pd.DataFrame({"id": ["c", "b", "a", "y", "z"], "edema": [0, 1, 1, 1, 1], "mass": [1, 0, 0, 1, 1]})
        found = changes(new, earlier)
        rows = found.labels.set_index("label")
        assert (found.ids, found.changed, found.only_new, found.only_earlier) == (3, 2, 2, 1)
        assert rows.loc["edema"].tolist() == [2, 0, 2 / 3]
        assert rows.loc["mass"].tolist() == [0, 1, 1 / 3]
        assert str(changes(new, new)) == "the same answers for all 5 ids in common"
        assert str(changes(new, earlier.assign(id=["1", "2", "3", "4"]))) == "no id in common"
        json.dumps(found.to_json())


def test_the_command_says_what_changed(medwb, run, sample, tmp_path):
    arguments = ["submit", run.id, "--sample", sample, "--out", tmp_path / "o.csv"]
    status, out, err = medwb(*arguments)
    assert (status, out) == (0, "")
    assert "ok  Read back: 48 rows" in err
    assert "Macro F1: 0." in err
    facts = json.loads(medwb(*arguments, "--threshold", "0.9", "--json")[1])
    assert facts["thresholds"] == dict.fromkeys(LABELS, 0.9)
    assert facts["changes"]["changed"] > 0
    assert all(check["passed"] for check in facts["checks"])
    assert set(facts["expected"]["scores"]["macro_f1"]) == {"value", "low", "high"}
    rows = json.loads(medwb("submissions", "tiny", "--json")[1])
    assert [row["rule"] for row in rows] == ["chosen by hand", "best F1 on validation"]
    assert rows[0]["changes"] == {"ids": 48, "changed": facts["changes"]["changed"]}
    assert run.id in medwb("submissions", "tiny")[1]
    assert medwb("submissions", "tony")[0] == 2


def test_a_command_that_fails_shows_the_checks(medwb, run, sample, tmp_path):
    change(sample, lambda table: table.drop(columns="mass"))
    status, _, err = medwb("submit", run.id, "--sample", sample, "--out", tmp_path / "o.csv")
    assert status == 2
    assert "WRONG  Columns: unknown column in sample.csv 'mass'" in err
    assert err.splitlines()[-1].startswith("medwb: unknown column")
