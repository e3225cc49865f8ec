import itertools
import json
import math

import numpy as np
import pytest

from medwb.audit import ceiling as module
from medwb.audit.ceiling import ceiling, split_ceilings
from medwb.audit.contradictions import black_sets
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import open_dataset
from medwb.metrics import evaluate

NAN = np.nan
SCORES = ("macro_f1", "weighted_f1", "accuracy", "average_precision", "roc_auc")
METRICS = ("f1", "accuracy", "average_precision", "roc_auc")


def weak_orders(items: int):
    """Every ranking of so many items with ties allowed, as levels."""
    for levels in itertools.product(range(items), repeat=items):
        if set(levels) == set(range(max(levels) + 1)):
            yield levels


def brute_force(labels: np.ndarray, sets: DuplicateSets) -> dict[str, np.ndarray]:
    """The best of every function of the image, by trying each with the project's own metrics."""
    units = np.unique(sets.units, return_inverse=True)[1].ravel()
    count = units.max() + 1
    decisions = np.array(list(itertools.product([0.0, 1.0], repeat=count)))
    rankings = np.array(list(weak_orders(count))) / count
    best = {}
    for name, answers in zip(METRICS, (decisions, decisions, rankings, rankings), strict=True):
        scores = [
            evaluate(name, np.repeat(labels[:, [label]], len(answers), axis=1), answers[:, units].T)[0]
            for label in range(labels.shape[1])
        ]
        best[name] = np.array([NAN if np.isnan(score).all() else np.nanmax(score) for score in scores])
    return best


def random_case(seed: int) -> tuple[np.ndarray, DuplicateSets]:
    """Two to five images, most of them several times, with labels of which some are unknown."""
    rng = np.random.default_rng(seed)
    copies = rng.choice([1, 2, 2, 3, 5, 9], rng.integers(2, 6))
    units = rng.permutation(np.repeat(np.arange(len(copies)), copies))
    chance = rng.uniform(0.05, 0.95, (len(copies), 3))
    labels = (rng.random((len(units), 3)) < chance[units]).astype(np.float32)
    labels[rng.random(labels.shape) < rng.choice([0, 0.2, 0.6])] = NAN
    if seed % 4 == 0:
        labels[units == 0] = NAN  # a set of which nothing is known
    return labels, DuplicateSets.from_keys(units)


@pytest.mark.parametrize("seed", range(24))
def test_no_function_of_the_image_beats_the_ceiling_and_one_reaches_it(seed):
    labels, sets = random_case(seed)
    found = ceiling(labels, sets)
    assert found["bound"] == []
    for name, values in brute_force(labels, sets).items():
        np.testing.assert_allclose(found["labels"][name], values, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("seed", range(60))
def test_the_bound_on_average_precision_lies_above_the_best_and_below_one(seed, monkeypatch):
    labels, sets = random_case(seed)
    exact = ceiling(labels, sets)["labels"]["average_precision"]
    monkeypatch.setattr(module, "_STATES", 0)
    found = ceiling(labels, sets)
    bound = found["labels"]["average_precision"]
    assert np.array_equal(np.isnan(exact), np.isnan(bound))
    known = ~np.isnan(exact)
    assert (bound >= exact - 1e-12)[known].all()
    assert (bound <= 1)[known].all()
    if (exact[known] < 1).any():
        assert found["bound"] == ["average_precision"]


def test_the_order_of_the_shares_is_not_always_best_for_average_precision():
    labels = np.repeat([1.0, 1, 0, 1, 0], [30, 50, 50, 2, 3]).astype(np.float32)[:, None]
    sets = DuplicateSets(np.repeat([-1, 0, 1], [30, 100, 5]))  # pure positives, a set of share 0.5 and one of 0.4
    by_share, smaller_first = (np.repeat([1.0, *order], [30, 100, 5])[:, None] for order in ((0.6, 0.4), (0.4, 0.6)))
    worse, best = (evaluate("average_precision", labels, scores)[0, 0] for scores in (by_share, smaller_first))
    assert worse < best == pytest.approx(ceiling(labels, sets)["average_precision"])


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_tight_for_one_large_set_among_many_small_ones(seed):
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.integers(2, 9, 300), [2000]])
    of = np.concatenate([np.full(3000, -1), np.repeat(np.arange(len(sizes)), sizes)])
    labels = (rng.random((len(of), 1)) < 0.4).astype(np.float32)
    found = ceiling(labels, DuplicateSets(of))
    assert found["bound"] == ["average_precision"]
    share = np.append(np.bincount(of[of >= 0], labels[of >= 0, 0]) / sizes, NAN)[of]
    best = 0.0
    for place in np.linspace(-0.01, 1.01, 52):  # the large set moved to every place among the others
        scores = np.where(of < 0, 2 * labels[:, 0], np.where(of == 300, place, share))
        best = max(best, evaluate("average_precision", labels, scores[:, None])[0, 0])
    assert best <= found["average_precision"] < best + 0.004


