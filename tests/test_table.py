import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import finish_run

from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.metrics import METRICS, evaluate
from medwb.runs import Predictions, open_run
from medwb.seeds import mean_score
from medwb.statistics import bootstrap_weights
from medwb.table import (
    FACTS,
    SCORES,
    ScoreTable,
    all_columns,
    build,
    choose_columns,
    column_title,
    f1_table,
    sort_column,
)
from medwb.units import resampling_units


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
    known = {"macro_f1", "weighted_f1", "average_precision", "roc_auc", "accuracy"}
    assert set(table.capped) == {"f1:edema", *known}
    assert all(np.isnan(table.ceiling[name]) for name in set(SCORES) - known)
    assert f1_table(disputed, "train", draws=100).capped == {}


def test_the_best_function_of_the_image_reaches_the_ceiling(disputed):
    run = finish_run(disputed, 0, architecture="rnn-1")
    score = run.predictions("val").y_score.copy()
    score[np.array(VAL) - 144, 0] = 0.4  # the share
    rewrite(run, "val", y_score=score)
    table = f1_table(disputed, draws=100, threshold=table_threshold(disputed))
    row = table.rows["architecture"].tolist().index("rnn-1")
    for column, limit in table.ceiling.items():
        if column != "accuracy" and not np.isnan(limit):  # its best threshold is another
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
    units = resampling_units(disputed.split("val"))
    weights = np.vstack([np.ones((1, 48), int), bootstrap_weights(units, 300)])[:, keep]
    replicates = evaluate("f1", answer.y_true[keep], answer.y_score[keep], weights=weights).mean(1)
    expected = mean_score(replicates[None], int(units.max()) + 1)  # the same draws as for all other scores
    assert np.allclose(score, expected)
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


def test_every_metric_is_a_column(tiny, finished):
    table = f1_table(tiny, draws=100)
    for entry in METRICS:
        names = [f"{entry.name}:{label}" for label in tiny.label_names] if entry.kind == "label" else [entry.name]
        for name in names:
            score = table.score(0, name)
            assert score.low <= score.value <= score.high, name
    answers = [run.predictions("val") for run in finished[:2]]
    for name in ("mcc", "brier"):
        values = [evaluate(name, answer.y_true, answer.y_score)[0].mean() for answer in answers]
        assert table.score(0, name).value == pytest.approx(np.mean(values))
    row = table.to_json()["rows"][0]
    assert row["labels"]["roc_auc"]["edema"] == table.score(0, "roc_auc:edema")._asdict()
    assert row["micro_f1"] == table.score(0, "micro_f1")._asdict()


def test_facts_of_a_row(tiny, finished):
    finished[0].update_status(predict_images_per_second=100.0)
    finished[1].update_status(predict_images_per_second=300.0)
    row, baseline = (f1_table(tiny, draws=100).rows.iloc[place] for place in (0, 2))
    assert row["images_per_second"] == 200
    assert row["flops"] > row["parameters"] > 0
    assert np.isnan(baseline["flops"])
    assert np.isnan(baseline["images_per_second"])
    assert row["looks"] == 0


def test_looks_at_the_test_split_are_counted(tiny, finished):
    assert (f1_table(tiny, "test", draws=100).rows["looks"] == 1).all()
    assert (f1_table(tiny, "val", draws=100).rows["looks"] == 1).all()
    (finished[2].path / "looks.json").write_text("[")
    table = f1_table(tiny, "val", draws=100)
    assert np.isnan(table.rows.set_index("architecture")["looks"]["fcnn-1"])
    assert any("looks.json is damaged" in note for note in table.notes)


def test_one_damaged_run_of_a_row_is_left_out_and_said(tiny, finished):
    finished[1].path.joinpath("predictions.npz").write_bytes(b"PK")
    table = f1_table(tiny, draws=100)
    assert table.rows["runs"].tolist() == [1, 1, 1]
    assert table.rows["run_ids"][0] == [finished[0].id]
    assert any(note.startswith(f"left out: run {finished[1].id}: predictions.npz is damaged") for note in table.notes)


def test_a_run_without_predictions_is_left_out_and_said(tiny, finished):
    finished[3].path.joinpath("predictions.npz").unlink()
    table = f1_table(tiny, draws=100)
    assert "k-nn" not in set(table.rows["architecture"])
    assert any("has no predictions yet" in note for note in table.notes)


def test_rows_are_kept_until_a_run_changes(tiny, finished, monkeypatch):
    before = f1_table(tiny, draws=100)
    scored = []
    original = build.score_runs
    monkeypatch.setattr(build, "score_runs", lambda runs, *rest: scored.extend(runs) or original(runs, *rest))
    assert f1_table(tiny, draws=100).rows.equals(before.rows)
    assert scored == []
    added = finish_run(tiny, 0.4, architecture="cnn-1")
    assert len(f1_table(tiny, draws=100).rows) == 4
    assert scored == [added]
    answer = finished[2].predictions("val")
    rewrite(finished[2], "val", y_score=answer.y_score[::-1])
    changed = f1_table(tiny, draws=100).rows.set_index("architecture")["macro_f1"]
    assert scored == [added, finished[2]]
    assert changed["fcnn-1"] != before.rows.set_index("architecture")["macro_f1"]["fcnn-1"]


def test_many_runs_are_scored_some_at_a_time(tiny, finished, monkeypatch):
    at_once = f1_table(tiny, draws=100).rows
    monkeypatch.setattr(build, "_AT_ONCE", 1)
    monkeypatch.setattr(build, "_KEPT", build.OrderedDict())
    assert f1_table(tiny, draws=100).rows.equals(at_once)


