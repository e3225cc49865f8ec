import numpy as np
import pytest

from medwb.errors import RequestError
from medwb.splits import draw_splits, parse_fractions

FRACTIONS = {"train": 0.7, "val": 0.15, "test": 0.15}


def labels_of(samples, prevalence, seed=0):
    return (np.random.default_rng(seed).random((samples, len(prevalence))) < prevalence).astype(np.float32)


def test_every_label_is_balanced():
    labels = labels_of(3000, (0.5, 0.1, 0.01))
    splits = draw_splits(labels, [""] * 3000, FRACTIONS, 0)
    for split, share in FRACTIONS.items():
        member = splits == split
        assert abs(member.mean() - share) < 0.005
        assert np.allclose(labels[member].sum(0) / labels.sum(0), share, atol=0.05)


def test_rare_labels_beat_a_random_draw():
    labels = labels_of(1000, (0.02,) * 6)
    drawn = draw_splits(labels, [""] * 1000, FRACTIONS, 0)
    random = np.random.default_rng(0).permutation(drawn)

    def imbalance(splits):
        return sum(abs(labels[splits == s].sum(0) / labels.sum(0) - share).sum() for s, share in FRACTIONS.items())

    assert imbalance(drawn) < imbalance(random) / 3


def test_groups_stay_whole():
    rng = np.random.default_rng(0)
    groups = np.array([f"p{n}" for n in rng.integers(0, 200, 1000)])
    labels = labels_of(1000, (0.4, 0.1))
    splits = draw_splits(labels, groups, FRACTIONS, 0)
    for group in np.unique(groups):
        assert len(np.unique(splits[groups == group])) == 1
    assert abs((splits == "train").mean() - 0.7) < 0.03
    assert abs(labels[splits == "val", 1].sum() / labels[:, 1].sum() - 0.15) < 0.05


def test_reproducible_by_seed():
    labels = labels_of(500, (0.3, 0.2))
    one, two, other = (draw_splits(labels, [""] * 500, FRACTIONS, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_unknown_labels_and_one_sample():
    assert draw_splits(np.full((1, 2), np.nan, np.float32), [""], FRACTIONS, 0).tolist() == ["train"]


@pytest.mark.parametrize("text", ["0.7", "a,b,c", "0.5,0.5,0.5", "0,0.5,0.5", "1.2,-0.1,-0.1", "0.7,0.3"])
def test_fractions_that_are_none(text):
    with pytest.raises(RequestError, match="three shares that add up to 1"):
        parse_fractions(text)


def test_fractions():
    assert parse_fractions("0.8,0.1,0.1") == (0.8, 0.1, 0.1)
