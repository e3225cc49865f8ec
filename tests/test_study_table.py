import csv
import re

import numpy as np
import pandas as pd
import pytest
from conftest import answer_with_noise

from medwb import plots
from medwb.dataset import Dataset
from medwb.runs import Run
from medwb.statistics import difference_over_seeds, holm, interval, p_value
from medwb.studies import StudyTable, start_study, study_table
from medwb.studies.answer import answer


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    """Runs stay queued, so that tests may finish them."""
    monkeypatch.setattr("medwb.launch.start_worker", lambda: None)


def finish(run: Run, dataset: Dataset, noise: float) -> None:
    answer_with_noise(run, dataset, noise, [run.config.seed, int(1000 * noise)])


def table_of(
    tiny: Dataset, name: str, noises: list[float], seeds: tuple[int, ...] = (0, 1, 2), draws: int = 400
) -> StudyTable:
    runs = start_study(name, tiny, "fcnn-1", {}, seeds)
    for members, noise in zip(runs.runs, noises, strict=False):
        for run in members:
            finish(run, tiny, noise)
    return study_table(runs, draws=draws)


def test_the_sentence_says_what_the_table_shows(tiny):
    table = table_of(tiny, "epochs", [0.1, 2.0, 0.1])
    low, high = -table.score(1, "difference").high, -table.score(1, "difference").low
    value = -table.score(1, "difference").value
    beaten = f"10 epochs beat 5 epochs by {value:.3f} macro F1 [{low:.3f}, {high:.3f}]"
    assert table.answer.startswith(beaten)
    assert re.fullmatch(
        r"; 15 epochs \(\S+ \[\S+, \S+\]\) and 10 epochs could not be told apart\.", table.answer[len(beaten) :]
    )
    facts = table.to_json()
    assert facts["answer"] == table.answer
    assert facts["finding"].startswith("The reference study found 10 epochs best")
    assert facts["question"] == "How many epochs are enough?"
    assert not any("seed" in word for word in table.answer.split())
    lines = list(csv.DictReader(table.to_csv().splitlines()))
    assert [line["variant"] for line in lines] == ["10 epochs", "5 epochs", "15 epochs"]
    assert float(lines[1]["p_holm"]) == table.rows["p_holm"][1]


def test_one_seed_and_missing_runs_are_said(tiny):
    assert (
        "With one seed, how much the seed matters is not covered." in table_of(tiny, "epochs", [0.1] * 3, (5,)).answer
    )
    table = table_of(tiny, "epochs", [0.1, 2.0], (0, 1))
    assert table.answer.endswith("; 15 epochs could not be compared. Preliminary: 4 of 6 runs are finished.")
    reference = start_study("loss", tiny, "fcnn-1", {}, (7, 8))
    finish(reference.runs[1][0], tiny, 0.2)
    sentence = study_table(reference, draws=100).answer
    assert sentence == (
        "Binary loss has no finished run, so there is nothing to compare with. Preliminary: 1 of 8 runs are finished."
    )


def row(variant: str, difference: float = np.nan, low: float = np.nan, high: float = np.nan, verdict: str = "tie"):
    facts = {"variant": variant, "runs": 3, "seeds": 3, "verdict": verdict, "difference": difference}
    return facts | {"difference_low": low, "difference_high": high}


def test_the_sentence_of_several_variants():
    rows = [
        row("A", verdict="reference"),
        row("B", 0.02, 0.01, 0.03, "better"),
        row("C", -0.05, -0.06, -0.04, "worse"),
        row("D", -0.07, -0.08, -0.06, "worse"),
        row("E", 0.0001, -0.0004, 0.01),
        row("F", -0.004, -0.01, 0.01),
    ]
    assert answer(pd.DataFrame(rows), 18) == (
        "B beat A by 0.020 macro F1 [0.010, 0.030]; A beat C by 0.050 [0.040, 0.060] and D by 0.070 [0.060, 0.080]; "
        "E (0.000 [0.000, +0.010]) and F (-0.004 [-0.010, +0.010]) could not be told apart from A."
    )
    assert answer(pd.DataFrame([rows[0], rows[2]]), 6) == "A beat C by 0.050 macro F1 [0.040, 0.060]."


