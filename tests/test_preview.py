import json
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_dataset

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.panel import (
    LAB_JS,
    changed,
    controls,
    frame,
    harmful_spans,
    pack,
    read_values,
    summary,
    unpack,
)
from medwb.augment.preview import (
    Scans,
    captions,
    difference,
    hardest,
    histograms,
    number_text,
    preview,
    remaining,
    sweep,
    telling,
)
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.params import OneOf, Param
from medwb.plots.augment import BEFORE_AFTER, kept_histogram, preservation_lines, taken_bars

MIXED = replace(PRESETS["study"], steps=(*PRESETS["study"].steps, Step("mixup", p=1)))


@pytest.fixture
def data(home) -> Dataset:
    return write_dataset(samples=60, side=64)


def some(data: Dataset, count: int = 4) -> Scans:
    return Scans.of(data, range(5, 5 + count))


@pytest.mark.parametrize("recipe", [*PRESETS.values(), MIXED], ids=[*PRESETS, "mixed"])
def test_a_column_is_what_a_network_receives_in_that_epoch(data, recipe):
    train = data.split("train")
    positions = np.array([3, 30, 7], np.int64)
    grid = preview(Scans.of(data, positions), recipe, 11, 2, 3)
    for epoch, shown in zip((2, 3, 4), grid.draws, strict=True):
        trained = augment_samples(Pool.of(train), positions, recipe, 11, epoch)
        assert np.array_equal(shown.images, trained.images)
        assert np.array_equal(shown.targets, trained.targets, equal_nan=True)
    assert np.array_equal(grid.cells[:, 0], data.images[positions])
    assert np.array_equal(grid.cells[:, 2], grid.draws[1].images)


def test_scans_of_another_split_have_their_own_draws(data):
    outside = Scans.of(data, [50, 3])
    assert outside.ids == ("0050.png", "0003.png")
    inside = Scans.of(data, [3]).augment(PRESETS["study"], 0, 0)
    assert np.array_equal(outside.augment(PRESETS["study"], 0, 0).images[1], inside.images[0])


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("rotate", {"degrees": 33}, p=1), "rotate 33°"),
        (Step("rotate", {"degrees": 0}, p=1), "unchanged"),
        (Step("flip-left-right", p=1), "flip left-right"),
        (Step("cutout", {"size": 62.5}, p=1), "cutout 40 px"),
        (Step("crop", {"keep": 100}, p=1), "unchanged"),
        (Step("crop", {"keep": 50}, p=1), "crop 50 % (32 px)"),
        (Step("shift", {"right": 25, "down": -12.5}, p=1), "shift right 25 % (16 px), down -12 % (-8 px)"),
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
    if TRANSFORMS.get(name).colour:
        pytest.skip("needs colour")
    step = Step(name, p=1)
    said = preview(some(data, 2), Augmentation((step,)), 0, 0, 2).captions
    title = TRANSFORMS.get(name).title.lower()
    assert all(text.startswith(title) or text == "unchanged" for row in said for text in row)
    assert summary(step).endswith("p 1")


@pytest.mark.parametrize(
    ("value", "step", "unit", "text"),
    [
        (33.27, 0.5, "°", "33.3°"),
        (62.5, 0.5, "%", "62.5 %"),
        (78.125, 0.5, "%", "78.1 %"),
        (3.0, 1, "px", "3 px"),
        (-0.001, 0.05, "", "0"),
        (0.35, 0.05, "", "0.35"),
        (100, 0.5, "%", "100 %"),
    ],
)
def test_a_value_is_written_with_its_unit(value, step, unit, text):
    assert number_text(value, Param("x", -1000, 1000, 0, step, "X.", unit)) == text


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
    assert re.fullmatch(r"On average \d+.% of the scan is left; step 10 \(cutout\) takes the most: .*", left.warning)
    assert max(left.taken, key=left.taken.get) == 9


def test_a_recipe_that_often_loses_the_scan_is_warned_of(data):
    seldom = Augmentation((Step("rotate"), Step("cutout", {"size": 100}, p=0.3)))
    warning = remaining(some(data, 40), seldom, 0).warning
    assert re.match(r"\d+.% of the draws leave less than a fifth of the scan; step 2 \(cutout\)", warning)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "study"])
