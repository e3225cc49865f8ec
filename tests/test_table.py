import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from conftest import finish_run

from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.metrics import evaluate
from medwb.runs import Predictions, open_run
from medwb.statistics import bootstrap_weights, interval
from medwb.table import SCORES, ScoreTable, f1_table


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


def copies(dataset, rows, answers, label="edema"):
    """Make some samples one image, whose labels agree but for `label`; returns the dataset as it then is on disk."""
    images = np.lib.format.open_memmap(dataset.path / "images.npy", mode="r+")
    images[rows] = images[rows[0]]
    samples = dataset.samples.copy()
    samples.loc[rows, list(dataset.label_names)] = samples.loc[rows[0], list(dataset.label_names)].to_numpy()
    samples.loc[rows, label] = answers
    samples.to_parquet(dataset.path / "samples.parquet", index=False)
    return open_dataset(dataset.name)


VAL = [150, 151, 152, 153, 160]


@pytest.fixture
def disputed(tiny):
    """A dataset with five identical scans in val, two of which are called positive, and a run."""
    data = copies(tiny, VAL, [1, 0, 0, 1, 0])
    finish_run(data, 0.2)
    return data


def test_the_ceiling_is_that_of_the_split(disputed):
    table = f1_table(disputed, draws=100)
    labels = disputed.split("val").labels
    pure = (labels[:, 0] == 1).sum() - 2
    best = max(2 * (pure + 2) / (2 * (pure + 2) + 3), 2 * pure / (2 * pure + 2))
    assert table.ceiling["f1:edema"] == pytest.approx(best)
    assert table.ceiling["macro_f1"] == pytest.approx((best + 2) / 3)
    assert set(table.ceiling) == {*(f"f1:{label}" for label in disputed.label_names), *SCORES}
    assert "f1:mass" not in table.capped
    assert set(table.capped) == {"f1:edema", *SCORES}
    assert f1_table(disputed, "train", draws=100).capped == {}


def test_the_best_function_of_the_image_reaches_the_ceiling(disputed):
    run = finish_run(disputed, 0, architecture="rnn-1")
    score = run.predictions("val").y_score.copy()
    score[np.array(VAL) - 144, 0] = 0.4  # the share
    rewrite(run, "val", y_score=score)
    table = f1_table(disputed, draws=100, threshold=table_threshold(disputed))
    row = table.rows["architecture"].tolist().index("rnn-1")
    for column, limit in table.ceiling.items():
        if column != "accuracy":  # its best threshold is another
            assert table.score(row, column).value == pytest.approx(limit)
    assert table.score(row, "agreeing_macro_f1").value == 1


def table_threshold(data):
    """Half the best F1 of the label that is disputed: what is called from there on makes it."""
    from medwb.audit.ceiling import ceiling
    from medwb.audit.sets import exact_sets

    part = data.split("val")
    return ceiling(part.labels, exact_sets(part))["f1"][0] / 2


def test_scores_without_the_contradictory_samples(disputed):
    table = f1_table(disputed, draws=300)
    keep = np.setdiff1d(np.arange(48), np.array(VAL) - 144)
    answer = open_run(table.rows["run_ids"][0][0]).predictions("val")
    f1 = evaluate("f1", answer.y_true[keep], answer.y_score[keep])
    score = table.score(0, "agreeing_macro_f1")
    assert score.value == pytest.approx(f1.mean())
    weights = bootstrap_weights(disputed.split("val").samples["group"].to_numpy(str), 300)[:, keep]
    replicates = evaluate("f1", answer.y_true[keep], answer.y_score[keep], weights=weights).mean(1)
    assert score == pytest.approx(interval(f1.mean(), replicates))  # the same draws as for all other scores
    assert table.contradictory == 5
    assert table.score_columns[-1] == "agreeing_macro_f1"
    assert any("5 of 48 samples of val are identical images" in note for note in table.notes)