def test_one_positive_is_said(tiny):
    run = finish_run(tiny, 0.1)
    samples = tiny.samples.copy()
    rows = np.flatnonzero(samples["split"] == "val")
    samples.loc[rows, "mass"] = 0.0
    samples.loc[rows[0], "mass"] = 1.0
    samples.to_parquet(tiny.path / "samples.parquet", index=False)
    rewrite(run, "val", y_true=open_dataset("tiny").split("val").labels)
    table = f1_table("tiny", draws=100)
    assert any("mass has one positive in val" in note for note in table.notes)
    assert not np.isnan(table.score(0, "average_precision:mass").value)
    json.dumps(table.to_json(), allow_nan=False)


def test_a_cleaning_that_reaches_the_split_is_said(tiny):
    finish_run(tiny, 0.2, architecture="rnn-1")
    path = finish_run(tiny, 0.2).path / "config.json"
    cleaning = {"name": "strict", "digest": "1" * 16, "excluded": {"val": 3, "train": 9}, "labels": {"val": 2}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "cleaning": cleaning}))
    notes = f1_table(tiny, draws=100).notes
    said = next(note for note in notes if "'strict'" in note)
    assert said.startswith("the cleaning 'strict' leaves out 3 samples and changes 2 labels of val: FCNN-1;")
    assert "RNN-1" not in said
    assert "scored on all 48 samples" in said


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("macro_f1", ["rnn-1", "fcnn-1", "k-nn"]),
        ("brier", ["rnn-1", "fcnn-1", "k-nn"]),  # the lowest first
        ("parameters", ["fcnn-1", "rnn-1", "k-nn"]),  # the smallest first, what has none last
        ("architecture", ["fcnn-1", "rnn-1", "k-nn"]),
        ("roc_auc:edema", ["rnn-1", "fcnn-1", "k-nn"]),
    ],
)
def test_sorting_puts_the_best_first(tiny, finished, column, expected):
    assert f1_table(tiny, draws=100).sort(column).rows["architecture"].tolist() == expected


def test_columns_are_chosen_by_name():
    labels = ("edema", "mass")
    assert choose_columns(["mcc", " f1 ", "mcc"], labels) == ["mcc", "f1:edema", "f1:mass"]
    assert choose_columns(["roc_auc:", "flops"], labels) == ["roc_auc:edema", "roc_auc:mass", "flops"]
    assert set(choose_columns(["all"], labels)) == {"f1:edema", "f1:mass", *SCORES, *FACTS}
    for name in all_columns(labels):
        assert choose_columns([name], labels) == [name]
        assert column_title(name) != name or name == "f1"


@pytest.mark.parametrize("name", ["macrof1", "f1:edma", "roc_auc:tumour", "", "title_low"])
def test_unknown_columns_are_refused_with_near_names(name):
    with pytest.raises(RequestError, match=f"unknown column of the table '{name}'; (did you mean|known:)"):
        choose_columns([name], ("edema", "mass"))
    with pytest.raises(RequestError, match="unknown column of the table"):
        sort_column(name, ("edema", "mass"))


def test_latex_is_escaped_and_whole(disputed):
    table = f1_table(disputed, draws=100)
    hostile = replace(
        table,
        label_names=("a_b & 50%", "mass", "effusion"),
        rows=table.rows.rename(columns=lambda name: name.replace("edema", "a_b & 50%")).assign(
            title="C\\N{#} ~ $x^2$"
        ),
    )
    text = hostile.to_latex(["f1:a_b & 50%", "brier", "parameters"])
    lines = text.splitlines()
    assert lines[1] == "\\begin{tabular}{llrrrr}"
    assert "F1 a\\_b \\& 50\\% & Brier score $\\downarrow$ & Parameters \\\\" in text
    assert "C\\textbackslash{}N\\{\\#\\} \\textasciitilde{} \\$x\\textasciicircum{}2\\$" in text
    rows = [line for line in lines if line.endswith("\\\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert sum(line == "\\midrule" for line in lines) == 2  # one more above the ceiling
    assert all(line.startswith("% ") for line in lines[lines.index("\\end{tabular}") + 1 :])


def test_the_terminal_shows_chosen_columns_sorted(medwb, tiny, finished):
    chosen = ("--columns", "brier,roc_auc:mass,flops", "--sort", "parameters")
    status, out, err = medwb("table", "tiny", "--draws", 100, *chosen)
    assert status == 0, err
    assert "Brier score ↓" in out
    assert "ROC AUC mass" in out
    assert out.index("FCNN-1") < out.index("RNN-1") < out.index("k-NN")
    status, out, _ = medwb("table", "tiny", "--draws", 100, "--csv", *chosen)
    columns = next(csv.reader(io.StringIO(out)))
    assert [name for name in columns if not name.endswith("_ceiling")] == [
        "architecture", "title", "settings", "runs", "run_ids",
        "brier", "brier_low", "brier_high", "roc_auc:mass", "roc_auc:mass_low", "roc_auc:mass_high", "flops",
    ]  # fmt: skip
    assert medwb("table", "tiny", "--draws", 100, "--latex", *chosen)[1].startswith("% tiny, split val")
    rows = json.loads(medwb("table", "tiny", "--draws", 100, "--json", "--sort", "parameters")[1])["rows"]
    assert [row["architecture"] for row in rows] == ["fcnn-1", "rnn-1", "k-nn"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "bier"), "unknown column of the table 'bier'; did you mean brier?"),
        (("--sort", "flop"), "unknown column of the table 'flop'; did you mean flops?"),
        (("--columns", "mcc", "--json"), "--json has all columns; leave --columns out"),
        (("--latex", "--csv"), "--csv, --markdown, --latex and --json exclude one another"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(medwb, tiny, finished, options, message):
    status, out, err = medwb("table", "tiny", *options)
    assert (status, out) == (2, "")
    assert message in err
