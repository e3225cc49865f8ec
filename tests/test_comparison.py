import csv
import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from conftest import answer_with_noise, finish_run, write_dataset

import medwb.cli.compare  # noqa: F401
from medwb.comparison import compare_runs, compare_table, difference_score, metric_facts
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.looks import count_looks
from medwb.metrics import METRICS, average, evaluate
from medwb.runs import Predictions, Run
from medwb.statistics import holm, mcnemar

QUICK = {"draws": 200, "permutations": 300}


def rewrite(run: Run, split: str, **parts: object) -> None:
    answers = {name: run.predictions(name) for name in run.predicted_splits()}
    answers[split] = Predictions(**{**answers[split].__dict__, **parts})
    run.save_predictions(answers)


@pytest.fixture
def rows(tiny: Dataset) -> list[Run]:
    """Two good networks and a poor one with three seeds each, and a poor baseline."""
    noises = {"fcnn-2": 0.25, "rnn-1": 0.25, "fcnn-1": 1.5}
    runs = [finish_run(tiny, noise, architecture=name, seed=s) for name, noise in noises.items() for s in range(3)]
    for number, run in enumerate(runs):
        answer_with_noise(run, tiny, noises[run.config.architecture], [7, number])
    return [*runs, finish_run(tiny, 3.0, architecture="k-nn")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    """Two runs that no test changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(tmp_path_factory.mktemp("home")))
        data = write_dataset("tiny")
        yield [finish_run(data, 0.25, architecture="fcnn-2"), finish_run(data, 1.5)]


def test_ties_are_called_ties(tiny: Dataset, rows: list[Run]) -> None:
    found = compare_table(tiny, **QUICK)
    names = found.rows["name"].tolist()
    assert set(names[:2]) == {"FCNN-2", "RNN-1"}
    assert found.rows["runs"].tolist() == [3, 3, 3, 1]
    assert found.groups[0] == (0, 1)
    assert found.sentence.startswith(f"{names[0]} and {names[1]} cannot be told apart; both beat {names[2]} by 0.")
    assert f"(differences are {names[0]}'s)" in found.sentence
    assert len(found.pairs) == 6
    assert found.pairs["p_holm"].tolist() == pytest.approx(holm(found.pairs["p"].to_numpy()).tolist())
    assert (found.pairs["p"] >= found.pairs[["p_bootstrap", "p_permutation"]].max(axis=1) - 1e-12).all()
    assert found.best["b"].tolist() == [1, 2, 3]
    assert found.labels.empty
    assert any("all 6 pairs together" in note for note in found.notes)


def test_two_rows_by_hand(tiny: Dataset, rows: list[Run]) -> None:
    """The difference is that of the means over seeds, on the samples as they are."""
    found = compare_runs(rows[3:9], **QUICK)
    means = [
        np.mean(
            [average(evaluate("f1", a.y_true, a.y_score), "macro")[0] for a in (r.predictions("val") for r in runs)]
        )
        for runs in (rows[3:6], rows[6:9])
    ]
    pair = found.pairs.to_dict("records")[0]
    assert found.rows["score"].tolist() == pytest.approx(means)
    assert difference_score(pair).value == pytest.approx(means[0] - means[1])
    assert pair["difference_low"] < pair["difference"] < pair["difference_high"]
    assert found.rows["score_low"][0] < means[0] < found.rows["score_high"][0] <= 1
    assert pair["verdict"] == "better"
    assert found.sentence.startswith("RNN-1 beats FCNN-1 by 0.")
    assert "macro F1 [" in found.sentence
    assert found.units < found.samples  # three scans a patient
    assert found.labels["label"].tolist() == list(tiny.label_names)
    assert set(found.labels["method"]) == {"swaps of units"}


def test_mcnemar_for_one_run_each_where_samples_stand_alone(home) -> None:
    data = write_dataset("alone")
    samples = pd.read_parquet(data.path / "samples.parquet").assign(group="")
    samples.to_parquet(data.path / "samples.parquet")
    a, b = finish_run(data, 0.4), finish_run(data, 0.9, architecture="rnn-1")
    found = compare_runs([b, a], **QUICK)
    assert set(found.labels["method"]) == {"McNemar"}
    assert any("one seed, so that how much the seed matters is not covered" in note for note in found.notes)
    first, second = (run.predictions("val") for run in (a, b))
    for cells in found.labels.to_dict("records"):
        label = data.label_names.index(cells["label"])
        right = [(x.y_score[:, label] >= 0.5) == (x.y_true[:, label] == 1) for x in (first, second)]
        assert cells["a_alone"] == (right[0] & ~right[1]).sum()
        assert cells["p"] == pytest.approx(mcnemar(cells["a_alone"], cells["b_alone"]))


def test_seeds_of_one_setting_are_rows_where_there_is_nothing_else(rows: list[Run]) -> None:
    found = compare_runs(rows[:3], **QUICK)
    assert sorted(found.rows["name"]) == ["FCNN-2 seed 0", "FCNN-2 seed 1", "FCNN-2 seed 2"]
    two = compare_runs(rows[:2], **QUICK)
    assert two.sentence.count("cannot be told apart: macro F1 differs by") == 1


@pytest.mark.parametrize("metric", [*METRICS.names(), "f1:mass"])
def test_every_metric_can_be_compared(pair: list[Run], metric: str, recwarn: pytest.WarningsRecorder) -> None:
    found = compare_runs(pair, metric=metric, draws=100, permutations=100)
    best = found.rows["score"].iloc[0] if found.better == "higher" else -found.rows["score"].iloc[0]
    other = found.rows["score"].iloc[1] if found.better == "higher" else -found.rows["score"].iloc[1]
    assert best >= other
    counted = bool(found.pairs["p_permutation"].notna().all())
    assert counted != any("p is the bootstrap's alone" in note for note in found.notes)
    assert 0 <= found.pairs["p"].iloc[0] <= 1
    json.dumps(found.to_json(), allow_nan=False)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


@pytest.mark.slow
def test_only_the_samples_that_both_have(tiny: Dataset, rows: list[Run]) -> None:
    a, b = rows[0], rows[6]
    answer = a.predictions("val")
    rewrite(a, "val", ids=answer.ids[5:], y_true=answer.y_true[5:], y_score=answer.y_score[5:])
    found = compare_runs([a, b], **QUICK)
    assert found.samples == len(tiny.split("val")) - 5
    assert "compared on the 43 samples that all runs answered and tiny still has in val, which has 48" in found.notes
    f1 = average(evaluate("f1", answer.y_true[5:], answer.y_score[5:]), "macro")[0]
    assert found.rows["score"].max() == pytest.approx(f1)
    assert any("left out" in note and a.id in note for note in compare_table(tiny, **QUICK).notes)
    rewrite(b, "val", ids=answer.ids[:5], y_true=answer.y_true[:5], y_score=answer.y_score[:5])
    with pytest.raises(RequestError, match="no sample of the split 'val' of 'tiny' was answered by all"):
        compare_runs([a, b], **QUICK)


def test_labels_that_changed_are_those_of_now(tiny: Dataset, rows: list[Run]) -> None:
    truth = rows[0].predictions("val").y_true.copy()
    truth[:4] = 1 - truth[:4]
    rewrite(rows[0], "val", y_true=truth)
    notes = compare_runs([rows[0], rows[6]], **QUICK).notes
    assert "up to 12 labels are others than when a run was trained; all are scored on those of now" in notes


def test_runs_of_an_older_dataset_are_said(tiny: Dataset, rows: list[Run]) -> None:
    facts = json.loads((tiny.path / "dataset.json").read_text())
    (tiny.path / "dataset.json").write_text(json.dumps(facts | {"fingerprint": "f" * 16}))
    found = compare_runs([rows[0], rows[6]], **QUICK)
    assert any(
        f"tiny has changed since these runs were trained: {rows[0].id}, {rows[6].id}" in n for n in found.notes
    )
    with pytest.raises(RequestError, match=r"0 finished runs on 'tiny'.*10 runs are left out"):
        compare_table("tiny", **QUICK)


def test_looks_at_the_test_split_are_counted(rows: list[Run]) -> None:
    compare_runs([rows[0], rows[6]], **QUICK)
    assert count_looks(rows[0]) == 0
    compare_runs([rows[0], rows[6]], "test", **QUICK)
    assert [count_looks(run) for run in (rows[0], rows[6], rows[1])] == [1, 1, 0]


def test_what_cannot_be_compared(tiny: Dataset, rows: list[Run]) -> None:
    other = finish_run(write_dataset("other"), 0.3)
    for runs, message in (
        (rows[:1], "1 run is nothing to compare; name two or more, or --dataset"),
        ([rows[0], rows[0]], "is named twice"),
        ([rows[0], other], "runs of different datasets cannot be compared: .* of 'tiny' and .* of 'other'"),
    ):
        with pytest.raises(RequestError, match=message):
            compare_runs(runs, **QUICK)
    with pytest.raises(RequestError, match="unknown metric 'macro_f2'; did you mean macro_f1"):
        compare_runs(rows[:4], metric="macro_f2", **QUICK)
    with pytest.raises(RequestError, match="did you mean f1:mass"):
        metric_facts("f1:masss", tiny.label_names)
    with pytest.raises(RequestError, match="unknown split of tiny 'valid'; did you mean val"):
        compare_runs(rows[:4], "valid", **QUICK)
    (rows[0].path / "predictions.npz").write_bytes(b"no zip")
    with pytest.raises(RequestError, match=r"predictions.npz is damaged"):
        compare_runs(rows[:4], **QUICK)
    assert any("predictions.npz is damaged" in note for note in compare_table(tiny, **QUICK).notes)


def test_a_label_with_one_positive_and_answers_all_alike(home, recwarn: pytest.WarningsRecorder) -> None:
    data = write_dataset("rare")
    runs = [finish_run(data, 0.3), finish_run(data, 0.3, architecture="rnn-1")]
    samples = pd.read_parquet(data.path / "samples.parquet")
    samples["mass"] = 0.0
    samples.loc[samples.index[samples["split"] == "val"][3], "mass"] = 1.0
    samples.to_parquet(data.path / "samples.parquet")
    rare = compare_runs(runs, metric="f1:mass", **QUICK)
    assert rare.pairs["verdict"].tolist() == ["tie"]
    rewrite(runs[1], "val", y_score=runs[0].predictions("val").y_score)
    same = compare_runs(runs, **QUICK)
    assert same.pairs["p"].tolist() == [1]
    assert same.pairs["difference"].tolist() == [0]
    samples["mass"] = 0.0
    samples.to_parquet(data.path / "samples.parquet")
    none = compare_runs(runs, metric="f1:mass", **QUICK)
    assert none.pairs["verdict"].tolist() == ["unknown"]
    assert none.sentence.endswith("could not be compared.")
    assert none.groups == [(0, 1)]
    json.dumps(none.to_json(), allow_nan=False)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


@pytest.mark.slow
def test_the_command(medwb, rows: list[Run]) -> None:
    options = ("--draws", 200, "--permutations", 200)
    status, out, err = medwb("compare", rows[0].id, rows[6].id, *options)
    assert status == 0, err
    assert "FCNN-2 beats FCNN-1 by 0." in err
    assert "Only FCNN-2 right" in out
    status, out, _ = medwb("compare", "--dataset", "tiny", "--json", *options)
    facts = json.loads(out)
    assert status == 0
    assert {"answer", "dataset", "split", "metric", "rows", "pairs", "groups", "notes"} <= set(facts)
    assert set(facts["pairs"][0]["difference"]) == set(facts["rows"][0]["score"]) == {"value", "low", "high"}
    assert facts["pairs"][0]["a"] == facts["rows"][0]["name"]
    status, out, _ = medwb("compare", "--dataset", "tiny", "--csv", *options)
    assert [line["verdict"] for line in csv.DictReader(out.splitlines())].count("better") >= 4
    for wrong, said in (
        ((), "name two runs or more"),
        ((rows[0].id, "--dataset", "tiny"), "name two runs or more"),
        ((rows[0].id, rows[6].id, "--json", "--csv"), "exclude one another"),
        ((rows[0].id, "nothing"), "unknown run 'nothing'"),
    ):
        status, out, err = medwb("compare", *wrong)
        assert (status, out) == (2, "")
        assert said in err
