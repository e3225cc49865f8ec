"""What of a scan shows something, and how much of that is left."""

import numpy as np
import pytest
from augmented_scans import scans

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.apply import apply, draw
from medwb.augment.kept import foreground, kept
from medwb.formats import import_dataset
from medwb.params import OneOf

FULL = np.full((6, 60, 80, 1), 200, np.uint8)
FULL[:, :2] = 0
"""Light from the third row on, so that something is darker."""


def left_over(images, *steps, seed=0):
    return kept(images, draw(Augmentation(steps), np.arange(len(images)), seed, 0))


def test_foreground_is_the_body():
    images = np.random.default_rng(0).integers(0, 6, (1, 64, 64, 1)).astype(np.uint8)
    images[0, 20:50, 10:40] = 90
    images[0, 30:34, 20:24] = 250
    found = foreground(images)
    assert found.shape == (1, 64, 64)
    assert found.dtype == bool
    assert found[0, 21:49, 11:39].all()
    assert not found[0, :18].any()
    assert found.sum() == pytest.approx(900, rel=0.15)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("error")
def test_a_scan_of_one_grey_level_shows_nothing(channels):
    images = np.zeros((4, 20, 30, channels), np.uint8)
    images[1], images[2], images[3] = 255, 130, np.random.default_rng(0).integers(0, 4, (20, 30, channels))
    assert not foreground(images).any()
    assert np.isnan(left_over(images, Step("cutout", p=1))).all()


def test_a_grey_background_is_background():
    """Some exports give air a middle grey."""
    images = np.full((1, 40, 40, 1), 120, np.uint8)
    images[0, 10:30, 10:30] = 135
    images[0, 15:20, 15:20] = 200
    assert foreground(images).sum() == pytest.approx(400, rel=0.25)


def test_everything_is_left_when_nothing_is_done():
    assert kept(FULL, []) == pytest.approx(np.ones(6))
    assert left_over(FULL, Step("cutout", p=0), Step("rotate", p=0)) == pytest.approx(np.ones(6))
    assert kept(FULL[:0], []).shape == (0,)


@pytest.mark.parametrize("name", [entry.name for entry in TRANSFORMS if entry.family in ("tone", "pixels")])
def test_light_and_noise_hide_nothing(name):
    assert left_over(FULL, Step(name, p=1)) == pytest.approx(np.ones(6))


def test_a_hole_takes_what_it_covers():
    white = np.zeros((40, 60, 80, 1), np.uint8)
    white[:, 10:50, 10:70] = 255
    result = augment_samples(
        Pool(np.arange(40), np.zeros((40, 1), np.float32), lambda positions: np.full_like(white, 255)[positions]),
        np.arange(40),
        Augmentation((Step("cutout", {"size": 50}, p=0.7),)),
        0,
        0,
    )
    shown = foreground(white)
    expected = ((result.images[..., 0] > 0) & shown).sum(axis=(1, 2)) / shown.sum(axis=(1, 2))
    found = kept(white, result.drawn)
    assert found == pytest.approx(expected)
    assert (found[~result.drawn[0].applied] == 1).all()
    assert found.min() < 0.8
    twice = left_over(white, Step("cutout", {"size": 50}, p=1), Step("cutout", {"size": 50}, p=1))
    once = left_over(white, Step("cutout", {"size": 50}, p=1))
    assert (twice <= once + 1e-9).all()
    assert twice.mean() > once.mean() ** 2 - 0.1


@pytest.mark.parametrize(
    ("step", "share"),
    [
        (Step("shift", {"right": 50, "down": 0}, p=1), 0.5),
        (Step("shift", {"right": 0, "down": -25}, p=1), 1 - 13 / 58),
        (Step("flip-left-right", p=1), 1),
        (Step("rotate", {"degrees": 180}, p=1), 1),
        (Step("scale", {"x": 2, "y": 1}, p=1), 0.5),
        (Step("scale", {"x": 0.5, "y": 0.5}, p=1), 1),
        (Step("crop", {"keep": 50}, p=1), 0.25),
        (Step("pad", {"share": 30}, p=1), 1),
        (Step("mixup", {"alpha": 5}, p=1), 0.5),
    ],
)
def test_a_move_takes_what_it_puts_out_of_sight(step, share):
    images = np.repeat(FULL, 20, axis=0)
    assert left_over(images, step).mean() == pytest.approx(share, abs=0.05)


