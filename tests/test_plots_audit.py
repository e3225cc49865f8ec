"""Figures of an audit and the tables that they are drawn from."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medwb import plots
from medwb.audit import CHECKS, ISSUE_COLUMNS, Audit
from medwb.audit.label_facts import prevalence_table
from medwb.audit.leaks import find_leaks
from medwb.audit.shortcuts import SHORTCUT_COLUMNS
from medwb.dataset import Dataset

NAN = float("nan")
SPLITS = ["train", "train", "train", "val", "val", "test", "test", "test"]
LABELS = [[1, 0], [0, 0], [1, 0], [1, 1], [1, 1], [0, NAN], [0, 1], [1, NAN]]
PAIR_COLUMNS = ["a", "b", "distance", "similarity", "copy"]


def dataset(names: tuple[str, ...] = ("a", "b"), labels: list[list[float]] = LABELS) -> Dataset:
    values = np.array(labels, np.float32).reshape(len(labels), len(names))
    samples = pd.DataFrame({"id": [f"{row}.png" for row in range(len(values))], "split": SPLITS[: len(values)]})
    samples = samples.assign(group="", **{name: values[:, index] for index, name in enumerate(names)})
    images = np.arange(len(values) * 16, dtype=np.uint8).reshape(len(values), 4, 4, 1)
    images[:3] = 0
    return Dataset("tiny", names, samples, images, "0" * 16, "test", "test")


def audit(data: Dataset, sets: bool = True) -> Audit:
    """Black frames 0, 1, 2 are set-0 and have the same pixels; 3 (val) and 6 (test) are set-1 and are near copies."""
    groups = pd.DataFrame(
        {
            "id": ["0.png", "1.png", "2.png", "3.png", "6.png"],
            "set": ["set-0"] * 3 + ["set-1"] * 2,
            "exact": ["exact-0"] * 3 + [""] * 2,
            "representative": [True, False, False, True, False],
        }
    )
    issues = pd.DataFrame(
        [
            ("black", "0.png", "", 1.0, "set-0", "0 everywhere"),
            ("black", "1.png", "", 1.0, "set-0", "0 everywhere"),
            ("shortcut", "", data.label_names[0] if data.label_names else "", 0.5, "", "mean"),
            ("split_missing", "", "", 1.0, "", "no train"),
            ("label_error", "3.png", "a", 0.9, "", "labelled 1"),
            ("label_error", "6.png", "a", 0.97, "", "labelled 0"),
        ],
        columns=list(ISSUE_COLUMNS),
    )
    pairs = pd.DataFrame(
        [
            ("3.png", "6.png", 0.1, 0.99, True),
            ("3.png", "4.png", 0.2, 0.7, False),
            ("5.png", "7.png", 0.3, 0.8, False),
        ],
        columns=PAIR_COLUMNS,
    )
    if not sets:
        groups, issues, pairs = groups[:0], issues[:0], pairs[:0]
    return Audit(data, issues, groups, pairs, pd.DataFrame({"id": data.samples["id"]}), {})


@pytest.fixture
def found() -> Audit:
    return audit(dataset())


def test_the_check_table_counts_samples_labels_or_the_dataset(found):
    table = plots.check_table(found).set_index("check")
    assert set(table.index) == set(CHECKS.names())
    assert table["area"].tolist() == sorted(table["area"], key=["images", "copies", "splits", "labels"].index)
    assert table.loc["black", ["issues", "affected", "unit", "share"]].tolist() == [2, 2, "samples", 0.25]
    assert table.loc["shortcut", ["affected", "unit", "share"]].tolist() == [1, "labels", 0.5]
    assert table.loc["split_missing", "unit"] == "dataset"
    assert np.isnan(table.loc["split_missing", "share"])
    assert table.loc["exact_copy", ["issues", "share"]].tolist() == [0, 0]


def test_the_set_table(found):
    table = plots.set_table(found)
    assert table["samples"].tolist() == [3, 2]
    assert table["pictures"].tolist() == [1, 2]
    assert table["contradicts"].tolist() == [True, True]
    assert table["disputed"].tolist() == ["a", "a"]
    assert table["against"].tolist() == [1, 1]
    assert table["leaks"].tolist() == [False, True]
    assert table[["train", "val", "test"]].to_numpy().tolist() == [[3, 0, 0], [0, 1, 1]]


def test_members_of_a_set_begin_with_one_of_each_answer(found):
    assert plots.set_members(found, 0).tolist() == [0, 1, 2]
    assert plots.set_members(found, 0, limit=2).tolist() == [0, 1]
    twins = audit(dataset(labels=[[1, 0], [1, 0], [0, 0], *LABELS[3:]]))
    assert plots.set_members(twins, 0).tolist() == [0, 2, 1]


def test_candidates_agree_where_all_that_both_know_is_the_same(found):
    table = plots.candidate_table(found)
    assert table["distance"].is_monotonic_increasing
    assert table["agree"].tolist() == [0, 1, 0]
    assert table[["position_a", "position_b"]].to_numpy().tolist() == [[3, 6], [3, 4], [5, 7]]
    unknown = plots.candidate_table(audit(dataset(labels=[[NAN, NAN]] * 8)))
    assert unknown["agree"].isna().all()


def test_the_radius_table_is_cumulative(found):
    table = plots.radius_table(plots.candidate_table(found), 0.3, points=3).set_index(["kind", "radius"])
    assert table.loc["candidates", "pairs"].tolist() == [1, 2, 3]
    assert table.loc["candidates", "agree"].tolist() == pytest.approx([0, 1 / 2, 1 / 3])
    assert table.loc["copies", "pairs"].tolist() == [1, 1, 1]


def test_chance_agreement_is_that_of_the_labels():
    half = dataset(("a",), [[0], [1]] * 4)
    assert plots.chance_agreement(half) == pytest.approx(3 / 7, abs=0.02)
    assert np.isnan(plots.chance_agreement(dataset(labels=[[NAN, NAN]] * 8)))
    assert np.isnan(plots.chance_agreement(dataset(labels=LABELS[:1])))


def test_contradictions_are_ordered_by_what_must_be_wrong(found):
    votes = plots.contradiction_table(found)
    assert votes["set"].tolist() == ["set-0", "set-1"]
    assert votes["share"].tolist() == pytest.approx([2 / 3, 1 / 2])
    assert votes["contradicts"].all()


def test_the_ceiling_table_holds_what_the_black_frames_cost(found):
    table = plots.ceiling_table(found).set_index(["split", "score"])
    train = table.loc[("train", "f1:a")]
    assert train["ceiling"] == train["black"] == pytest.approx(0.8)  # of three alike two are positive
    assert table.loc[("val", "macro_f1"), "ceiling"] == 1
    assert set(table.loc["train"].index) >= {"macro_f1", "weighted_f1", "accuracy", "average_precision", "roc_auc"}


def test_suspects_are_given_the_probability_of_yes(found):
    table = plots.suspect_table(found)
    assert table["id"].tolist() == ["6.png", "3.png"]
    assert table["given"].tolist() == [0, 1]
    assert table["probability"].tolist() == pytest.approx([0.97, 0.1])


def test_radius_curves_mark_the_radius_and_chance(found):
    table = plots.radius_table(plots.candidate_table(found), 0.3, points=3)
    figure = plots.radius_curves(table, at=0.2, chance=0.25)
    assert [list(line.y) for line in figure.data if line.showlegend] == [[1, 2, 3], [1, 1, 1]]
    assert sum(shape.type == "line" for shape in figure.layout.shapes) == 3
    assert any("at random" in note.text for note in figure.layout.annotations)


def test_vote_bars_add_up_and_meet_at_the_expected_label(found):
    figure = plots.vote_bars(plots.contradiction_table(found))
    positive, negative = figure.data
    assert np.asarray(positive.x) + np.asarray(negative.x) == pytest.approx(100)
    assert positive.x[-1] == pytest.approx(200 / 3)  # the first set on top
    assert list(positive.text) == ["1", "2"]


def test_the_leak_matrix_is_a_share_of_the_row(found):
    data = found.dataset
    leaks = find_leaks(data, found.copies)
    figure = plots.leak_matrix(leaks.matrix("copies"), data.samples["split"].value_counts())
    assert np.isnan(figure.data[0].z[0][0])
    assert figure.data[0].z[1][2] == pytest.approx(50)  # one of two val samples
    assert figure.data[0].text[1][2] == "1<br>50.0 %"


def test_ceiling_bars_reach_up_to_one(found):
    table = plots.ceiling_table(found)
    figure = plots.ceiling_bars(table)
    full, hatched = figure.data[:2]
    assert np.asarray(full.y) + np.asarray(hatched.y) == pytest.approx(np.array([1, NAN, 1]), nan_ok=True)
    assert full.name == "train"
    lines = [trace for trace in plots.ceiling_bars(table, black=True).data if trace.legendgroup == "black"]
    assert [trace.showlegend for trace in lines] == [True, False, False]


def test_prevalence_dots_have_intervals(found):
    figure = plots.prevalence_dots(prevalence_table(found.dataset))
    assert [trace.name for trace in figure.data] == ["train", "val", "test"]
    assert figure.data[0].x[0] == pytest.approx(200 / 3)
    assert min(figure.data[0].error_x.array) > 0


def shortcuts(property: str = "mean", label: str = "a") -> pd.DataFrame:
    return pd.DataFrame([(label, property, 0.8, 0.7, 0.9, 0.6, "lower", 8, 4)], columns=list(SHORTCUT_COLUMNS))


def test_shortcut_dots_point_in_their_direction():
    figure = plots.shortcut_dots(shortcuts(), ("a", "b"))
    assert figure.data[0].marker.symbol == ("triangle-down",)
    assert list(figure.data[0].error_x.array) == pytest.approx([0.1])


def test_before_and_after_are_joined():
    table = pd.DataFrame({"label": ["a"], "split": ["train"], "before": [0.25], "after": [0.5]})
    line, before, after = plots.before_after(table, "label", unit="Positives, %", scale=100).data
    assert list(line.x[:2]) == [25, 50]
    assert (before.marker.symbol, before.x[0], after.x[0]) == ("circle-open", 25, 50)


def test_nothing_found_is_said():
    nothing = audit(dataset(), sets=False)
    one_split = pd.Series({"train": 8})
    assert plots.set_table(nothing).empty
    for figure in (
        plots.radius_curves(plots.radius_table(plots.candidate_table(nothing), 0.3)),
        plots.vote_bars(plots.contradiction_table(nothing)),
        plots.leak_matrix(pd.DataFrame(0, index=["train"], columns=["train"]), one_split),
        plots.ceiling_bars(plots.ceiling_table(audit(dataset(labels=[[NAN, NAN]] * 8)))),
        plots.prevalence_dots(prevalence_table(dataset((), [[]] * 8))),
        plots.shortcut_dots(shortcuts()[:0], ()),
        plots.before_after(pd.DataFrame(columns=["label", "split", "before", "after"]), "label", unit="x"),
    ):
        assert not figure.data
        assert len(figure.layout.annotations[0].text) > 10


def test_tables_without_labels_are_empty():
    bare = audit(dataset((), [[]] * 8))
    bare = replace(bare, issues=bare.issues[:2])
    assert plots.contradiction_table(bare).empty
    assert plots.ceiling_table(bare).empty
    assert plots.suspect_table(bare).empty
    assert plots.set_members(bare, 0).tolist() == [0, 1, 2]
    assert plots.set_table(bare)["disputed"].tolist() == ["", ""]


def test_text_of_a_dataset_is_escaped():
    names = ("<b>a</b>", "<a href='javascript:1'>b</a>")
    hostile = audit(dataset(names))
    table = pd.DataFrame({"label": names, "split": "train", "before": 0.2, "after": 0.4})
    for figure in (
        plots.vote_bars(plots.contradiction_table(hostile)),
        plots.ceiling_bars(plots.ceiling_table(hostile), black=True),
        plots.prevalence_dots(prevalence_table(hostile.dataset)),
        plots.shortcut_dots(shortcuts("<i>p</i>", names[0]), names),
        plots.before_after(table, "label", unit="x"),
    ):
        found = set(re.findall(r"</?\w+", str(figure.to_plotly_json())))
        assert found <= {"<br", "<extra", "</extra"}, found


def test_every_figure_has_axis_titles(found):
    for figure in (
        plots.radius_curves(plots.radius_table(plots.candidate_table(found), 0.3)),
        plots.vote_bars(plots.contradiction_table(found)),
        plots.ceiling_bars(plots.ceiling_table(found)),
        plots.prevalence_dots(prevalence_table(found.dataset)),
        plots.shortcut_dots(shortcuts(), ("a",)),
    ):
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text
