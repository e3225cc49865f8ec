"""Label facts, shortcuts and the checks of labels, on data whose answer is known."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, chi2_contingency, fisher_exact, mannwhitneyu

from medwb.audit.check import CHECKS, ISSUE_COLUMNS
from medwb.audit.checks.labels import suspects
from medwb.audit.label_facts import (
    combination_table,
    pair_table,
    prevalence_table,
    shift_table,
)
from medwb.audit.quick_model import QuickModel, fit_quick_model
from medwb.audit.sets import DuplicateSets
from medwb.audit.shortcuts import SHORTCUT_COLUMNS, auc_interval, shortcut_table
from medwb.dataset import Dataset
from medwb.statistics import Score, holm, wilson_interval

RNG = np.random.default_rng
UNUSED = QuickModel(np.zeros((0, 0), np.float32), {}, np.zeros(0, np.int64), 0)
CHECKED = [name for name in CHECKS.names() if CHECKS.get(name).area == "labels"]


def made(labels: np.ndarray, splits: object = "train", groups: object = "", side: int = 8) -> Dataset:
    samples = pd.DataFrame({"id": [f"{number}.png" for number in range(len(labels))]})
    samples = samples.assign(split=splits, group=groups, path=samples["id"], height=side, width=side, mode="grey8")
    names = tuple("abcdefghij"[: labels.shape[1]])
    for name, column in zip(names, labels.T, strict=True):
        samples[name] = column.astype(np.float32)
    images = RNG(0).integers(0, 256, (len(labels), side, side, 1), np.uint8)
    return Dataset("made", names, samples, images, "0" * 16, "csv", "made for a test")


def survey(dataset: Dataset, frames: pd.DataFrame | None = None, model: QuickModel | None = None) -> SimpleNamespace:
    copies = DuplicateSets(np.full(len(dataset), -1, np.int64))
    frames = pd.DataFrame({"constant": np.zeros(len(dataset), np.uint8)}) if frames is None else frames
    names = np.full(len(dataset), "", object)
    model = model or fit_quick_model(dataset, copies)
    return SimpleNamespace(dataset=dataset, copies=copies, frames=frames, model=model, set_names=names)


def find(name: str, seen: SimpleNamespace) -> pd.DataFrame:
    return CHECKS.get(name).find(seen)


def coins(samples: int, *chances: float, seed: int = 0) -> np.ndarray:
    return (RNG(seed).random((samples, len(chances))) < chances).astype(float)


def test_prevalence_and_imbalance_by_split() -> None:
    labels = np.array([[1.0, 0], [1, np.nan], [0, 0], [np.nan, 0]])
    table = prevalence_table(made(labels, ["train", "train", "train", "val"])).set_index(["label", "split"])
    first = table.loc[("a", "all")]
    assert (first["samples"], first["positive"], first["negative"], first["unknown"]) == (4, 2, 1, 1)
    assert first["prevalence"] == pytest.approx(2 / 3)
    assert first["imbalance"] == 2
    assert np.isnan(table.loc[("a", "val"), "prevalence"])
    assert np.isnan(table.loc[("a", "val"), "imbalance"])
    assert table.loc[("b", "all"), "imbalance"] == np.inf


@pytest.mark.parametrize(("successes", "trials", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)])
def test_wilson_interval(successes: float, trials: float, low: float, high: float) -> None:
    assert np.allclose(np.ravel(wilson_interval(np.array([successes]), np.array([trials]))), [low, high], atol=1e-4)


def test_holm() -> None:
    assert np.allclose(holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06], equal_nan=True)


def test_pairs_agree_with_counting_and_scipy() -> None:
    labels = coins(300, 0.5, 0.3, 0.02)
    labels[RNG(1).random(labels.shape) < 0.1] = np.nan
    table = pair_table(made(labels))
    assert len(table) == 6
    for row in table.itertuples():
        one, other = labels[:, "abc".index(row.a)], labels[:, "abc".index(row.b)]
        known = ~np.isnan(one) & ~np.isnan(other)
        cells = pd.crosstab(one[known], other[known]).to_numpy()
        assert row.samples == known.sum()
        assert row.together == cells[1, 1]
        assert row.p_b_given_a == pytest.approx(cells[1, 1] / cells[1].sum())
        assert row.lift == pytest.approx(cells[1, 1] * cells.sum() / cells[1].sum() / cells[:, 1].sum())
        chi = chi2_contingency(cells, correction=False)
        wanted = chi.pvalue if chi.expected_freq.min() >= 5 else fisher_exact(cells).pvalue
        assert row.p_value == pytest.approx(wanted)
    assert set(table["relation"]) == {""}


def test_implication_and_exclusion_are_found_with_what_breaks_them() -> None:
    labels = coins(1000, 0.5, 0.4, 0.3)
    labels[labels[:, 0] == 0, 1] = 0  # b implies a
    labels[labels[:, 1] == 1, 2] = 0  # c excludes b
    broken = np.flatnonzero(labels.sum(axis=1) == 0)[:2]
    labels[broken, 1] = 1
    dataset = made(labels)
    table = pair_table(dataset).set_index(["a", "b"])
    assert table.loc[("b", "a"), ["relation", "broken"]].tolist() == ["implies", 2]
    assert table.loc[("b", "c"), ["relation", "broken"]].tolist() == ["excludes", 0]
    assert table.loc[("a", "b"), "relation"] == ""
    seen = survey(dataset, model=UNUSED)
    relations = find("label_relation", seen)
    assert relations["label"].tolist() == ["b", "b"]
    odd = find("rare_combination", seen)
    assert odd["id"].tolist() == [f"{number}.png" for number in broken]
    assert odd["evidence"].str.contains("b without a: 2 of").all()


def test_classes_are_named_once() -> None:
    labels = np.eye(5)[RNG(0).integers(0, 5, 400)]
    assert find("label_relation", survey(made(labels), model=UNUSED))["evidence"].str.contains(
        "exactly one label"
    ).tolist() == [True]


def test_combinations_and_the_one_seen_once() -> None:
    labels = np.repeat([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]], [200, 100, 50], axis=0)
    labels = np.vstack([labels, [[0, 0, 1], [np.nan, 1, 1]]])
    table = combination_table(made(labels))
    assert table["combination"].tolist() == ["none", "a", "a + b", "c"]
    assert table["samples"].tolist() == [200, 100, 50, 1]
    assert table["share"].sum() == pytest.approx(1)
    assert find("rare_combination", survey(made(labels), model=UNUSED))["id"].tolist() == ["350.png"]


def test_shift_is_found_where_it_was_planted() -> None:
    labels = np.vstack([coins(2000, 0.3, 0.3), coins(1000, 0.45, 0.3, seed=1)])
    dataset = made(labels, np.repeat(["train", "val"], [2000, 1000]))
    found = find("prevalence_shift", survey(dataset, model=UNUSED))
    assert found["label"].tolist() == ["a"]
    row = shift_table(dataset).iloc[0]
    yes, base = labels[2000:, 0].sum(), labels[:2000, 0].sum()
    cells = [[yes, base], [1000 - yes, 2000 - base]]
    statistic = chi2_contingency(cells, correction=False).statistic
    assert row["design_effect"] == 1
    assert row["p_value"] == pytest.approx(chi2.sf(statistic, 1))
    assert row["difference"] == pytest.approx(yes / 1000 - base / 2000)


def test_patients_make_shifts_less_sure() -> None:
    labels = coins(60, 0.5).repeat(20, axis=0)  # 20 like samples a patient
    splits = np.repeat(["train", "val"], [800, 400])
    alone = shift_table(made(labels, splits)).iloc[0]
    grouped = shift_table(made(labels, splits, [f"p{number // 20}" for number in range(1200)])).iloc[0]
    assert alone["design_effect"] == 1
    assert grouped["design_effect"] == pytest.approx(20, rel=0.2)
    assert grouped["p_value"] > alone["p_value"]


def test_shift_false_alarms_are_controlled() -> None:
    alarms = 0
    for seed in range(60):
        labels = coins(100, 0.5, 0.2, seed=seed).repeat(5, axis=0)
        groups = [f"p{number // 5}" for number in range(500)]
        table = shift_table(made(labels, np.repeat(["train", "val"], [300, 200]), groups))
        alarms += bool((table["p_adjusted"] < 0.05).any())
    assert alarms <= 8


def test_unknown_and_imbalanced_labels_are_reported() -> None:
    labels = np.column_stack([np.arange(400) % 50 == 0, np.full(400, np.nan), np.arange(400) % 2]).astype(float)
    labels[300:, 2] = 1
    seen = survey(made(labels, np.repeat(["train", "val"], [300, 100])), model=UNUSED)
    unknown = find("unknown_labels", seen)
    assert unknown["label"].tolist() == ["b"]
    assert unknown["evidence"].tolist() == ["400 of 400 unknown: train 300, val 100"]
    rare = find("imbalance", seen).set_index("label")["evidence"]
    assert rare["a"] == "8 positive of 400 known (2.0%)"
    assert rare["c"].endswith("; only one answer in val")
    assert "b" not in rare.index


def test_area_is_the_mann_whitney_statistic_with_ties() -> None:
    positive = RNG(0).random(500) < 0.3
    values = np.round(RNG(1).normal(positive * 0.8, 1), 1)
    score = auc_interval(values, positive)
    assert score.value == pytest.approx(
        mannwhitneyu(values[positive], values[~positive]).statistic / positive.sum() / (~positive).sum()
    )
    units = np.arange(500)
    assert np.allclose(auc_interval(values, positive, units), score, atol=0.003)


def test_interval_covers_also_with_patients() -> None:
    """True area of two normals one standard deviation apart: 0.760."""
    plain = grouped = 0
    for seed in range(200):
        rng = RNG(seed)
        positive = (rng.random(40) < 0.5).repeat(5)
        values = rng.normal(0, 0.95, 40).repeat(5) + rng.normal(0, np.sqrt(1 - 0.95**2), 200) + positive
        units = np.arange(40).repeat(5)
        for with_units in (False, True):
            score = auc_interval(values, positive, units if with_units else None)
            covers = score.low <= 0.760 <= score.high
            grouped += covers and with_units
            plain += covers and not with_units
    assert grouped >= 180
    assert plain < 160


def test_perfect_order_of_a_few_is_not_certain() -> None:
    score = auc_interval(np.arange(8.0), np.arange(8) >= 5)
    assert score.value == score.high == 1
    assert 0.3 < score.low < 0.7
    assert np.isnan(auc_interval(np.arange(3.0), np.ones(3, bool)).value)


def test_planted_shortcuts_are_found_and_no_others() -> None:
    labels = coins(800, 0.5, 0.2)
    dataset = made(labels)
    dataset.samples["mode"] = np.where((labels[:, 1] == 1) & (RNG(3).random(800) < 0.9), "rgb8", "grey8")
    frames = pd.DataFrame(
        {
            "constant": np.zeros(800, np.uint8),
            "mean": RNG(1).normal(-2 * labels[:, 0], 1),
            "contrast": RNG(2).normal(0, 1, 800),
            "border": np.where(RNG(4).random(800) < 0.1, np.nan, RNG(5).random(800)),
        }
    )
    table = shortcut_table(dataset, frames)
    assert tuple(table.columns) == SHORTCUT_COLUMNS
    assert set(table["property"]) == {"mean", "contrast", "border", "mode=grey8"}
    assert table[table["property"] == "border"]["samples"].max() < 800
    found = find("shortcut", survey(dataset, frames, UNUSED))
    assert found["label"].tolist() == ["b", "a"]
    assert "mode=grey8 alone" in found["evidence"][0]
    assert "mean alone" in found["evidence"][1]
    assert "lower" in found["evidence"][1]


def test_many_useless_properties_are_no_shortcut() -> None:
    frames = pd.DataFrame(RNG(0).normal(size=(40, 200)), columns=[f"p{number}" for number in range(200)])
    table = shortcut_table(made(coins(40, 0.5)), frames)
    assert (table["low"] > 0.6).any()  # one at a time, some seem to be
    assert (table["certain_low"] <= 0.6).all()


def flipped_model(samples: int, low: float) -> tuple[Dataset, QuickModel, np.ndarray]:
    truth = coins(samples, 0.4)
    score = np.clip(0.02 + 0.96 * truth, 0, 1).astype(np.float32)
    flipped = np.arange(0, samples, 100)
    given = truth.copy()
    given[flipped] = 1 - given[flipped]
    auc = {"a": Score(max(low, 0.5), low, 1.0)}
    return made(given), QuickModel(score, auc, np.zeros(samples, np.int64), samples), flipped


def test_label_errors_are_the_flipped_ones() -> None:
    dataset, model, flipped = flipped_model(1000, 0.95)
    found = find("label_error", survey(dataset, model=model))
    assert sorted(found["id"]) == sorted(f"{number}.png" for number in flipped)
    assert found["score"].to_numpy() == pytest.approx(0.98, abs=1e-3)
    assert found["evidence"].str.match(r"labelled [01], quick model says 0\.(02|98)").all()


def test_label_errors_need_a_model_that_can_tell_and_leave_other_checks_their_own() -> None:
    dataset, model, flipped = flipped_model(1000, 0.6)
    assert not len(find("label_error", survey(dataset, model=model)))
    dataset, model, flipped = flipped_model(1000, 0.95)
    frames = pd.DataFrame({"constant": np.isin(np.arange(1000), flipped[:3]).astype(np.uint8)})
    seen = survey(dataset, frames, model)
    other = np.flatnonzero(dataset.labels[:, 0] != dataset.labels[flipped[3], 0])[0]
    of = np.full(1000, -1, np.int64)
    of[[flipped[3], other]] = 0
    seen.copies = DuplicateSets(of)
    assert f"{flipped[3]}.png" not in set(found := find("label_error", seen)["id"])
    assert len(found) == len(flipped) - 4


def test_clean_labels_raise_no_suspicion() -> None:
    truth = coins(2000, 0.4)
    score = np.clip(RNG(1).normal(0.1 + 0.8 * truth, 0.1), 0.001, 0.999).astype(np.float32)
    model = QuickModel(score, {"a": Score(0.99, 0.98, 1.0)}, np.zeros(2000, np.int64), 2000)
    assert not len(find("label_error", survey(made(truth), model=model)))


DEGENERATE = {
    "one": lambda: made(np.array([[1.0, 0]])),
    "no labels": lambda: made(np.zeros((30, 0))),
    "all unknown": lambda: made(np.full((30, 2), np.nan)),
    "constant": lambda: made(np.ones((30, 2))),
    "one a split": lambda: made(coins(30, 0.5, 0.5), ["train"] * 28 + ["val", "test"]),
    "blank groups": lambda: made(coins(30, 0.5, 0.5), groups=["p1", "", "p1"] * 10),
    "empty": lambda: made(np.zeros((0, 2))),
    "some": lambda: made(np.where(coins(60, 0.9, 0.9, seed=3) == 1, coins(60, 0.5, 0.1), np.nan)),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_datasets_have_tables_and_issues(case: str) -> None:
    dataset = DEGENERATE[case]()
    frames = pd.DataFrame({"constant": np.zeros(len(dataset), np.uint8), "mean": np.full(len(dataset), 3.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for table in (prevalence_table, pair_table, combination_table, shift_table):
            assert len(table(dataset).columns) >= 6
        assert tuple(shortcut_table(dataset, frames).columns) == SHORTCUT_COLUMNS
        seen = survey(dataset, frames)
        for name in CHECKED:
            found = find(name, seen).assign(check=name)[list(ISSUE_COLUMNS)]
            assert found["score"].between(0, 1).all()


def test_the_checks_are_there() -> None:
    wanted = {"unknown_labels", "imbalance", "label_relation", "rare_combination", "prevalence_shift", "label_error"}
    assert set(CHECKED) >= wanted | {"shortcut"}


@pytest.mark.parametrize("prevalence", [0.3, 0.05, 0.01])
def test_rare_positives_are_not_suspected_for_being_rare(prevalence):
    """Right labels of a rare finding: a calibrated model gives most positives a low probability."""
    rng = np.random.default_rng(0)
    answers = (rng.random(20_000) < prevalence).astype(np.int64)
    evidence = rng.normal(1.5 * answers)
    odds = prevalence / (1 - prevalence) * np.exp(1.5 * evidence - 1.5**2 / 2)
    probability = (odds / (1 + odds)).astype(np.float32)
    suspect = suspects(answers, probability)
    assert suspect[answers == 1].mean() <= 0.02
    assert suspect[answers == 0].mean() <= 0.02
