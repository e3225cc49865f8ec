"""What is drawn, and that steps done together are what they are one after the other."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from augmented_scans import augmented, pool_of, scans

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.apply import apply, boxes, draw, groups, matrices
from medwb.augment.draws import uniform
from medwb.dataset import Dataset
from medwb.params import OneOf

MANY = np.arange(40_000)
NAMES = TRANSFORMS.names()


def close_to_zero(correlation, count=40_000):
    """Within five standard errors of none."""
    return abs(correlation) < 5 / np.sqrt(count)


@pytest.mark.parametrize("stream", ["0/0/rotate/1", "1/0/rotate/1", ""])
def test_numbers_are_uniform_and_independent(stream):
    numbers = uniform(stream, MANY, 4)
    assert numbers.shape == (4, len(MANY))
    assert numbers.dtype == np.float64
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for slot in numbers:
        assert slot.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 12 / len(MANY)))
        assert slot.var() == pytest.approx(1 / 12, rel=0.03)
        counts = np.bincount((slot * 100).astype(int), minlength=100)
        assert ((counts - 400) ** 2 / 400).sum() < 99 + 5 * np.sqrt(2 * 99)
        for distance in (1, 2, 64, 1000):
            assert close_to_zero(np.corrcoef(slot[:-distance], slot[distance:])[0, 1])
    assert all(close_to_zero(one) for one in np.corrcoef(numbers)[np.triu_indices(4, 1)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0/0/rotate/1", "1/0/rotate/1"),
        ("0/0/rotate/1", "0/1/rotate/1"),
        ("0/0/rotate/1", "0/0/rotate/2"),
        ("0/0/rotate/1", "0/0/shear/1"),
        ("1/11/rotate/1", "11/1/rotate/1"),
    ],
)
def test_streams_are_independent(one, other):
    first, second = (uniform(stream, MANY, 2) for stream in (one, other))
    for mine in first:
        for theirs in second:
            assert close_to_zero(np.corrcoef(mine, theirs)[0, 1])
            assert close_to_zero(np.corrcoef(mine[1:], theirs[:-1])[0, 1])


def test_one_sample_over_the_epochs_is_uniform():
    numbers = np.array([uniform(f"0/{epoch}/rotate/1", np.array([7]), 1)[0, 0] for epoch in range(4000)])
    assert numbers.mean() == pytest.approx(0.5, abs=0.025)
    assert numbers.var() == pytest.approx(1 / 12, rel=0.1)
    assert close_to_zero(np.corrcoef(numbers[:-1], numbers[1:])[0, 1], 4000)


def test_numbers_stay_what_they_are():
    """Runs name their seed; another release must draw the same."""
    drawn = uniform("0/0/rotate/1", np.array([0, 1, 10**12]), 2)
    assert drawn.tolist() == [
        [0.8495764555132854, 0.8867261146993058, 0.5094212501734847],
        [0.7294658370528457, 0.7212101979444334, 0.3509831181725057],
    ]
    assert uniform("x", np.array([], np.int64), 3).shape == (3, 0)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_a_step_is_applied_as_often_as_it_says(p):
    for epoch in range(3):
        applied = draw(Augmentation((Step("rotate", p=p),)), MANY, 0, epoch)[0].applied
        assert applied.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / len(MANY)))


def test_values_are_spread_over_their_setting():
    steps = (
        Step("rotate", {"degrees": (-20, 60)}),
        Step("median-blur", {"radius": (2, 5)}),
        Step("rotate", {"degrees": OneOf((-90, 0, 90))}),
        Step("rotate", {"degrees": 33}),
    )
    angle, radius, some, fixed = draw(Augmentation(steps), MANY, 0, 0)
    assert angle.values["degrees"].min() >= -20
    assert angle.values["degrees"].max() <= 60
    assert angle.values["degrees"].mean() == pytest.approx(20, abs=0.6)
    assert angle.values["degrees"].std() == pytest.approx(80 / np.sqrt(12), rel=0.02)
    for values, expected in ((radius.values["radius"], [2, 3, 4, 5]), (some.values["degrees"], [-90, 0, 90])):
        found, counts = np.unique(values, return_counts=True)
        assert sorted(found) == sorted(expected)
        assert counts == pytest.approx(np.full(len(expected), len(MANY) / len(expected)), rel=0.06)
    assert (fixed.values["degrees"] == 33).all()
    assert close_to_zero(np.corrcoef(angle.applied, angle.values["degrees"])[0, 1])
    assert close_to_zero(np.corrcoef(angle.values["degrees"], some.values["degrees"])[0, 1])


def same(one, other):
    return np.array_equal(one.applied, other.applied) and all(
        np.array_equal(one.values[name], other.values[name]) for name in one.values
    )


def test_changing_one_step_leaves_what_the_others_draw():
    steps = (
        Step("rotate", p=0.7),
        Step("shear", p=0.7),
        Step("rotate", {"degrees": (-90, 90)}, p=0.4),
        Step("cutout"),
    )
    numbers = np.arange(100)
    before = draw(Augmentation(steps), numbers, 3, 5)
    variants = {
        "another value": (*steps[:1], Step("shear", {"x": (-0.5, 0.5)}, p=0.2), *steps[2:]),
        "switched off": (*steps[:1], replace(steps[1], enabled=False), *steps[2:]),
        "moved": (steps[1], steps[0], *steps[2:]),
        "one more before": (Step("invert"), *steps),
    }
    for name, changed in variants.items():
        after = draw(Augmentation(changed), numbers, 3, 5)
        others = [one for one in after if one.step in (steps[0], steps[2], steps[3])]
        assert len(others) == 3, name
        assert all(same(one, before[number]) for one, number in zip(others, (0, 2, 3), strict=True)), name
    # A step that is switched off counts, so that the second of a name keeps its draws.
    off = draw(Augmentation((replace(steps[0], enabled=False), *steps[1:])), numbers, 3, 5)
    assert same(off[1], before[2])


def test_seed_and_epoch_do_not_run_into_one_another():
    one, other = (draw(Augmentation((Step("rotate"),)), np.arange(9), *of)[0] for of in ((1, 11), (11, 1)))
    assert not same(one, other)


def test_the_same_values_scaled_when_a_range_grows():
    """Dragging an end of a range moves each scan a little; it does not draw anew."""
    small, large = (
        draw(Augmentation((Step("rotate", {"degrees": (0, end)}),)), np.arange(50), 0, 0)[0] for end in (10, 20)
    )
    assert np.allclose(2 * small.values["degrees"], large.values["degrees"])
    more, fewer = (draw(Augmentation((Step("rotate", p=p),)), np.arange(50), 0, 0)[0].applied for p in (0.6, 0.5))
    assert (fewer <= more).all()


def test_samples_draw_by_their_row_in_the_dataset(tiny: Dataset):
    """A split or a cleaned dataset holds the same samples in other places."""
    augmentation = PRESETS["study"]
    train = tiny.split("train")
    whole = augment_samples(Pool.of(tiny), np.arange(len(tiny.samples)), augmentation, 0, 2).images
    part = augment_samples(Pool.of(train), np.arange(len(train.samples)), augmentation, 0, 2).images
    assert np.array_equal(part, whole[train.rows])


@pytest.mark.parametrize("name", [*NAMES, *PRESETS])
def test_nothing_to_do_and_nobody(name):
    steps = PRESETS[name].steps if name in PRESETS else (Step(name),)
    nobody = augmented(scans(3, (20, 24, 3)), *steps, positions=np.array([], np.int64))
    assert nobody.images.shape == (0, 20, 24, 3)
    assert nobody.targets.shape == (0, 3)
    images = scans(3)
    nothing = augmented(images)
    assert np.array_equal(nothing.images, images)
    assert not np.shares_memory(nothing.images, images)
    assert nothing.drawn == []


def one_after_the_other(images, augmentation, seed=0, epoch=0):
    """What `apply` does when each step is a group of its own."""
    for one in draw(augmentation, np.arange(len(images)) + 100, seed, epoch):
        images = apply(images, [one])
    return images


def test_neighbours_are_grouped():
    def families(*steps):
        return [(family, len(some)) for family, some in groups(draw(Augmentation(steps), np.arange(2), 0, 0))]

    reflect, black = (Step("rotate", {"border": border}) for border in ("reflect", "black"))
    flip, dark, cut = Step("flip-left-right"), Step("gamma"), Step("cutout")
    assert families(reflect, flip, reflect) == [("geometry", 3)]
    assert families(flip, reflect, black, flip) == [("geometry", 2), ("geometry", 2)]
    assert families(reflect, dark, dark, reflect) == [("geometry", 1), ("tone", 2), ("geometry", 1)]
    assert families(reflect, cut, reflect) == [("geometry", 1), ("holes", 1), ("geometry", 1)]
    assert families() == []


@pytest.mark.parametrize("border", ["reflect", "edge", "black"])
def test_exact_moves_are_exact_together(border):
    """Quarter turns, flips and whole pixels hit pixels: there is nothing to interpolate."""
    images = scans(30, (32, 32, 1))
    turns = Augmentation(
        (
            Step("rotate", {"degrees": OneOf((-90, 0, 90, 180)), "border": border}, p=0.8),
            Step("flip-left-right"),
            Step("rotate", {"degrees": OneOf((-90, 90)), "border": border}),
            Step("flip-up-down"),
        )
    )
    assert np.array_equal(augmented(images, *turns.steps).images, one_after_the_other(images, turns))
    shifts = Augmentation(
        (
            Step("shift", {"right": OneOf((0, 25)), "down": OneOf((0, 12.5)), "border": border}),
            Step("shift", {"right": OneOf((0, 12.5)), "down": OneOf((0, 25)), "border": border}),
        )
    )
    together, single = augmented(images, *shifts.steps).images, one_after_the_other(images, shifts)
    assert np.array_equal(together[:, 12:, 12:], single[:, 12:, 12:])
    # A reflection of a reflection is not that of the scan.
    assert np.array_equal(together, single) == (border != "reflect")


def test_moves_go_where_they_say():
    image = scans(1, (40, 40, 1))
    for step, expected in (
        (Step("rotate", {"degrees": 90}, p=1), np.rot90(image[0])),
        (Step("flip-left-right", p=1), image[0][:, ::-1]),
        (Step("flip-up-down", p=1), image[0][::-1]),
    ):
        assert np.array_equal(augmented(image, step).images[0], expected)
    right = augmented(image, Step("shift", {"right": 10, "down": -5, "border": "black"}, p=1)).images[0]
    assert np.array_equal(right[:-2, 4:], image[0][2:, :-4])
    assert not right[:, :4].any()
    assert not right[-2:].any()
    slanted = augmented(image, Step("shear", {"x": 0.5, "y": 0, "border": "black"}, p=1)).images[0]
    assert not slanted[0, -9:].any()
    assert not slanted[-1, :9].any()


def smooth_scans(count, side):
    y, x = np.mgrid[:side, :side] / side
    waves = [
        np.sin(2 * np.pi * (x * (1 + k % 3) + k / 7)) * np.cos(2 * np.pi * y * (1 + k % 2)) for k in range(count)
    ]
    return np.rint(127 + 110 * np.stack(waves))[..., None].astype(np.uint8)


STREAM = Augmentation(
    (
        Step("rotate", {"degrees": (-40, 40)}, p=1),
        Step("flip-left-right"),
        Step("shear", {"x": (-0.3, 0.3), "y": (-0.2, 0.2)}, p=0.7),
        Step("scale", {"x": (0.9, 1.3), "y": (0.9, 1.3), "window": "anywhere"}, p=0.7),
        Step("shift", p=0.7),
        Step("crop", {"keep": (85, 100)}, p=0.7),
    )
)


def _never_outside(drawn, side):
    """Pixels of the result that no step took from beyond an edge."""
    inside = np.full((len(drawn[0].applied), side, side), 255, np.uint8)
    for one in drawn:
        for n, matrix in zip(*matrices([one], (side, side)), strict=True):
            inside[n] = cv2.warpAffine(inside[n], matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return inside == 255


def test_one_warp_is_many_but_for_interpolation_and_border():
    images = smooth_scans(24, 96)
    together = augmented(images, *STREAM.steps).images.astype(int)
    single = one_after_the_other(images, STREAM).astype(int)
    inside = _never_outside(draw(STREAM, np.arange(24) + 100, 0, 0), 96)
    assert inside.mean() > 0.3
    far = np.abs(together - single)[..., 0]
    # Each interpolation flattens the waves of 32 pixels a little, and rounds.
    assert far[inside].mean() < 1.5
    assert far[inside].max() <= 8
    assert far[~inside].max() > 20, "the border tells the two apart; the mask would be needless"


def test_one_warp_keeps_more_detail():
    rng = np.random.default_rng(0)
    images = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 24), np.uint8), (3, 3), 0.6).transpose(2, 0, 1)[..., None]

    def detail(some):
        return np.mean([cv2.Laplacian(image, cv2.CV_32F).var() for image in some])

    together, single = augmented(images, *STREAM.steps).images, one_after_the_other(images, STREAM)
    assert detail(together) > 1.5 * detail(single)
    assert detail(images) > detail(together)


def test_one_curve_is_many_but_for_rounding_and_cutting_off():
    images = scans(20)
    steps = (
        Step("brightness-contrast", {"brightness": (0, 5), "contrast": (-20, -5)}, p=0.7),
        Step("gamma", p=0.7),
        Step("invert", p=0.5),
        Step("gamma", {"gamma": (0.8, 1.2)}, p=0.7),
    )
    together, single = augmented(images, *steps).images, one_after_the_other(images, Augmentation(steps))
    far = np.abs(together.astype(int) - single)
    assert far.mean() < 1
    assert far.max() <= 12
    twice = augmented(images, Step("invert", p=1), Step("invert", p=1)).images
    assert np.array_equal(twice, images)


def test_a_curve_is_cut_off_at_black_and_white_after_each_step():
    """What one step drove to white, the next does not bring back: a file between them could not either."""
    images = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, None, :, None], (1, 2, 256, 1))
    steps = (
        Step("brightness-contrast", {"brightness": 50, "contrast": 0}, p=1),
        Step("brightness-contrast", {"brightness": -50, "contrast": 0}, p=1),
    )
    levels = augmented(images, *steps).images[0, 0, :, 0].astype(int)
    assert np.abs(levels - np.minimum(np.arange(256), 127.5)).max() <= 1


def test_holes_lie_where_boxes_says():
    images = np.full((20, 30, 40, 1), 200, np.uint8)
    result = augmented(images, Step("cutout", p=0.6))
    where, edges = boxes(result.drawn[0], (30, 40))
    assert np.array_equal(where, np.flatnonzero((result.images == 0).any(axis=(1, 2, 3))))
    for n, (left, top, right, bottom) in zip(where, edges, strict=True):
        assert (result.images[n, top:bottom, left:right] == 0).all()
        assert (result.images[n] == 0).sum() == (right - left) * (bottom - top)


def test_the_other_scan_of_a_mix_is_augmented_as_it_is_on_its_own():
    images = scans(9)
    plain = (Step("flip-left-right"), Step("rotate", {"degrees": (-30, 30)}, p=1), Step("gaussian-noise", p=1))
    alone = augmented(images, *plain, seed=4, epoch=2).images.astype(float)
    result = augmented(images, *plain, Step("mixup", {"alpha": 2}, p=1), seed=4, epoch=2)
    values = result.drawn[-1].values
    partners = (values["partner"] * 9).astype(int)
    assert len(set(partners)) > 3
    share = result.targets[np.arange(9), np.arange(9)]
    alike = partners == np.arange(9)
    expected = share[:, None, None, None] * alone + (1 - share[:, None, None, None]) * alone[partners]
    assert np.abs(result.images - expected)[~alike].max() <= 0.51


def test_partners_come_from_the_whole_pool():
    images = np.zeros((50, 4, 4, 1), np.uint8)
    pool = pool_of(images)
    drawn = [
        augment_samples(pool, np.arange(3), Augmentation((Step("cutmix", p=1),)), 0, epoch) for epoch in range(200)
    ]
    partners = np.concatenate([(one.drawn[0].values["partner"] * 50).astype(int) for one in drawn])
    assert set(partners) == set(range(50))


def test_partners_have_known_labels_where_any_sample_has():
    images = scans(20, (8, 8, 1))
    labels = np.full((20, 2), np.nan, np.float32)
    labels[:6, 0] = 1
    mixed = augment_samples(pool_of(images, labels), np.arange(6), Augmentation((Step("mixup", p=1),)), 0, 1)
    assert (mixed.targets[:, 0] == 1).all()
    unknown = pool_of(images, np.full((20, 2), np.nan, np.float32))
    assert np.array_equal(unknown.partners, np.arange(20))