def test_gentle_presets_are_not_warned_of(data, name):
    left = remaining(some(data, 30), PRESETS[name], 0, blame=True)
    assert left.warning == ""
    assert len(left.taken) == len(PRESETS[name].active)


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


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_controls_say_what_the_step_says(name):
    for step in (Step(name), Step(name, p=0.125)):
        shown = controls(step)
        json.dumps(shown, allow_nan=False)
        assert [one["name"] for one in shown][-1] == "p"
        again = changed(step, {one["name"]: one["value"] for one in shown})
        one = Augmentation((step,))
        pool = Pool(
            np.arange(9), np.zeros((9, 1), np.float32), lambda where: np.zeros((len(where), 8, 8, 3), np.uint8)
        )
        first, second = (augment_samples(pool, np.arange(9), Augmentation((s,)), 0, 0).drawn for s in (step, again))
        assert one.steps[0].p == again.p
        assert np.array_equal(first[0].applied, second[0].applied)
        for key, value in first[0].values.items():
            assert np.array_equal(value, second[0].values[key])


def test_controls_set_a_step():
    step = Step("rotate", {"degrees": OneOf((10.0, 25.0))})
    assert controls(step)[0] == {
        "kind": "values",
        "name": "degrees",
        "label": "Degrees",
        "help": TRANSFORMS.get("rotate").param("degrees").help,
        "unit": "°",
        "value": "10, 25",
    }
    assert changed(step, {"degrees": "5, 90"}).settings["degrees"] == OneOf((5.0, 90.0))
    assert changed(step, {"degrees": [-5, 5]}).settings["degrees"] == (-5, 5)
    assert changed(step, {"degrees": [7, 7]}).settings["degrees"] == 7
    assert changed(step, {"p": 0.25, "border": "black"}).describe()["border"] == "black"
    assert changed(step, {"p": 0.25}).settings == step.settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": [200, 300]}, "out of range"),
        ({"degrees": [10, -10]}, "upside down"),
        ({"degrees": "a, b"}, "numbers with commas"),
        ({"degrees": ""}, "names no value"),
        ({"p": 1.5}, "out of range"),
        ({"border": "wood"}, "unknown border"),
        ({"degrees": {"x": 1}}, "no setting"),
        ({"degrees": True}, "no setting"),
    ],
)
def test_what_controls_cannot_say_is_refused(values, message):
    with pytest.raises(RequestError, match=message):
        changed(Step("rotate"), values)


def test_values_are_read_as_they_are_written():
    param = TRANSFORMS.get("rotate").param("degrees")
    assert read_values("10,25 ,", param) == OneOf((10.0, 25.0))


def test_a_frame_is_what_was_packed(data):
    grid = preview(some(data), PRESETS["study"], 0, 3, 2)
    header, cells = unpack(frame(grid, serial=7, panel="0 rotate", title="T", note="n", controls=[{"a": 1}]))
    assert (header["serial"], header["panel"], header["note"], header["controls"]) == (7, "0 rotate", "n", [{"a": 1}])
    assert header["heads"] == ["scan", "epoch 3", "epoch 4"]
    assert header["sides"] == list(grid.scans.ids)
    assert np.array_equal(cells, grid.cells)
    for row, shares in zip(header["captions"], grid.kept, strict=True):
        assert [one["lost"] for one in row] == (shares < 0.2).tolist()
    assert unpack(pack({}, np.zeros((1, 2, 3, 4, 3), np.uint8)))[1].shape == (1, 2, 3, 4, 3)


@pytest.mark.parametrize(
    ("harmed", "spans"),
    [
        ("....", []),
        ("x..x", [(0, 1), (5, 6)]),
        (".xx.", [(1, 5)]),
        ("xxxx", [(0, 6)]),
        ("x.x.", [(0, 1), (3, 5)]),
    ],
)
def test_the_parts_of_a_track_to_mark(harmed, spans):
    assert harmful_spans([0, 2, 4, 6], [sign == "x" for sign in harmed]) == spans


def test_the_javascript_loads_nothing_and_writes_no_markup():
    text = LAB_JS.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|innerHTML|outerHTML|insertAdjacent|fetch\(|import\b|eval|url\(", text)
    assert text.count("export default") == 1


def test_figures_of_what_is_left(data):
    left = remaining(some(data, 20), PRESETS["study"], 0, blame=True)
    assert sum(kept_histogram(left.shares).data[0].y) == pytest.approx(100)
    assert kept_histogram(np.empty(0)).layout.annotations
    bars = taken_bars([f"<b>{number}</b>" for number in left.taken], list(left.taken.values()))
    assert bars.data[0].y[0] == "&lt;b&gt;0&lt;/b&gt;"
    assert taken_bars([], []).layout.annotations


def test_the_figure_of_a_label_test_marks_what_is_harmed():
    import pandas as pd

    table = pd.DataFrame({"value": [0, 1], "label": ["<i>a</i>"] * 2, "auc": [0.9, 0.6], "harmed": [False, True]})
    table["low"], table["high"] = table["auc"] - 0.1, table["auc"] + 0.1
    figure = preservation_lines(table, {}, "°", 0)
    assert figure.data[0].marker.symbol == ("circle", "x")
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
