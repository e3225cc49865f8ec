import numpy as np
import pytest
from conftest import write_dataset

from medwb.audit.contradictions import (
    black_sets,
    chosen_sets,
    contradicted,
    contradictory_samples,
    count_votes,
    expected_labels,
    vote_table,
)
from medwb.audit.sets import DuplicateSets, exact_sets

NAN = np.nan
LABELS = np.array(
    [[1, 0, NAN], [0, 0, NAN], [1, NAN, NAN], [1, 1, 1], [1, 1, 0], [0, 0, 1], [1, NAN, 0], [1, 0, 0]], np.float32
)
SETS = DuplicateSets(np.array([0, 0, 0, 1, 1, -1, -1, 0]))


def test_votes_by_hand():
    positive, negative = count_votes(LABELS, SETS)
    assert positive.tolist() == [[3, 0, 0], [2, 2, 1]]
    assert negative.tolist() == [[1, 3, 1], [0, 0, 1]]
    assert contradicted(LABELS, SETS).tolist() == [[True, False, False], [False, False, True]]
    assert expected_labels(LABELS, SETS).tolist() == [[0.75, 0, 0], [1, 1, 0.5]]
    assert expected_labels(LABELS, SETS).dtype == np.float32
    assert contradictory_samples(LABELS, SETS).tolist() == [True] * 5 + [False, False, True]


def test_a_label_that_nobody_knows_has_no_share_and_no_contradiction():
    unknown = np.full((4, 2), NAN, np.float32)
    sets = DuplicateSets(np.array([0, 0, -1, -1]))
    assert np.isnan(expected_labels(unknown, sets)).all()
    assert not contradicted(unknown, sets).any()
    assert not contradictory_samples(unknown, sets).any()


@pytest.mark.parametrize("seed", range(5))
def test_votes_agree_with_a_walk_over_the_sets(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.float32([0, 1, NAN]), (200, 4))
    sets = DuplicateSets.from_keys(rng.integers(0, 60, 200))
    positive, negative = count_votes(labels, sets)
    for number, members in enumerate(sets.members()):
        assert positive[number].tolist() == (labels[members] == 1).sum(0).tolist()
        assert negative[number].tolist() == (labels[members] == 0).sum(0).tolist()


def test_the_vote_table_has_a_row_a_set_and_label(tiny):
    of = np.full(len(tiny), -1)
    of[[3, 100, 200]], of[[7, 8]] = 0, 1
    labels = tiny.samples
    labels.loc[[3, 100, 200], "edema"] = [1, 0, 1]
    labels.loc[[3, 100, 200], "mass"] = [0, NAN, 0]
    labels.loc[[7, 8], "edema"] = [1, 0]
    table = vote_table(tiny, DuplicateSets(of))
    assert list(table["set"]) == ["set-0"] * 3 + ["set-1"] * 3
    assert list(table["label"]) == list(tiny.label_names) * 2
    first = table.iloc[0]
    assert first[["samples", "positive", "negative", "unknown", "against"]].tolist() == [3, 2, 1, 0, 1]
    assert first["contradicts"]
    assert first["share"] == pytest.approx(2 / 3)
    assert table.iloc[1][["positive", "negative", "unknown", "share"]].tolist() == [0, 2, 1, 0]
    assert not table["contradicts"].iloc[1]
    assert table["against"].iloc[3] == 1
    assert (table["positive"] + table["negative"] + table["unknown"] == table["samples"]).all()


@pytest.mark.parametrize("of", [[-1] * 8, [], [0] * 8])
@pytest.mark.parametrize("label_count", [0, 3])
def test_nothing_to_count_is_no_trouble(of, label_count):
    labels = LABELS[: len(of), :label_count]
    sets = DuplicateSets(np.array(of, np.int64))
    assert contradicted(labels, sets).shape == expected_labels(labels, sets).shape == (len(sets), label_count)
    assert contradictory_samples(labels, sets).shape == (len(of),)


def test_the_vote_table_of_a_dataset_without_sets_or_labels_is_empty(tiny):
    alone = DuplicateSets(np.full(len(tiny), -1))
    assert vote_table(tiny, alone).empty
    assert "share" in vote_table(tiny, alone)


def test_chosen_sets_are_numbered_anew():
    sets = DuplicateSets(np.array([0, 1, 0, 2, 1, -1, 2]))
    assert chosen_sets(sets, [True, False, True]).of.tolist() == [0, -1, 0, 1, -1, -1, 1]
    assert len(chosen_sets(sets, [False] * 3)) == 0
    assert len(chosen_sets(DuplicateSets(np.array([-1, -1])), [])) == 0


def test_black_sets_are_told_from_other_copies(home, monkeypatch):
    monkeypatch.setattr("medwb.audit.contradictions._BLOCK", 2)
    made = write_dataset()
    images = np.lib.format.open_memmap(made.path / "images.npy", mode="r+")
    images[[0, 9, 17]] = images[0]
    images[[4, 5]] = 0
    images[[20, 30]] = 255
    images[[40, 41]] = 0
    images[[40, 41], 15, 15] = 1
    sets = exact_sets(made)
    assert black_sets(made, sets).tolist() == [False, True, False, False]
    part = made.subset(np.arange(len(made)) >= 4)
    assert black_sets(part, exact_sets(part)).tolist() == [True, False, False, False]
    assert black_sets(made, DuplicateSets(np.full(len(made), -1))).shape == (0,)