def test_what_a_later_step_brings_back_is_left():
    there, back = (Step("shift", {"right": right, "down": 0}, p=1) for right in (50, -50))
    assert left_over(FULL, there, back) == pytest.approx(np.ones(6))
    assert left_over(FULL, there, Step("invert", p=1), back) == pytest.approx(np.full(6, 0.5), abs=0.02)


def test_a_hole_moves_with_the_scan():
    """A hole that a later step moves out of sight costs nothing more; the order counts."""
    images = np.zeros((1, 60, 60, 1), np.uint8)
    images[:, 20:40, 20:40] = 255
    hole, away = Step("cutout", {"size": 100}, p=1), Step("shift", {"right": 100, "down": 0}, p=1)
    for steps in ((hole,), (away,), (hole, away), (away, hole)):
        assert left_over(images, *steps) == pytest.approx([0], abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_what_the_pixels_say(seed):
    """Where every move hits pixels and the border is black, what is left can be counted."""
    images = np.zeros((60, 64, 64, 1), np.uint8)
    images[:, 10:45, 5:40] = 255
    shown = foreground(images)
    black = {"border": "black"}
    steps = (
        Step("shift", {"right": OneOf((-25, 0, 50)), "down": OneOf((0, 12.5)), **black}, p=0.7),
        Step("cutout", {"size": (20, 60)}, p=0.7),
        Step("rotate", {"degrees": OneOf((-90, 90, 180)), **black}, p=0.7),
        Step("cutout", p=0.7),
        Step("flip-left-right"),
        Step("shift", {"right": OneOf((0, 50)), "down": OneOf((-50, 0)), **black}, p=0.7),
    )
    drawn = draw(Augmentation(steps), np.arange(60), seed, 0)
    seen = apply((shown[..., None] * 255).astype(np.uint8), drawn)
    found = kept(images, drawn)
    assert found == pytest.approx((seen > 0).sum(axis=(1, 2, 3)) / shown.sum(axis=(1, 2)))
    assert found.std() > 0.2


def test_cutmix_takes_the_box():
    images = np.repeat(FULL, 200, axis=0)
    drawn = draw(Augmentation((Step("cutmix", p=1),)), np.arange(len(images)), 0, 0)
    result = augment_samples(
        Pool(np.arange(len(images)), np.zeros((len(images), 1), np.float32), lambda positions: images[positions]),
        np.arange(len(images)),
        Augmentation((Step("cutmix", p=1),)),
        0,
        0,
    )
    assert np.array_equal(kept(images, drawn), kept(images, result.drawn))
    assert 0.5 < kept(images, drawn).mean() < 0.9


def test_chest_x_rays_fill_their_films(home, realdata):
    scans_of = import_dataset(realdata / "nih1000", "nih")
    images = np.array(scans_of.images[:300])
    share = foreground(images).mean(axis=(1, 2))
    assert 0.85 < share.mean() < 0.98
    assert (share > 0.5).mean() > 0.98
    assert left_over(images, *PRESETS["chest-x-ray"].steps).mean() > 0.95
    assert left_over(images, *PRESETS["study"].steps).mean() < 0.6


def test_the_mistake_of_the_study_shows():
    images = scans(200)
    shares = {name: left_over(images, *PRESETS[name].steps) for name in PRESETS}
    assert shares["study"].mean() < 0.6
    assert (shares["study"] < 0.3).mean() > 0.2
    for name in shares.keys() - {"study"}:
        assert shares[name].mean() > 0.93
        assert shares[name].min() > 0.8
