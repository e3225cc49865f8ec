"""The albumentations code of each transform does what medwb does."""

import numpy as np
import pytest
from augmented_scans import pool_of, scans

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Step, augment_samples, to_code
from medwb.errors import RequestError
from medwb.params import Deal, OneOf

SIZE = (100, 200)
"""Of the scans compared: percentages of it are whole pixels."""
WITH_CODE = [name for name in TRANSFORMS.names() if TRANSFORMS.get(name).code]
FIXED = [name for name in WITH_CODE if not TRANSFORMS.get(name).hidden]


def theirs(images, *steps):
    """Images as the code augments them."""
    names = {}
    exec(to_code(Augmentation(steps), images.shape[1:3]), names)
    names["augmentation"].set_random_seed(0)
    return np.stack([names["augmentation"](image=image)["image"].reshape(image.shape) for image in images])


def ours(images, *steps):
    return augment_samples(pool_of(images), np.arange(len(images)), Augmentation(steps), 0, 0).images


def collapsed(entry):
    """Settings in which no number is drawn: inside and at the ends of the usual range, and at those of the whole."""
    for param in entry.params:
        assert param.default is not None
    usual = {
        param.name: (param.default, param.default if param.until is None else param.until) for param in entry.params
    }
    for share in (0, 0.3, 1):
        yield {
            param.name: (int if param.integer else float)(low + share * (high - low))
            for param, (low, high) in zip(entry.params, usual.values(), strict=True)
        }
    yield {param.name: param.low for param in entry.params}
    yield {param.name: param.high for param in entry.params}


@pytest.mark.parametrize(
    ("name", "channels"),
    [(name, n) for name in [*FIXED, "scale"] for n in (1, 3) if n == 3 or not TRANSFORMS.get(name).colour],
)
def test_fixed_outcomes_are_equal(name, channels):
    entry = TRANSFORMS.get(name)
    images = scans(2, (*SIZE, channels))
    borders = next((choice.options for choice in entry.choices if choice.name == "border"), (None,))
    for settings in collapsed(entry):
        for border in borders:
            step = Step(name, settings if border is None else {**settings, "border": border}, p=1)
            far = np.abs(ours(images, step).astype(int) - theirs(images, step))
            # Rounding differs in the last place: of weights of a warp (to 1/32 pixel), of tables and of kernels.
            assert far.max() <= 1, settings
            assert far.mean() < (0.7 if entry.family == "tone" else 0.05), settings


def _extent(changed, axis):
    return np.ptp(np.flatnonzero(changed.any(axis=axis))) + 1 if changed.any() else 0