def test_where_nothing_contradicts_nothing_is_added(tiny, finished):
    copied = copies(tiny, VAL, [1] * 5)  # copies, but of one mind
    finish_run(copied)
    table = f1_table(copied, draws=100)
    assert table.contradictory == 0
    assert table.capped == {}
    for part in ("", "_low", "_high"):
        assert table.rows[f"agreeing_macro_f1{part}"].equals(table.rows[f"macro_f1{part}"].rename(None))
    assert "agreeing_macro_f1" not in table.score_columns
    assert "Ceiling" not in table.to_markdown()
    assert "agreeing" not in table.to_markdown()
    assert table.to_json()["rows"][0]["agreeing_macro_f1"] == table.to_json()["rows"][0]["macro_f1"]


def test_the_ceiling_is_in_every_form_of_the_table(disputed):
    table = f1_table(disputed, draws=100)
    facts = table.to_json()
    json.dumps(facts, allow_nan=False)
    assert facts["ceiling"]["f1"] == {label: table.ceiling[f"f1:{label}"] for label in disputed.label_names}
    assert facts["ceiling"]["macro_f1"] == table.ceiling["macro_f1"]
    assert facts["ceiling"]["bound"] == []
    assert facts["contradictory_samples"] == 5
    row = next(csv.DictReader(io.StringIO(table.to_csv())))
    assert float(row["macro_f1_ceiling"]) == pytest.approx(table.ceiling["macro_f1"])
    assert float(row["f1:mass_ceiling"]) == 1
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| Ceiling (identical scans that contradict) |")
    cells = dict(zip(lines[0].split(" | "), lines[-1].split(" | "), strict=True))
    assert cells["Macro F1"] == f"{table.ceiling['macro_f1']:.3f}"
    assert cells["F1 mass"] == "1.000"
    assert cells["Macro F1, agreeing scans"] == "–"


def test_a_bound_is_written_as_one():
    table = ScoreTable("x", "val", ("a",), pd.DataFrame(), [], {"average_precision": 0.87654}, ("average_precision",))
    assert table.ceiling_text("average_precision") == "≤ 0.877"
    assert table.ceiling_text("f1:a") == "–"


def test_the_terminal_ends_with_the_ceiling(medwb, disputed):
    status, out, err = medwb("table", "tiny", "--draws", 100)
    assert status == 0, err
    assert "Macro F1, agreeing" in out
    ceiling = next(line for line in out.splitlines() if "Ceiling" in line)
    assert f"{f1_table(disputed, draws=100).ceiling['macro_f1']:.3f}" in ceiling
    assert "identical images whose labels contradict" in err


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_split_in_which_every_sample_contradicts_has_no_agreeing_score(tiny):
    data = copies(tiny, list(range(144, 192)), [0, 1] * 24)
    finish_run(data)
    table = f1_table(data, draws=100)
    assert table.contradictory == 48
    assert np.isnan(table.score(0, "agreeing_macro_f1").value)
    assert table.to_json()["rows"][0]["agreeing_macro_f1"]["value"] is None
    assert "undefined" in table.to_markdown()


def test_the_compare_page_shows_the_ceiling(disputed):
    from test_dashboard import open_page, page

    app = open_page(page("compare"))
    limit = f1_table(disputed, draws=100).ceiling_text("macro_f1")
    assert any("Ceiling" in caption.value and limit in caption.value for caption in app.caption)
    assert any("Macro F1, agreeing scans" in frame.value for frame in app.dataframe)


def test_runs_under_two_versions_of_one_cleaning_are_not_averaged(tiny):
    """The name of a cleaning is a setting; what it stood for is in the run's record."""
    for seed, digest in ((0, "1" * 16), (1, "2" * 16)):
        path = finish_run(tiny, 0.2, seed=seed).path / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "cleaning": {"digest": digest}}))
    assert f1_table(tiny).rows["runs"].tolist() == [1, 1]
