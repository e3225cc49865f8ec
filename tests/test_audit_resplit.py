"""New splits that no copy and no group crosses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_dataset
from test_audit_leaks import make_dataset

from medwb.audit.certificate import certify
from medwb.audit.leaks import find_leaks
from medwb.audit.resplit import balance_table, resplit
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import Dataset
from medwb.errors import RequestError

pytestmark = pytest.mark.filterwarnings("error")


def pairs(dataset: Dataset, a, b) -> DuplicateSets:
    return DuplicateSets.from_pairs(len(dataset), np.array(a, np.int64), np.array(b, np.int64))


def linked(one: Dataset, other: Dataset) -> bool:
    return (one.path / "images.npy").samefile(other.path / "images.npy")


def test_units_stay_whole_and_labels_are_balanced(home):
    dataset = write_dataset("before", 900, seed=3)
    copies = pairs(dataset, [0, 3, 100], [700, 500, 899])  # copies across splits and patients
    after = resplit(dataset, copies, "after", (0.6, 0.2, 0.2), seed=1)
    assert find_leaks(after, copies).clean
    assert not find_leaks(dataset, copies).clean
    assert certify(after).clean
    assert linked(dataset, after)
    assert after.samples["id"].tolist() == dataset.samples["id"].tolist()
    table = balance_table(dataset, after)
    assert np.allclose(table["wanted"], table["achieved"], atol=0.01)
    assert table[table["label"] == ""]["count"].sum() == 900
    made = json.loads((after.path / "dataset.json").read_text())["splits"]
    assert made["from"] == {"dataset": "before", "fingerprint": dataset.fingerprint}
    assert (made["seed"], made["drawn"], made["kept"], made["left_out"]) == (1, ["train", "val", "test"], [], 0)


@pytest.mark.parametrize("seed", range(3))
def test_large_units_with_many_labels_are_balanced(home, seed):
    """Twenty samples a patient, and no patient without a label."""
    dataset = write_dataset("before", 2400, side=8, seed=seed)
    samples = dataset.samples.assign(group=[f"p{number // 20}" for number in range(2400)])
    table = balance_table(
        dataset, resplit(replace(dataset, samples=samples), pairs(dataset, [], []), "new", seed=seed)
    )
    assert np.allclose(table["wanted"], table["achieved"], atol=0.012)


def test_reproducible_by_seed(home):
    dataset = write_dataset("before", 300)
    none = pairs(dataset, [], [])
    one, two, other = (resplit(dataset, none, f"new{n}", seed=seed) for n, seed in enumerate((1, 1, 2)))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_a_test_split_without_labels_is_kept_and_what_is_tied_to_it_leaves(home):
    labels = np.array([0, 1] * 6, float)
    labels[10:] = np.nan
    groups = ["p", "p", *[""] * 8, "p", ""]
    dataset = make_dataset("abcdefghijkd", "ttttttttvvee", labels, groups)
    copies = exact_sets(dataset)
    after = resplit(dataset, copies, "after")
    assert set(dataset.samples["id"]) - set(after.samples["id"]) == {"000.png", "001.png", "003.png"}
    assert after.samples.query("split == 'test'")["id"].tolist() == ["010.png", "011.png"]
    assert certify(after).clean
    assert not linked(dataset, after)
    row = dict(zip(after.samples["id"], after.rows, strict=True))
    assert np.array_equal(after.images[row["011.png"]], dataset.images[11])
    made = json.loads((after.path / "dataset.json").read_text())["splits"]
    assert (made["kept"], made["left_out"]) == (["test"], 3)
    table = balance_table(dataset, after).set_index(["split", "label"])
    assert np.isnan(table.loc[("test", ""), "wanted"])


def test_a_labelled_test_split_is_kept_when_asked(home):
    dataset = make_dataset("abcdefgh", "ttttvvee", [0, 1] * 4)
    kept = resplit(dataset, exact_sets(dataset), "kept", keep_test=True)
    assert kept.samples.query("split == 'test'")["id"].tolist() == ["006.png", "007.png"]
    with pytest.raises(RequestError, match="has no test split to keep"):
        resplit(make_dataset("ab", "tv", name="two"), DuplicateSets(np.array([-1, -1])), "x", keep_test=True)


def test_constant_frames_are_spread_but_follow_their_group(home):
    pictures = "." * 40 + "abcdefghijklmnopqrst"
    groups = ["p", "p", "p"] + [""] * 57
    dataset = make_dataset(pictures, "t" * 40 + "v" * 20, np.arange(60) % 2, groups)
    after = resplit(dataset, exact_sets(dataset), "after", (0.5, 0.25, 0.25))
    black = after.samples.iloc[:40]
    assert set(black["split"]) == {"train", "val", "test"}
    assert black["split"].iloc[:3].nunique() == 1
    certificate = certify(after)
    assert certificate.clean
    assert certificate.leaks["constant_sets"] == 1


def test_a_picture_near_a_black_frame_ties(home):
    dataset = make_dataset("." * 10 + "abcdefghij", "t" * 20, np.arange(20) % 2)
    copies = exact_sets(dataset).joined(pairs(dataset, [0], [10]))
    after = resplit(dataset, copies, "after")
    assert after.samples["split"].iloc[:11].nunique() == 1


@pytest.mark.parametrize(
    ("pictures", "splits", "labels"),
    [
        ("a", "t", None),
        ("....", "tttt", None),
        ("aaaa", "ttve", [0, 1, 0, 1]),
        ("abcd", "ttvv", np.zeros((4, 0))),
        ("abcd", "ttve", np.full((4, 2), np.nan)),
    ],
    ids=["one", "all-black", "all-alike", "no-labels", "unknown"],
)
def test_degenerate_datasets(home, pictures, splits, labels):
    dataset = make_dataset(pictures, splits, labels)
    after = resplit(dataset, exact_sets(dataset), "after", keep_test=False)
    assert len(after) == len(dataset)
    assert certify(after).clean
    assert len(balance_table(dataset, after)) >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fractions": (0.5, 0.5)}, "fractions 0.5,0.5 are not three shares"),
        ({"fractions": (0, 0.5, 0.5)}, "are not three shares"),
        ({"fractions": (0.5, 0.5, 0.5)}, "are not three shares"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "are not three shares"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"name": "made"}, "dataset 'made' exists"),
        ({"name": "../x"}, "is not allowed"),
    ],
)
def test_bad_requests_are_named(home, settings, message):
    dataset = make_dataset("abcd", "ttve", [0, 1, 0, 1])
    with pytest.raises(RequestError, match=message):
        resplit(dataset, exact_sets(dataset), **{"name": "after", **settings})


def test_nothing_but_a_kept_test_split(home):
    dataset = make_dataset("ab", "ee", [np.nan, np.nan])
    with pytest.raises(RequestError, match="no sample outside of its test split"):
        resplit(dataset, exact_sets(dataset), "after")
