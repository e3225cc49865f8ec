import csv
import io
import json

import numpy as np
import pytest
from conftest import finish_run

from medwb.errors import RequestError
from medwb.metrics import evaluate
from medwb.runs import Predictions
from medwb.table import SCORES, f1_table


def test_a_row_an_architecture_the_best_first(tiny, finished):
    table = f1_table(tiny, draws=200)
    assert table.rows["architecture"].tolist() == ["rnn-1", "fcnn-1", "k-nn"]
    assert table.rows["runs"].tolist() == [2, 1, 1]
    assert table.rows["reference_score"].iloc[0] == 0.89
    assert np.isnan(table.rows["parameters"].iloc[2])


def test_scores_are_means_over_seeds(tiny, finished):
    table = f1_table("tiny", draws=200)
    answers = [run.predictions("val") for run in finished[:2]]
    expected = np.mean([evaluate("f1", answer.y_true, answer.y_score)[0] for answer in answers], axis=0)
    for label, value in zip(tiny.label_names, expected, strict=True):
        assert table.score(0, f"f1:{label}").value == pytest.approx(value)
    assert table.score(0, "macro_f1").value == pytest.approx(expected.mean())


def test_every_score_lies_in_its_interval(tiny, finished):
    table = f1_table(tiny, draws=500)
    for row in range(len(table.rows)):
        for column in table.score_columns:
            score = table.score(row, column)
            assert score.low <= score.value <= score.high


def test_settings_make_rows_of_their_own_and_the_newest_of_a_seed_counts(tiny):
    finish_run(tiny, 0.5, architecture="rnn-1")
    newest = finish_run(tiny, 0.1, architecture="rnn-1")
    finish_run(tiny, 0.3, architecture="rnn-1", epochs=3)
    table = f1_table(tiny, draws=100)
    assert table.rows["settings"].tolist() == ["", "epochs=3"]
    assert table.rows["run_ids"].iloc[0] == [newest.id]


def test_json_is_strict_and_as_documented(tiny, finished):
    facts = f1_table(tiny, draws=100).to_json()
    json.dumps(facts, allow_nan=False)
    assert {"dataset", "split", "rows"} <= set(facts)
    row = facts["rows"][-1]
    assert set(row["f1"]) == set(tiny.label_names)
    assert set(row["f1"]["edema"]) == set(row["macro_f1"]) == {"value", "low", "high"}
    assert row["parameters"] is None
    assert {*SCORES, "architecture", "runs", "train_seconds", "reference_score", "collapsed"} <= set(row)


def test_csv_and_markdown_hold_every_row(tiny, finished):
    table = f1_table(tiny, draws=100)
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row["architecture"] for row in rows] == table.rows["architecture"].tolist()
    assert float(rows[0]["macro_f1_low"]) <= float(rows[0]["macro_f1"])
    lines = table.to_markdown().splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "RNN-1" in lines[2]


def rewrite(run, split, **parts):
    answers = {name: run.predictions(name) for name in run.predicted_splits()}
    answers[split] = Predictions(**{**answers[split].__dict__, **parts})
    run.save_predictions(answers)


def test_collapse_is_said(tiny):
    run = finish_run(tiny)
    rewrite(run, "val", y_score=np.full((48, 3), 0.46, np.float32))
    finish_run(tiny, architecture="prevalence", noise=0)
    table = f1_table(tiny, draws=100)
    by_name = table.rows.set_index("architecture")["collapsed"]
    assert by_name["fcnn-1"]
    assert not by_name["prevalence"]
    assert any("FCNN-1 has collapsed" in note for note in table.notes)


def test_a_label_without_positives_is_said_and_left_out(tiny):
    run = finish_run(tiny, 0.1)
    truth = run.predictions("val").y_true.copy()
    truth[:, 2] = 0
    rewrite(run, "val", y_true=truth)
    table = f1_table(tiny, draws=100)
    assert np.isnan(table.score(0, "f1:effusion").value)
    assert table.score(0, "macro_f1").value > 0.9


def test_answers_for_other_samples_are_refused(tiny):
    run = finish_run(tiny)
    rewrite(run, "val", ids=np.array([f"x{n}" for n in range(48)]))
    with pytest.raises(RequestError, match="answered other samples than the split 'val' has"):
        f1_table(tiny)


def test_answers_in_another_order_are_put_right(tiny):
    run = finish_run(tiny)
    before = f1_table(tiny, draws=100).rows["macro_f1"][0]
    answer = run.predictions("val")
    rewrite(run, "val", ids=answer.ids[::-1], y_true=answer.y_true[::-1], y_score=answer.y_score[::-1])
    assert f1_table(tiny, draws=100).rows["macro_f1"][0] == before


@pytest.mark.parametrize(
    ("split", "message"), [("vall", "unknown split of tiny 'vall'"), ("val", "no run on 'tiny' is finished yet")]
)
def test_what_cannot_be_scored_is_named(tiny, split, message):
    with pytest.raises(RequestError, match=message):
        f1_table(tiny, split)


def test_stale_runs_are_left_out_and_said(tiny, finished):
    path = finished[3].path / "config.json"
    path.write_text(path.read_text().replace(tiny.fingerprint, "0" * 16))
    table = f1_table(tiny, draws=100)
    assert "k-nn" not in set(table.rows["architecture"])
    assert table.notes[0].startswith("1 runs are left out")