def test_seeds_enter_the_interval(tiny):
    """Where seeds alone scatter, an interval over samples alone would be far too narrow."""
    rng = np.random.default_rng(0)
    steady = np.repeat(0.01 + rng.normal(0, 0.001, (1, 501)), 3, axis=0)
    scattered = steady + np.array([[-0.05], [0.0], [0.05]])
    narrow, wide = (interval(r[0], r[1:]) for r in (difference_over_seeds(x, 0 * x) for x in (steady, scattered)))
    assert narrow.low > 0
    assert wide.low < 0 < wide.high
    assert wide.high - wide.low > 20 * (narrow.high - narrow.low)


def test_few_seeds_that_scatter_are_said(tiny):
    runs = start_study("epochs", tiny, "fcnn-1", {}, (0, 1, 2))
    for members, noises in zip(runs.runs, [(0.1,) * 3, (0.1, 0.1, 5.0), (0.1,) * 3], strict=True):
        for run, noise in zip(members, noises, strict=True):
            finish(run, tiny, noise)
    table = study_table(runs, draws=300)
    assert table.rows["seed_share"][1] > 0.5
    said = [note for note in table.notes if note.startswith("seeds scatter more than")]
    assert len(said) == 1
    assert "in 5 epochs: with so few of them a 95 % interval is too narrow; take 5 or more" in said[0]
    assert table_of(tiny, "loss", [0.1] * 4, (3,)).rows["seed_share"].isna().all()


def test_a_verdict_holds_for_the_whole_family(tiny):
    table = table_of(tiny, "loss", [0.3, 0.3, 0.3, 0.3])
    assert (table.rows["p_holm"][1:] >= table.rows["p"][1:]).all()
    assert table.rows["p_holm"].isna()[0]
    expected = [
        "tie" if p > 0.05 else "better" if d > 0 else "worse"
        for p, d in table.rows[["p_holm", "difference"]].values[1:]
    ]
    assert table.rows["verdict"].tolist() == ["reference", *expected]
    assert any("verdicts hold for all 3 comparisons together" in note for note in table.notes)
    few = study_table(start_study("loss", tiny, "fcnn-1", {}, (0, 1, 2)), draws=100)
    assert "100 replicates are too few to show a difference; take 120 or more" in few.notes


def test_holm_of_an_example():
    assert np.allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    adjusted = holm(np.array([np.nan, 0.04, 0.9, 0.02]))
    assert np.isnan(adjusted[0])
    assert np.allclose(adjusted[1:], [0.08, 0.9, 0.06])


def test_the_p_value_counts_the_rarer_side():
    assert p_value(np.array([1.0] * 97 + [-1.0] * 2)) == pytest.approx(0.06)
    assert p_value(np.array([1.0] * 999)) == pytest.approx(0.002)
    assert p_value(np.zeros(99)) == 1
    assert np.isnan(p_value(np.array([np.nan])))


def test_the_figure_has_each_variant_with_its_verdict(tiny):
    table = table_of(tiny, "epochs", [0.1, 2.0, 0.1])
    figure = plots.study_intervals(table)
    assert {trace.name for trace in figure.data} == {"reference", "worse", "tie"}
    assert figure.layout.yaxis.categoryarray[-1] == "10 epochs"
    difference = next(trace for trace in figure.data if trace.name == "worse" and trace.xaxis == "x2")
    assert difference.x[0] == table.score(1, "difference").value
    figure.to_json()
    table.rows["runs"] = 0
    assert "No run of the study" in plots.study_intervals(table).layout.annotations[0].text
