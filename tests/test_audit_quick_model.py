"""The quick model: it learns, it never sees what it judges, and it survives datasets with nothing to learn."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import write_dataset

from medwb.audit.quick_model import FOLDS, fit_quick_model, split_folds
from medwb.audit.sets import LARGE_SET, DuplicateSets, exact_sets
from medwb.dataset import Dataset

pytestmark = pytest.mark.slow  # fits classifiers


def make_dataset(images: np.ndarray, labels: np.ndarray, groups: object = "", splits: object = "train") -> Dataset:
    """A dataset in memory; `labels` is (N, L)."""
    names = tuple(f"label{number}" for number in range(labels.shape[1]))
    samples = pd.DataFrame({"id": [f"{number}.png" for number in range(len(images))]})
    samples = samples.assign(split=splits, group=groups, path=samples["id"], mode="grey8")
    samples = samples.assign(height=images.shape[1], width=images.shape[2])
    for name, column in zip(names, labels.T, strict=True):
        samples[name] = column.astype(np.float32)
    return Dataset("made", names, samples, images, "0" * 16, "csv", "made for a test")


def no_copies(samples: int) -> DuplicateSets:
    return DuplicateSets(np.full(samples, -1, np.int64))


def noise(samples: int, side: int = 16, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (samples, side, side, channels), np.uint8)


def test_learns_what_can_be_seen_and_is_calibrated(home: object) -> None:
    dataset = write_dataset(samples=900)
    model = fit_quick_model(dataset, no_copies(900))
    assert model.scores.shape == (900, 3)
    assert model.scores.dtype == np.float32
    assert model.trained_on == 900
    for label, name in enumerate(dataset.label_names):
        assert model.auc[name].low > 0.95
        assert model.scores[:, label].mean() == pytest.approx(dataset.labels[:, label].mean(), abs=0.02)


def test_finds_flipped_labels(home: object) -> None:
    dataset = write_dataset(samples=900)
    labels = dataset.labels.copy()
    flipped = np.random.default_rng(3).choice(900, 20, replace=False)
    labels[flipped, 0] = 1 - labels[flipped, 0]
    model = fit_quick_model(make_dataset(dataset.images, labels), no_copies(900))
    doubt = np.abs(labels[:, 0] - model.scores[:, 0])
    assert len(np.intersect1d(np.argsort(-doubt)[:30], flipped)) >= 17


def test_noise_is_not_learnt_so_no_sample_sees_itself() -> None:
    images = noise(400)
    labels = np.random.default_rng(1).integers(0, 2, (400, 2)).astype(float)
    model = fit_quick_model(make_dataset(images, labels), no_copies(400))
    for score in model.auc.values():
        assert 0.35 < score.value < 0.65


@pytest.mark.parametrize("tie", ["groups", "copies"])
def test_patients_and_copies_are_not_recognised(tie: str) -> None:
    """Labels are drawn for each picture, so that a model that has seen a sample's copy would know its label."""
    rng = np.random.default_rng(2)
    images, labels = noise(100).repeat(4, axis=0), rng.integers(0, 2, (100, 1)).astype(float).repeat(4, axis=0)
    groups = np.array([f"p{number // 4}" for number in range(400)]) if tie == "groups" else ""
    dataset = make_dataset(images, labels, groups)
    copies = exact_sets(dataset) if tie == "copies" else no_copies(400)
    model = fit_quick_model(dataset, copies)
    assert 0.3 < model.auc["label0"].value < 0.7
    assert (model.fold.reshape(100, 4) == model.fold.reshape(100, 4)[:, :1]).all()
    assert fit_quick_model(make_dataset(images, labels), no_copies(400)).auc["label0"].value > 0.9


def test_folds_keep_chains_of_groups_and_copies_together() -> None:
    of = np.full(1000, -1, np.int64)
    of[[0, 10]] = 0
    of[[11, 20]] = 1  # 0, 10 and 20 are of three patients, tied by two pairs of copies
    groups = np.array([f"p{number // 10}" for number in range(1000)])
    fold = split_folds(make_dataset(noise(1000, 8), np.zeros((1000, 1)), groups), DuplicateSets(of))
    assert len(set(fold[:30].tolist())) == 1
    assert np.bincount(fold, minlength=FOLDS).min() > 150