@pytest.mark.parametrize("black", [6667, 100])
@pytest.mark.parametrize("share", [0.05, 0.23, 0.46, 0.9])
@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_the_competition_s_layout_has_the_value_of_the_formula(black, share, prevalence):
    """Distinct scans and one set of black frames: the only choice is what to call the black ones.

    Calling them: all p positives found and the black negatives wrong. Not calling them: the black positives missed.
    """
    distinct = 5000
    pure, hidden = round(distinct * prevalence), round(black * share)
    labels = np.zeros((distinct + black, 1), np.float32)
    labels[:pure] = 1
    labels[distinct : distinct + hidden] = 1
    found = ceiling(labels, DuplicateSets(np.repeat([-1, 0], [distinct, black])))
    positives = pure + hidden
    called, missed = 2 * positives / (2 * positives + black - hidden), 2 * pure / (2 * pure + hidden)
    assert found["macro_f1"] == pytest.approx(max(called, missed), abs=1e-12)
    assert found["accuracy"] == pytest.approx(1 - min(hidden, black - hidden) / (distinct + black))
    precision = positives / (pure + black)
    assert found["average_precision"] == pytest.approx((pure + hidden * precision) / positives)
    tied = hidden * (black - hidden) / 2
    assert found["roc_auc"] == pytest.approx(1 - tied / (positives * (distinct + black - positives)))
    assert found["bound"] == []


def test_averages_are_those_of_the_project():
    labels, sets = random_case(7)
    labels = np.concatenate([labels, np.zeros((len(labels), 1), np.float32)], axis=1)  # no positive: F1 undefined
    found = ceiling(labels, sets)
    assert np.isnan(found["f1"][3])
    assert found["macro_f1"] == pytest.approx(np.nanmean(found["f1"]))
    positives = (labels == 1).sum(0)
    assert found["weighted_f1"] == pytest.approx((found["f1"][:3] * positives[:3]).sum() / positives.sum())
    assert found["accuracy"] == pytest.approx(np.mean(found["labels"]["accuracy"]))
    assert set(SCORES) <= set(found)


def test_only_the_chosen_sets_cost_anything():
    labels = np.array([1, 0, 1, 0, 1, 1, 0, 0], np.float32)[:, None]
    sets = DuplicateSets(np.array([0, 0, 1, 1, -1, -1, -1, -1]))
    alone = ceiling(labels, sets, among=[True, False])
    assert alone["accuracy"] == 1 - 1 / 8
    assert ceiling(labels, sets)["accuracy"] == 1 - 2 / 8
    assert ceiling(labels, sets, among=[False, False])["macro_f1"] == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("labels", "of", "f1"),
    [
        (np.ones((1, 1)), [-1], 1),
        (np.zeros((3, 2)), [0, 0, 0], NAN),
        (np.full((3, 2), NAN), [0, 0, -1], NAN),
        (np.zeros((3, 0)), [0, 0, -1], NAN),
        (np.zeros((0, 2)), [], NAN),
        (np.array([[1], [0]]), [0, 0], 2 / 3),  # all images identical
    ],
)
def test_degenerate_labels_have_a_ceiling_or_none(labels, of, f1):
    found = ceiling(labels.astype(np.float32), DuplicateSets(np.array(of, np.int64)))
    assert found["macro_f1"] == pytest.approx(f1, nan_ok=True)
    assert set(SCORES) <= set(found)


def test_a_hundred_thousand_sets():
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(100_000), 3)
    labels = (rng.random((300_000, 4)) < 0.4).astype(np.float32)
    found = ceiling(labels, DuplicateSets(of))
    assert 0.4 < found["macro_f1"] < found["average_precision"] + 0.2 < 1.2


def test_a_ceiling_a_split_counts_what_lies_in_it(tiny):
    images = np.lib.format.open_memmap(tiny.path / "images.npy", mode="r+")
    images[[0, 1, 150]] = 0  # two of train, one of val
    images[[151, 152]] = 9
    tiny.samples.loc[[0, 1, 150, 151, 152], list(tiny.label_names)] = 1
    tiny.samples.loc[[0, 1, 150, 151, 152], "edema"] = [1, 0, 1, 1, 0]
    tiny.samples.loc[tiny.samples["split"] == "test", list(tiny.label_names)] = NAN
    exact = exact_sets(tiny)
    found = split_ceilings(tiny, exact)
    assert list(found) == ["train", "val"]
    for name in found:
        assert {*SCORES, "f1", "bound"} == set(found[name])
        assert set(found[name]["f1"]) == set(tiny.label_names)
        assert found[name]["f1"]["edema"] < 1
        assert found[name]["f1"]["mass"] == 1
    json.dumps(found, allow_nan=False)
    black = split_ceilings(tiny, exact, among=black_sets(tiny, exact))
    assert black["train"] == found["train"]
    assert black["val"]["macro_f1"] == 1


def test_no_split_with_known_labels_no_ceiling(tiny):
    tiny.samples[list(tiny.label_names)] = NAN
    assert split_ceilings(tiny, exact_sets(tiny)) == {}


def test_the_black_frames_of_the_demo_cost_what_the_formula_says(home):
    from medwb.demo import write_demo

    write_demo("demo", samples=600)
    demo = open_dataset("demo")
    exact = exact_sets(demo)
    black = black_sets(demo, exact)
    assert black.sum() == 1
    found = split_ceilings(demo, exact, among=black)
    for split, scores in found.items():
        part = demo.split(split)
        dark = ~part.images[part.rows].any(axis=(1, 2, 3))
        for label, column in zip(demo.label_names, part.labels.T, strict=True):
            pure, hidden, wrong = (column[~dark] == 1).sum(), (column[dark] == 1).sum(), (column[dark] == 0).sum()
            called = 2 * (pure + hidden) / (2 * (pure + hidden) + wrong)
            assert scores["f1"][label] == pytest.approx(max(called, 2 * pure / (2 * pure + hidden)))
        assert scores["macro_f1"] >= split_ceilings(demo, exact)[split]["macro_f1"]
        assert not math.isnan(scores["roc_auc"])
