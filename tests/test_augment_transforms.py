"""Every registered transform, found through the registry."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from augmented_scans import augmented, corners, pool_of, scans

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Step, augment_samples
from medwb.augment.apply import draw
from medwb.errors import RequestError
from medwb.params import ends

SHAPES = [
    (1, 1, 1),
    (5, 3, 3),
    (28, 28, 1),
    (64, 64, 1),
    (224, 224, 1),
    (28, 28, 3),
    (64, 64, 3),
    (48, 64, 1),
    (64, 48, 3),
    (224, 224, 3),
]
NAMES = TRANSFORMS.names()
GREY = [name for name in NAMES if not TRANSFORMS.get(name).colour]
MIXING = [name for name in NAMES if TRANSFORMS.get(name).family == "mix"]


def is_random(entry):
    return bool(entry.hidden) or any(param.until not in (None, param.default) for param in entry.params)


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_does(name):
    entry = TRANSFORMS.get(name)
    assert entry.summary.endswith(".")
    assert len(entry.summary) < 118
    assert entry.title
    for param in entry.params:
        assert param.low <= param.default <= param.high
        assert param.until is None or param.default <= param.until <= param.high
        assert param.help.endswith(".")
        positions = (param.high - param.low) / param.step
        assert positions == pytest.approx(round(positions)), "the slider cannot reach its end"
        assert (param.default - param.low) / param.step == pytest.approx(
            round((param.default - param.low) / param.step)
        )
    assert (entry.family == "mix") == ("partner" in entry.hidden)
    assert entry.family != "holes" or {"fill"} <= {choice.name for choice in entry.choices}
    if entry.family == "pixels":
        assert set(entry.hidden) <= {"noise"}


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in NAMES for shape in SHAPES if shape[2] == 3 or name in GREY], ids=str
)
@pytest.mark.filterwarnings("error")
def test_keeps_shape_and_type_at_both_ends_of_every_range(name, shape):
    entry = TRANSFORMS.get(name)
    images = scans(2, shape)
    before = images.copy()
    for settings in corners(entry):
        step = Step(name, settings, p=1)
        result = augmented(images, step)
        assert result.images.shape == images.shape, settings
        assert result.images.dtype == np.uint8, settings
        assert result.targets.dtype == np.float32
        assert np.isfinite(result.targets).all()
        assert np.array_equal(result.images, augmented(images, step).images), settings
        assert np.array_equal(images, before), "the scans themselves were changed"


@pytest.mark.parametrize("name", NAMES)
def test_a_probability_of_zero_changes_nothing_and_of_one_every_scan(name):
    images = scans(40, (28, 28, 3))
    never, always = (augmented(images, Step(name, p=p)) for p in (0, 1))
    assert np.array_equal(never.images, images)
    assert np.array_equal(never.targets, np.eye(40, dtype=np.float32))
    assert not never.drawn[0].applied.any()
    assert always.drawn[0].applied.all()


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_epoch_draw_anew_where_something_is_random(name):
    images = scans(6, (48, 64, 3))
    first, again, other, later = (
        augmented(images, Step(name, p=1), seed=seed, epoch=epoch).images
        for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert np.array_equal(first, again)
    for another in (other, later):
        assert np.array_equal(first, another) != is_random(TRANSFORMS.get(name))
    if is_random(TRANSFORMS.get(name)):
        some = [augmented(images, Step(name, p=0.5), epoch=epoch).drawn[0].applied for epoch in range(10)]
        assert 15 <= np.sum(some) <= 45


@pytest.mark.parametrize("name", NAMES)
def test_changes_most_scans_by_default(name):
    """A step that does nothing when it is added would look broken."""
    images = scans(12, (64, 64, 3))
    if name == "scale":
        assert Step(name).settings["x"] != 1
    changed = (augmented(images, Step(name, p=1)).images != images).any(axis=(1, 2, 3))
    assert changed.mean() > 0.5


@pytest.mark.parametrize("name", [*NAMES, *PRESETS])
def test_neither_batch_nor_order_matters(name):
    images = scans(7, (32, 32, 3))
    steps = PRESETS[name].steps if name in PRESETS else (Step(name, p=0.7),)
    together = augmented(images, *steps)
    for positions in ([3], [6, 0, 2], [5, 4, 3, 2, 1, 0], [2, 2]):
        part = augmented(images, *steps, positions=positions)
        assert np.array_equal(part.images, together.images[positions])
        assert np.array_equal(part.targets, together.targets[positions])
        for all_drawn, drawn in zip(together.drawn, part.drawn, strict=True):
            assert np.array_equal(drawn.applied, all_drawn.applied[positions])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("error")
def test_scans_of_one_grey_level_raise_no_warning(name):
    for level in (0, 255):
        images = np.full((2, 32, 32, 3), level, np.uint8)
        for settings in corners(TRANSFORMS.get(name)):
            augmented(images, Step(name, settings, p=1))


@pytest.mark.parametrize("name", [name for name in GREY if name not in MIXING])
def test_grey_scans_with_three_channels_stay_grey(name):
    grey = np.repeat(scans(4), 3, axis=3)
    result = augmented(grey, Step(name, p=1)).images.astype(int)
    # CLAHE goes through Lab and back, and rounds twice.
    assert np.ptp(result, axis=3).max() <= (3 if name == "clahe" else 0)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(GREY)))
def test_colour_is_refused_on_grey_scans(name):
    with pytest.raises(RequestError, match=rf"step 1 \({name}\) changes colours.*channels=3"):
        Augmentation((Step(name),)).check((64, 64, 1))
    Augmentation((Step(name),)).check((64, 64, 3))
    Augmentation((Step(name, enabled=False),)).check((64, 64, 1))


def test_shapes_of_matrices_of_other_numbers_of_scans():
    for name in (name for name in NAMES if TRANSFORMS.get(name).family == "geometry"):
        for count in (0, 1, 2, 5):
            drawn = draw(Augmentation((Step(name, p=1),)), np.arange(count), 0, 0)[0]
            maps = TRANSFORMS.get(name).function(drawn.values, (48, 64))
            assert maps.shape in ((count, 3, 3), (1, 3, 3)), name


def test_median_of_narrow_scans_is_that_of_opencv():
    for shape in ((9, 5, 1), (28, 28, 1), (64, 64, 1), (64, 79, 1), (20, 26, 3), (20, 27, 3), (8, 96, 1)):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for radius in range(1, 8):
            mine = augmented(image[None], Step("median-blur", {"radius": radius}, p=1)).images[0]
            assert np.array_equal(mine, cv2.medianBlur(image, 2 * radius + 1).reshape(shape))


def test_rician_noise_lifts_black_as_its_distribution_says():
    black, white = (np.full((1, 200, 200, 1), level, np.uint8) for level in (0, 200))
    step = Step("rician-noise", {"deviation": 10}, p=1)
    sigma = 25.5
    dark, light = (augmented(images, step).images.astype(float) for images in (black, white))
    assert dark.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.02)
    assert dark.std() == pytest.approx(sigma * np.sqrt(2 - np.pi / 2), rel=0.02)
    assert np.median(light) == pytest.approx(np.hypot(200, sigma), abs=2)


def test_a_bias_field_is_smooth_and_as_strong_as_set():
    images = np.full((20, 64, 48, 1), 100, np.uint8)
    for order in (1, 3, 5):
        factors = augmented(images, Step("bias-field", {"strength": 20, "order": order}, p=1)).images / 100
        strongest = np.maximum(factors, 1 / factors).max(axis=(1, 2, 3))
        assert strongest == pytest.approx(np.full(20, 1.25), abs=0.02)
        assert np.abs(np.diff(factors, axis=1)).max() < 0.2
        assert np.abs(np.diff(factors, axis=1)).mean() < 0.02


def test_elastic_moves_pixels_as_far_as_set():
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, None, :, None], (40, 128, 128, 1))
    for shift, smoothness in ((1, 5), (2, 5), (2, 10)):
        step = Step("elastic", {"shift": shift, "smoothness": smoothness, "border": "edge"}, p=1)
        moved = (augmented(ramp, step).images.astype(float) - ramp)[:, 24:-24, 24:-24] / 2
        assert np.sqrt((moved**2).mean()) == pytest.approx(1.28 * shift, rel=0.15)


def test_grid_distortion_keeps_the_edges_and_the_order():
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, None, :, None], (20, 64, 128, 1))
    moved = augmented(ramp, Step("grid-distortion", {"limit": 80, "cells": 5}, p=1)).images.astype(int)
    assert (np.diff(moved, axis=2) >= 0).all()
    assert (moved[:, :, 0] == 0).all()
    assert (moved[:, :, -1] == 254).all()
    assert np.abs(moved - ramp).max() > 10


def test_holes_have_the_size_that_is_set():
    white = np.full((200, 50, 100, 1), 255, np.uint8)
    cut = augmented(white, Step("cutout", {"size": 20}, p=1)).images == 0
    assert (cut.any(axis=2).sum(axis=1) == 10).all()
    assert (cut.any(axis=1).sum(axis=1) == 20).all()
    assert cut.mean(axis=0)[10:-10, 20:-20].min() > 0
    erased = augmented(white, Step("random-erasing", {"area": 8, "aspect": 2, "fill": "black"}, p=1)).images == 0
    width, height = (erased.any(axis=axis).sum(axis=1).ravel() for axis in (1, 2))
    assert (width == round(np.sqrt(800))).all()
    assert (height == round(np.sqrt(200))).all()


@pytest.mark.parametrize("name", ["cutout", "random-erasing"])
def test_fillings(name):
    images = scans(3)
    for fill in ("black", "mean", "noise"):
        step = Step(name, {"fill": fill}, p=1)
        result = augmented(images, step)
        hole = result.images != images
        for n in range(3):
            inside = result.images[n][hole[n]]
            if fill == "noise":
                assert inside.std() > 50
            else:
                assert set(inside) == ({0} if fill == "black" else {round(images[n].mean())})


@pytest.mark.parametrize("name", MIXING)
def test_labels_are_mixed_in_the_share_that_the_pixels_are(name):
    """Scan k is a constant that tells which one it is, so that a result shows its parts."""
    count = 50
    levels = np.arange(count, dtype=np.uint8) * 5
    images = np.broadcast_to(levels[:, None, None, None], (count, 40, 60, 1))
    for alpha in (0.2, 1, 5):
        result = augmented(images, Step(name, {"alpha": alpha}, p=1))
        assert np.allclose(result.targets.sum(axis=1), 1, atol=1e-6)
        assert np.allclose(result.images.mean(axis=(1, 2, 3)), result.targets @ levels.astype(np.float32), atol=0.51)
        assert (result.targets.max(axis=1) < 1).mean() > 0.3


@pytest.mark.parametrize("alpha", [0.2, 1, 4])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    images = np.zeros((4000, 2, 2, 1), np.uint8)
    drawn = draw(Augmentation((Step("mixup", {"alpha": alpha}, p=1),)), np.arange(len(images)), 0, 0)[0]
    share = TRANSFORMS.get("mixup").function(drawn.values, (2, 2))[:, 4]
    assert share.mean() == pytest.approx(0.5, abs=0.03)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_a_mix_with_an_unknown_label_is_unknown():
    images, labels = scans(8), np.array([[0, 1], [np.nan, 1]] * 4, np.float32)
    mixing = Augmentation((Step("mixup", {"alpha": 4}, p=1),))
    result = augment_samples(pool_of(images, labels), np.arange(8), mixing, 0, 0)
    partners = (result.drawn[0].values["partner"] * 8).astype(int)
    assert np.array_equal(np.isnan(result.targets[:, 0]), np.isnan(labels[:, 0]) | np.isnan(labels[partners, 0]))
    assert np.allclose(result.targets[:, 1], 1)


@pytest.mark.parametrize("step", [Step(name, {"alpha": 0.2}, p=1) for name in ("mixup", "cutmix")])
def test_labels_stay_where_no_pixel_of_another_scan_shows(step):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (400, 12, 12, 1), np.uint8)
    labels = np.where(np.arange(400)[:, None] % 2, np.nan, np.eye(400, dtype=np.float32)).astype(np.float32)
    pool = replace(pool_of(images, labels), train=np.arange(400))
    result = augment_samples(pool, np.arange(400), Augmentation((step,)), 0, 1)
    partners = pool.partners[(result.drawn[0].values["partner"] * len(pool.partners)).astype(int)]
    same = (result.images == images).all(axis=(1, 2, 3)) & (partners != np.arange(400))
    gone = (result.images == images[partners]).all(axis=(1, 2, 3)) & (partners != np.arange(400))
    assert same.sum() > 10
    assert np.array_equal(result.targets[same], labels[same], equal_nan=True)
    assert gone.sum() > 3 or step.transform == "cutmix"  # whose box hardly ever is the whole scan
    assert np.array_equal(result.targets[gone], labels[partners][gone], equal_nan=True)


def test_presets_are_gentle_where_they_say_so():
    for name, preset in PRESETS.items():
        assert preset.about.count(".") >= 2
        if name == "study":
            continue
        used = {step.transform for step in preset.steps}
        assert not {"flip-left-right", "flip-up-down"} & used
        assert not {step.entry.family for step in preset.steps} & {"holes", "mix"}
        turn = next(step for step in preset.steps if step.transform == "rotate")
        assert max(map(abs, ends(turn.settings["degrees"]))) <= 10
