import hashlib
import re
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import LABELS, write_dataset

from medwb.audit.cleaning import CLEANING_COLUMNS, Cleaning
from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.panel import (
    frame,
    summary,
    unpack,
)
from medwb.augment.preview import (
    Scans,
    captions,
    difference,
    hardest,
    histograms,
    learned,
    preview,
    remaining,
    sweep,
    telling,
)
from medwb.config import input_shape, make_config
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.plots.augment import BEFORE_AFTER, kept_histogram, preservation_lines, taken_bars
from medwb.training.data import RunData

MIXED = replace(PRESETS["study"], steps=(*PRESETS["study"].steps, Step("mixup", p=1)))


@pytest.fixture
def data(home) -> Dataset:
    return write_dataset(samples=60, side=64)


def some(data: Dataset, count: int = 4) -> Scans:
    return Scans.of(data, range(5, 5 + count))


def cleaned(data: Dataset) -> Cleaning:
    """Two training scans leave, two get shares of votes and one loses a label; a validation scan leaves too."""
    rows = [(id_, "train", "exclude", "", np.nan, np.nan) for id_ in ("0000.png", "0005.png")]
    rows += [("0045.png", "val", "exclude", "", np.nan, np.nan)]
    rows += [(id_, "train", "label", LABELS[1], 1, new) for id_, new in (("0007.png", 0.25), ("0008.png", 0.5))]
    rows += [("0009.png", "train", "label", LABELS[0], 0, np.nan)]
    table = pd.DataFrame([(*row, "why", "by hand") for row in rows], columns=list(CLEANING_COLUMNS))
    return Cleaning(data.name, data.fingerprint, "some", ("by hand",), ("train", "val"), table)


def digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def handed_out(run: RunData, epoch: int, labels: list[int], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and weights of all that a network receives in an epoch, by the pixels."""
    found = {}
    for images, targets, weights in run.epoch(epoch, np.array(labels), seed):
        for image, target, weight in zip(images, targets, weights, strict=True):
            found[digest(image)] = target, weight
    return found


@pytest.mark.parametrize("recipe", [*PRESETS.values(), MIXED], ids=[*PRESETS, "mixed"])
@pytest.mark.parametrize(
    ("settings", "clean"),
    [
        ({}, False),
        ({"heads": "per-label"}, False),
        ({"cleaning": "some"}, True),
        ({"image_size": 40, "channels": 3}, False),
        ({"image_size": 96, "channels": 3, "cleaning": "some"}, True),
    ],
    ids=["default", "per-label", "cleaned", "resized", "both"],
)
def test_a_column_is_what_a_network_receives_in_that_epoch(data, recipe, settings, clean):
    config = make_config(
        {"dataset": data.name, "architecture": "fcnn-1", "batch_size": 7, "seed": 11, "augmentation": "mine"}
        | settings
    )
    cleaning = cleaned(data) if clean else None
    run = RunData(data, config, cleaning, recipe)
    positions = np.array([9, 3, 30, 7, 8], np.int64)
    shown = preview(Scans.of(data, positions, cleaning=cleaning, shape=input_shape(config, data)), recipe, 11, 2, 2)
    heads = [[0], [1], [2]] if config.heads == "per-label" else [[0, 1, 2]]
    for epoch, draw in zip((2, 3), shown.draws, strict=True):
        for number, labels in enumerate(heads):
            trained = handed_out(run, epoch, labels, config.seed + number)
            for image, wanted in zip(draw.images, draw.targets[:, labels], strict=True):
                assert digest(image) in trained
                target, weight = trained[digest(image)]
                assert np.array_equal(target, np.nan_to_num(wanted))
                assert np.array_equal(weight, ~np.isnan(wanted))
    assert shown.cells.shape == (5, 3, *input_shape(config, data))
    assert np.array_equal(shown.cells[:, 2], shown.draws[1].images)
    if not settings:
        assert np.array_equal(shown.cells[:, 0], data.images[positions])


@pytest.mark.slow
def test_training_data_is_made_without_tensorflow():
    code = (
        "import sys, medwb.training.data, medwb.augment.preview; assert not {'tensorflow', 'keras'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scans_of_another_split_are_mixed_with_those_that_are_learned_from(data):
    outside, inside = (Scans.of(data, places).augment(MIXED, 0, 0) for places in ([50, 3], [3]))
    assert Scans.of(data, [50, 3]).ids == ("0050.png", "0003.png")
    assert np.array_equal(outside.images[1], inside.images[0])
    changed = np.array(data.images)
    changed[36:] = 255 - changed[36:]  # val and test, which no other scan is mixed with
    other = Scans.of(replace(data, images=changed), [50, 3]).augment(MIXED, 0, 0)
    assert np.array_equal(outside.images[1], other.images[1])
    assert not np.array_equal(outside.images[0], other.images[0])


def test_some_scans_stand_for_what_is_learned_from(data):
    assert Scans.spread(data, 4).positions.tolist() == [0, 11, 23, 35]
    assert len(Scans.spread(data)) == 36
    assert not {0, 5} & {*Scans.spread(data, cleaning=cleaned(data)).positions.tolist()}
    assert Scans.spread(data, 2, shape=(20, 30, 3)).images.shape == (2, 20, 30, 3)
    assert len(Scans.spread(data, shape=(1024, 2048, 3))) == 10
    test = data.split("test")
    assert Scans.spread(test, 2).ids == ("0048.png", "0059.png")


def test_a_cleaning_that_leaves_nothing_or_is_of_other_data_is_refused(data):
    table = pd.DataFrame({"id": data.samples["id"], "split": data.samples["split"], "action": "exclude"})
    table = table.assign(label="", old=np.nan, new=np.nan, reason="", policy="")
    nothing = Cleaning(data.name, data.fingerprint, "empty", (), (), table)
    for make in (learned, lambda data, cleaning: Scans.of(data, [1], cleaning=cleaning)):
        with pytest.raises(RequestError, match="cleaning 'empty' leaves no sample of 'tiny'"):
            make(data, nothing)
    with pytest.raises(RequestError):
        Scans.spread(data, cleaning=replace(nothing, fingerprint="x"))


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("rotate", {"degrees": 33}, p=1), "rotate 33°"),
        (Step("rotate", {"degrees": 0}, p=1), "unchanged"),
        (Step("flip-left-right", p=1), "flip left-right"),
        (Step("cutout", {"size": 62.5}, p=1), "cutout 40 px"),
        (Step("crop", {"keep": 100}, p=1), "unchanged"),
        (Step("crop", {"keep": 50}, p=1), "crop 50 % (32 px)"),
        (Step("shift", {"right": 25, "down": -12.5}, p=1), "shift right 25 % (16 px), down -13 % (-8 px)"),
        (Step("rotate", p=0), "unchanged"),
        (Step("cutout", p=0), "unchanged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_caption_says_what_was_drawn(data, step, text):
    assert preview(some(data, 2), Augmentation((step,)), 0, 0, 1).captions == [[text], [text]]


def test_a_caption_of_a_hole_in_a_scan_that_is_not_square():
    drawn = preview_of_blank((48, 64), Step("cutout", {"size": 50}, p=1))
    assert captions(drawn, (48, 64)) == ["cutout 32 × 24 px"]


def preview_of_blank(size: tuple[int, int], step: Step):
    images = np.zeros((1, *size, 1), np.uint8)
    pool = Pool(np.arange(1), np.zeros((1, 1), np.float32), lambda positions: images[positions])
    return augment_samples(pool, np.arange(1), Augmentation((step,)), 0, 0).drawn


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_every_transform_has_a_caption_and_a_summary(data, name):
    step = Step(name, p=1)
    entry = step.entry
    said = preview(Scans.of(data, range(4), shape=(64, 64, 3)), Augmentation((step,)), 0, 0, 2).captions
    texts = [text for row in said for text in row]
    if entry.family == "geometry":  # a crop that is drawn to keep everything moves nothing
        texts = [text for text in texts if text != "unchanged"]
    assert texts
    assert all(text.startswith(entry.title.lower()) for text in texts)
    assert summary(step).endswith("p 1")


@pytest.mark.parametrize("name", [entry.name for entry in TRANSFORMS if entry.params and not entry.colour])
def test_a_sweep_goes_along_the_whole_range_and_leaves_the_rest(data, name):
    recipe = Augmentation((Step("flip-up-down"), Step(name, p=0.1)))
    for param in TRANSFORMS.get(name).params:
        values, images = sweep(some(data, 2), recipe, 1, param.name, 0, 0, 5)
        assert (values[0], values[-1]) == (param.low, param.high)
        assert len(set(values.tolist())) == len(values)
        assert images.shape == (2, len(values), 64, 64, 1)
        alone = Step(name, {param.name: float(values[-1])}, p=1)
        expected = some(data, 2).augment(Augmentation((Step("flip-up-down"), alone)), 0, 0)
        assert np.array_equal(images[:, -1], expected.images)


def test_differences_and_histograms():
    before, after = np.zeros((2, 4, 4, 1), np.uint8), np.full((2, 4, 4, 1), 255, np.uint8)
    assert difference(before, after).min() == 255
    assert difference(after, before).max() == -255
    table = histograms(before, after)
    assert table.groupby("group")["share"].sum().tolist() == [1, 1]
    assert table.loc[table["group"] == "before", "share"].iloc[0] == 1
    assert set(table["group"]) == set(BEFORE_AFTER)


def test_a_recipe_that_covers_the_scan_is_warned_of_and_the_step_named(data):
    left = remaining(some(data, 30), PRESETS["study"], 0)
    assert left.mean < 0.5
    assert left.lost > 0.1
    said = r"On average \d+ % of the scan is left; steps 9, 10, 11 \(cutout\) take the most: without them \d\d % .*"
    assert re.fullmatch(said, left.warning)
    assert max(left.taken, key=left.taken.get) == "cutout"
    assert left.mean + left.taken["cutout"] > 0.7


def test_a_recipe_that_often_loses_the_scan_is_warned_of(data):
    seldom = Augmentation((Step("rotate"), Step("cutout", {"size": 100}, p=0.3)))
    warning = remaining(some(data, 40), seldom, 0).warning
    assert re.match(r"\d+.% of the draws leave less than a fifth of the scan; step 2 \(cutout\)", warning)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "study"])
def test_gentle_presets_are_not_warned_of(data, name):
    left = remaining(some(data, 30), PRESETS[name], 0, blame=True)
    assert left.warning == ""
    assert list(left.taken) == [step.transform for step in PRESETS[name].active]


def test_scans_without_a_foreground_are_not_warned_of(home):
    data = write_dataset(samples=60)
    blank = replace(data, images=np.zeros_like(data.images))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left = remaining(some(blank), PRESETS["study"], 0, blame=True)
        grid = preview(some(blank), PRESETS["study"], 0, 0, 2)
        header, _ = unpack(frame(grid))
    assert (left.mean, left.lost, left.warning) == (1, 0, "")
    assert np.isnan(grid.kept).all()
    assert header["captions"][0][0]["left"] == ""


def test_the_hardest_samples_come_first():
    truth = np.array([[1, 0], [1, np.nan], [np.nan, np.nan], [0, 0]], np.float32)
    score = np.array([[0.9, 0.1], [0.0, 0.5], [0.5, 0.5], [0.5, 0.4]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hardest(truth, score, 9).tolist() == [1, 3, 0]
    assert hardest(truth, score, 1).tolist() == [1]


def test_figures_of_what_is_left(data):
    left = remaining(some(data, 20), PRESETS["study"], 0, blame=True)
    assert sum(kept_histogram(left.shares).data[0].y) == pytest.approx(100)
    assert kept_histogram(np.empty(0)).layout.annotations
    bars = taken_bars([f"<b>{name}</b>" for name in left.taken], list(left.taken.values()))
    assert bars.data[0].y[0] == "&lt;b&gt;rotate&lt;/b&gt;"
    assert taken_bars([], []).layout.annotations


def test_the_figure_of_a_label_test_marks_what_is_harmed():
    table = pd.DataFrame({"value": [0, 1, 2], "label": ["<i>a</i>"] * 3, "auc": [0.9, 0.8, 0.6]})
    table["harmed"], table["lower"] = [False, False, True], [False, True, True]
    table["low"], table["high"] = table["auc"] - 0.1, table["auc"] + 0.1
    figure = preservation_lines(table, {}, "°", 0)
    assert figure.data[0].marker.symbol == ("circle", "triangle-down", "x")
    assert figure.data[0].name == "&lt;i&gt;a&lt;/i&gt;"
    assert preservation_lines(table.iloc[:0], {}).layout.annotations


def test_a_recipe_without_steps_leaves_scans_as_they_are(data):
    grid = preview(some(data), Augmentation(), 0, 0, 2)
    header, cells = unpack(frame(grid))
    assert header["captions"] == [[{"text": "unchanged", "left": "", "lost": False}] * 2] * 4
    assert (cells == cells[:, :1]).all()
    assert remaining(some(data), Augmentation(), 0, blame=True).mean == 1


def test_blank_scans_come_last(data):
    images = np.array(data.images)
    images[:3] = 7
    blank = replace(data, images=images)
    assert telling(blank, np.array([0, 5, 1, 9]), 3).tolist() == [5, 9, 0]
    assert telling(blank, np.arange(60), 4).tolist() == [3, 4, 5, 6]
    assert len(telling(blank, np.empty(0, np.int64), 4)) == 0