def test_black_frames_tie_no_patients() -> None:
    """A third of the frames are black and every patient has one; folds stay balanced, and none learns from them."""
    images = noise(600)
    images[::3] = 0
    labels = np.random.default_rng(4).integers(0, 2, (600, 1)).astype(float)
    groups = np.array([f"p{number // 6}" for number in range(600)])
    dataset = make_dataset(images, labels, groups)
    copies = exact_sets(dataset)
    assert copies.samples == 200 > LARGE_SET[0]
    model = fit_quick_model(dataset, copies)
    assert np.bincount(model.fold, minlength=FOLDS).min() >= 100
    assert model.trained_on == 400
    assert (pd.Series(model.fold).groupby(groups).nunique() == 1).all()


def test_unknown_labels_are_answered_and_do_not_count(home: object) -> None:
    dataset = write_dataset(samples=900)
    labels = dataset.labels.copy()
    labels[np.random.default_rng(5).random(900) < 0.5, 0] = np.nan
    labels[:, 1] = np.nan
    model = fit_quick_model(make_dataset(dataset.images, labels), no_copies(900))
    assert not np.isnan(model.scores[:, 0]).any()
    assert model.auc["label0"].value > 0.95
    assert model.scores[:, 0].mean() == pytest.approx(np.nanmean(labels[:, 0]), abs=0.04)
    assert np.isnan(model.scores[:, 1]).all()
    assert np.isnan(model.auc["label1"].value)


def test_more_samples_than_are_learnt_from(home: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medwb.audit.quick_model.TRAIN_MOST", 300)
    dataset = write_dataset(samples=900)
    labels = dataset.labels.copy()
    labels[:, 2] = 0
    labels[labels[:, 0] == 1, 2] = np.arange((labels[:, 0] == 1).sum()) % 30 == 0  # rare
    model = fit_quick_model(make_dataset(dataset.images, labels), no_copies(900))
    assert model.trained_on == 300
    assert not np.isnan(model.scores).any()
    assert model.auc["label0"].value > 0.95
    assert model.scores[:, 2].mean() == pytest.approx(labels[:, 2].mean(), abs=0.02)


def test_is_the_same_again_and_reports_progress(tiny: Dataset) -> None:
    told: list[tuple[int, int]] = []
    first = fit_quick_model(tiny, no_copies(240), lambda done, total: told.append((done, total)))
    again = fit_quick_model(tiny, no_copies(240))
    assert np.array_equal(first.scores, again.scores)
    assert told[-1] == (240, 240)


def test_subsets_use_their_own_rows(tiny: Dataset) -> None:
    part = tiny.split("val")
    copied = replace(part, samples=part.samples.reset_index(drop=True), images=np.asarray(tiny.images[part.rows]))
    assert np.array_equal(
        fit_quick_model(part, no_copies(len(part))).scores, fit_quick_model(copied, no_copies(len(part))).scores
    )


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (24, 3), (512, 1), (33, 3)])
def test_any_size_and_colour(side: int, channels: int) -> None:
    images = noise(60, side, channels)
    labels = (np.arange(60)[:, None] % 2).astype(float)
    images[labels[:, 0] == 1, : side // 2, :, channels - 1] = 255  # in one channel only
    model = fit_quick_model(make_dataset(images, labels), no_copies(60))
    assert model.auc["label0"].value > 0.95


@pytest.mark.parametrize("case", ["one", "identical", "no labels", "all unknown", "one class", "one group", "empty"])
def test_nothing_to_learn(case: str) -> None:
    samples = {"one": 1, "empty": 0}.get(case, 80)
    images = noise(samples, 8)
    labels = np.random.default_rng(0).integers(0, 2, (samples, 2)).astype(float)
    if case == "identical":
        images[:] = 7
    if case == "all unknown":
        labels[:] = np.nan
    if case == "one class":
        labels[:] = 1
    dataset = make_dataset(
        images, labels[:, :0] if case == "no labels" else labels, "p" if case == "one group" else ""
    )
    copies = exact_sets(dataset) if samples else no_copies(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit_quick_model(dataset, copies)
    assert model.scores.shape == dataset.labels.shape
    assert np.isnan(model.scores).all()
    assert all(np.isnan(score.value) for score in model.auc.values())


def test_identical_frames_that_are_not_known_to_be_copies() -> None:
    images = np.full((80, 8, 8, 1), 9, np.uint8)
    labels = np.random.default_rng(0).integers(0, 2, (80, 1)).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit_quick_model(make_dataset(images, labels), no_copies(80))
    assert np.allclose(model.scores, labels.mean(), atol=0.1)