RAMP = np.broadcast_to(np.arange(0, 200, dtype=np.uint8)[None, :, None], (*SIZE, 1))
GREY = np.full((*SIZE, 1), 128, np.uint8)
WHITE = np.full((*SIZE, 1), 255, np.uint8)
MEASURES = {
    "noise": ("gaussian-noise", {"deviation": 5}, GREY, lambda image: image.std()),
    "noise drawn": ("gaussian-noise", {"deviation": (0, 10)}, GREY, lambda image: image.std()),
    "hole": ("cutout", {"size": 30}, WHITE, lambda image: (image == 0).mean()),
    "hole width": ("cutout", {"size": (10, 30)}, WHITE, lambda image: _extent(image == 0, 0)),
    "hole height": ("cutout", {"size": (10, 30)}, WHITE, lambda image: _extent(image == 0, 1)),
    "erased": ("random-erasing", {"area": (2, 10), "fill": "black"}, WHITE, lambda image: (image == 0).mean()),
    "erased width": ("random-erasing", {"area": 6, "fill": "black"}, WHITE, lambda image: _extent(image == 0, 0)),
    "erased height": ("random-erasing", {"area": 6, "fill": "black"}, WHITE, lambda image: _extent(image == 0, 1)),
    "erased with noise": ("random-erasing", {"area": 10}, GREY, lambda image: image.std()),
    "bent": ("elastic", {"shift": 2, "smoothness": 5}, RAMP, lambda image: (image - RAMP)[30:-30, 30:-30].std()),
    "grid": ("grid-distortion", {"limit": 60}, RAMP, lambda image: (image - RAMP)[:, 5:-5].std()),
    "window": ("crop", {"keep": 40}, RAMP, lambda image: np.ptp(image)),
    "window place": ("crop", {"keep": 40}, RAMP, lambda image: image.mean()),
    "anywhere": ("scale", {"x": 2.5, "y": 1, "window": "anywhere"}, RAMP, lambda image: image.mean()),
    "anywhere enlarged": ("scale", {"x": 2.5, "y": 1, "window": "anywhere"}, RAMP, lambda image: np.ptp(image)),
    "turned": ("rotate", {"degrees": (0, 90)}, RAMP, lambda image: image[:, 100].std()),
    "gamma": ("gamma", {"gamma": (0.5, 2)}, GREY, np.mean),
    "light": ("brightness-contrast", {"brightness": (-20, 20), "contrast": (-20, 0)}, GREY, np.mean),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_random_outcomes_are_distributed_alike(measure):
    """Mean and deviation over 150 draws of what the step changes, within four standard errors or a few percent."""
    name, settings, image, value = MEASURES[measure]
    images = np.repeat(image[None], 150, axis=0)
    mine, other = (
        np.array([value(one.astype(float)) for one in how(images, Step(name, settings, p=1))])
        for how in (ours, theirs)
    )
    error = 4 * np.hypot(mine.std(), other.std()) / np.sqrt(150)
    assert mine.mean() == pytest.approx(other.mean(), abs=max(error, 1e-9), rel=0.04)
    assert mine.std() == pytest.approx(other.std(), rel=0.25, abs=0.02 * mine.mean())


@pytest.mark.parametrize("name", WITH_CODE)
def test_probability_goes_along(name):
    images = np.repeat(scans(1, (32, 32, 3)), 60, axis=0)
    assert np.array_equal(theirs(images[:5], Step(name, p=0)), images[:5])
    changed = (theirs(images, Step(name, p=0.5)) != images).any(axis=(1, 2, 3)).sum()
    assert 5 < changed < 50


def test_one_of_some_values():
    step = Step("rotate", {"degrees": OneOf((0, 90, 180)), "border": "black"}, p=1)
    image = scans(1, (24, 24, 1))[0]
    turned = {np.rot90(image, quarter).tobytes() for quarter in range(3)}
    for how in (ours, theirs):
        assert {one.tobytes() for one in how(np.repeat(image[None], 40, axis=0), step)} == turned


def test_one_of_some_values_is_drawn_as_often_as_the_step_says():
    images = np.repeat(scans(1, (24, 24, 1)), 100, axis=0)
    for how in (ours, theirs):
        changed = how(images, Step("rotate", {"degrees": OneOf((90, 180))}, p=0.6)) != images
        assert 45 < changed.any(axis=(1, 2, 3)).sum() < 75


def test_tiles_have_sixteen_pixels_or_more():
    for tiles, size, grid in ((16, (48, 100), "(6, 3)"), (2, (48, 100), "(2, 2)"), (4, (28, 15), "(1, 1)")):
        assert f"tile_grid_size={grid}" in to_code(Augmentation((Step("clahe", {"tiles": tiles}),)), size)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS.names() if name not in WITH_CODE])
def test_without_a_counterpart_the_step_is_named(name):
    with pytest.raises(RequestError, match=f"{name} has no counterpart in albumentations; switch it off"):
        to_code(Augmentation((Step(name),)), SIZE)
    assert name not in to_code(Augmentation((Step("invert"), Step(name, enabled=False))), SIZE)


@pytest.mark.parametrize(("count", "words"), [(1, "A.OneOf"), (2, "A.SomeOf"), (3, "A.OneOf")])
def test_values_that_are_dealt_are_not_drawn_twice(count, words):
    deal = Step("cutout", {"size": Deal((25, 50))}, p=1)
    images = np.full((200, *SIZE, 1), 200, np.uint8)
    assert words in to_code(Augmentation((deal,) * count), SIZE)
    holes = (theirs(images, *(deal,) * count) == 0).mean(axis=(1, 2, 3))
    assert (holes.min() >= 0.25) == (count == 2), "the larger one is always there when both are dealt"


@pytest.mark.parametrize("name", ["cutout", "random-erasing"])
def test_a_filling_without_a_counterpart_is_named(name):
    with pytest.raises(RequestError, match=r"fill=mean has no counterpart.*black or noise"):
        to_code(Augmentation((Step(name, {"fill": "mean"}),)), SIZE)


@pytest.mark.parametrize("name", [name for name in PRESETS if all(step.entry.code for step in PRESETS[name].steps)])
@pytest.mark.parametrize("shape", [(64, 64, 1), (48, 64, 3)], ids=str)
def test_presets_as_code(name, shape):
    images = scans(6, shape)
    result = theirs(images, *PRESETS[name].steps)
    assert result.shape == images.shape
    assert result.dtype == np.uint8
    assert (result != images).any()
