"""The receipt is counted from what was drawn, and only a whole one is believed."""

import json

import cv2
import numpy as np
import pytest
from conftest import write_dataset

from medwb.augment import TRANSFORMS, Augmentation, Step, save_augmentation
from medwb.augment.apply import draw
from medwb.augment.receipt import (
    EXAMPLES_FILE,
    RECEIPT_FILE,
    Histogram,
    Receipt,
    example_strip,
    open_receipt,
    read_receipt,
    save_examples,
)
from medwb.config import make_config
from medwb.errors import RequestError
from medwb.params import OneOf, Param
from medwb.runs import create_run
from medwb.strict_json import dump_json

SAMPLES = np.arange(500)
DEGREES = Param("degrees", -180, 180, -10, 0.5, "Angle.", "°", until=10)
COUNT = Param("count", 0, 100, 3, 1, "Number.", until=5)


@pytest.mark.parametrize(
    ("param", "setting", "exact", "places", "counted"),
    [
        (DEGREES, (-10.0, 10.0), False, np.linspace(-10, 10, 21), {-10.0: 0, -9.0: 1, 9.5: 19, 10.0: 19}),
        (DEGREES, 5.0, True, [5], {5.0: 0}),
        (DEGREES, (5.0, 5.0), True, [5], {5.0: 0}),
        (DEGREES, OneOf((30.0, -5.0, 30.0)), True, [-5, 30], {-5.0: 0, 30.0: 1}),
        (COUNT, (3, 5), True, [3, 4, 5], {3.0: 0, 4.0: 1, 5.0: 2}),
        (COUNT, (0, 40), False, np.arange(0, 43, 3), {0.0: 0, 2.0: 0, 3.0: 1, 39.0: 13, 40.0: 13}),
    ],
)
def test_bins_span_the_setting(param, setting, exact, places, counted):
    histogram = Histogram.of(param, setting)
    assert histogram.exact is exact
    assert histogram.places.tolist() == list(places)
    for value, where in counted.items():
        histogram.counts[:] = 0
        histogram.count(np.array([value]))
        assert np.flatnonzero(histogram.counts).tolist() == [where], value


@pytest.mark.parametrize("name", TRANSFORMS.names())
@pytest.mark.parametrize("p", [0, 0.3, 1])
def test_every_transform_is_counted_and_comes_back_from_the_file(name, p):
    augmentation = Augmentation((Step(name, p=p),))
    (one,) = draw(augmentation, SAMPLES, 3, 1)
    receipt = Receipt.of(augmentation, "mine", 3)
    for start in range(0, 500, 200):
        receipt.count(draw(augmentation, SAMPLES[start : start + 200], 3, 1), len(SAMPLES[start : start + 200]))
    (mine,) = receipt.steps
    assert receipt.scans == 500
    assert mine.applied == one.applied.sum()
    assert set(mine.drawn) == {param.name for param in TRANSFORMS.get(name).params}
    for param, histogram in mine.drawn.items():
        values = one.values[param][one.applied]
        assert histogram.counts.sum() == len(values)
        if histogram.exact:
            assert histogram.counts.tolist() == [(values == place).sum() for place in histogram.places]
        else:
            assert histogram.counts.tolist() == np.histogram(values, histogram.places)[0].tolist()
    text = dump_json(receipt.describe())
    assert read_receipt(json.loads(text)).describe() == receipt.describe()


def test_steps_that_are_off_are_not_counted():
    augmentation = Augmentation((Step("rotate", enabled=False), Step("cutout", p=1)))
    receipt = Receipt.of(augmentation, "mine", 0)
    receipt.count(draw(augmentation, SAMPLES, 0, 1), 10)
    assert [(one.step.transform, one.applied) for one in receipt.steps] == [("cutout", 10)]


@pytest.fixture
def kept(home):
    """A run with a receipt, as training leaves it."""
    tiny = write_dataset(samples=60)
    save_augmentation("mine", Augmentation((Step("rotate", p=0.5), Step("cutout", {"size": 20}, p=1))))
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1", "augmentation": "mine"}), tiny)
    receipt = Receipt.of(run.augmentation, "mine", 0)
    receipt.count(draw(run.augmentation, SAMPLES, 0, 1), 500)
    receipt.epochs["shared"] = 1
    receipt.examples = ["a.png"]
    receipt.save(run.path)
    return run, receipt


def test_a_run_gives_its_receipt(kept):
    run, receipt = kept
    assert open_receipt(run).describe() == receipt.describe()


def test_no_augmentation_no_receipt(tiny):
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)
    assert open_receipt(run) is None


def changed(*path, to):
    def change(record):
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("scans", to=-1),
        changed("scans", to=10),
        changed("scans", to=True),
        changed("seed", to=7),
        changed("examples", to=[3]),
        changed("epochs", to=[3]),
        changed("epochs", "shared", to="1"),
        changed("augmentation", to={}),
        changed("augmentation", "digest", to="0" * 12),
        changed("steps", to=[]),
        changed("steps", 0, "applied", to=3),
        changed("steps", 0, "step", "degrees", to=[-20, 10]),
        changed("steps", 0, "step", "transform", to="rotat"),
        changed("steps", 0, "drawn", to={}),
        changed("steps", 0, "drawn", "degrees", "counts", to=[1]),
        changed("steps", 0, "drawn", "degrees", "edges", to=None),
        changed("steps", 1, "drawn", "size", "counts", to=[499]),
        changed("steps", 1, "drawn", "size", "counts", to=[1e400]),
    ],
)
def test_a_receipt_that_does_not_add_up_is_refused(kept, change):
    run, receipt = kept
    record = receipt.describe()
    change(record)
    (run.path / RECEIPT_FILE).write_text(json.dumps(record))
    with pytest.raises(RequestError, match=rf"run {run.id}: receipt\.json is damaged \(.+\); train again"):
        open_receipt(run)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 100_000, "\x00"])
def test_what_is_no_receipt_is_refused(kept, content):
    run, _ = kept
    (run.path / RECEIPT_FILE).write_text(content)
    with pytest.raises(RequestError, match=r"receipt\.json is damaged"):
        open_receipt(run)


def test_a_missing_receipt_says_how_far_the_run_is(kept):
    run, _ = kept
    (run.path / RECEIPT_FILE).unlink()
    with pytest.raises(RequestError, match="has no receipt yet; it is queued"):
        open_receipt(run)


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_stand_under_their_scans(tmp_path, channels):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 256, (2, 3, 16, 24, channels), dtype=np.uint8)
    save_examples(tmp_path, before, after)
    picture = cv2.imread(str(tmp_path / EXAMPLES_FILE), cv2.IMREAD_UNCHANGED).reshape(34, 76, channels)[:, :, ::-1]
    assert np.array_equal(picture[:16, 26:50], before[1])
    assert np.array_equal(picture[18:, 52:], after[2])


def test_large_examples_are_made_small():
    large = np.zeros((8, 512, 256, 1), np.uint8)
    assert example_strip(large, large).shape == (258, 8 * 66 - 2, 1)
