"""The one way in which scans are augmented: what is drawn for them, and what is done to them.

The preview and the training call the same `augment_samples`, and what it draws follows from the seed, the epoch and
the sample alone. So a preview of epoch 3 is what the network sees in epoch 3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.augment.draws import uniform
from medwb.augment.recipe import Augmentation, Step
from medwb.augment.transform import BORDERS, Family, Floats, Values
from medwb.dataset import Dataset
from medwb.images import Pixels, to_shape
from medwb.params import Deal, OneOf, Setting

FIRST_EPOCH = 1
"""Number of a run's first epoch."""

_LEVELS = 256
_FAINT = 0.5 / (_LEVELS - 1)  # a share by which no pixel changes


class Drawn(NamedTuple):
    """What was drawn for one step.

    Attributes:
        step: The step.
        applied: bool (n,): the scans that it changes.
        values: float64 (n,) a parameter and hidden number, a text a choice.
    """

    step: Step
    applied: npt.NDArray[np.bool_]
    values: Values


class Augmented(NamedTuple):
    """Scans as the network sees them.

    Attributes:
        images: uint8 (n, H, W, C).
        targets: float32 (n, L): labels; mixed in the share that the images are, NaN where one of the two is unknown.
        drawn: One a step.
    """

    images: Pixels
    targets: npt.NDArray[np.float32]
    drawn: list[Drawn]


@dataclass(frozen=True)
class Pool:
    """Samples that can be augmented, and those among them that others are mixed with.

    Attributes:
        samples: int64 (N,): a number a sample that stays the same whatever the pool; `Dataset.rows`.
        labels: float32 (N, L): 0..1, NaN for unknown.
        images: From positions, int64 (n,), to uint8 (n, H, W, C).
        train: Positions of what a network learns from, in the dataset's order; None for all. Those with a known label
            are the partners in mixing, whichever samples are augmented.
    """

    samples: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float32]
    images: Callable[[npt.NDArray[np.int64]], Pixels]
    train: npt.NDArray[np.int64] | None = None

    @cached_property
    def partners(self) -> npt.NDArray[np.int64]:
        """Positions of those that others are mixed with; all that are learned from where no label is known."""
        train = np.arange(len(self.samples)) if self.train is None else self.train
        labelled = train[~np.isnan(self.labels[train]).all(axis=1)]
        return labelled if len(labelled) else train

    @classmethod
    def of(
        cls, dataset: Dataset, cleaned: Dataset | None = None, shape: tuple[int, int, int] | None = None
    ) -> "Pool":
        """All samples of a dataset, as a run sees them.

        Args:
            dataset: Where they are; partners come from its train split, or from all of it where there is none.
            cleaned: The same under the run's cleaning (`Cleaning.apply`).
            shape: (height, width, channels) that the network sees; the dataset's own when not given.
        """
        seen = dataset if cleaned is None else cleaned
        here = np.searchsorted(dataset.rows, seen.rows, sorter=(order := np.argsort(dataset.rows, kind="stable")))
        here = order[here]
        labels = dataset.labels.copy()
        labels[here] = seen.labels
        learned = (seen.samples["split"] == "train").to_numpy(bool)
        train = here[learned] if learned.any() else here
        size = shape or dataset.image_shape
        return cls(
            dataset.rows, labels, lambda positions: to_shape(dataset.images[dataset.rows[positions]], size), train
        )


def augment_samples(
    pool: Pool, positions: npt.NDArray[np.int64], augmentation: Augmentation, seed: int, epoch: int
) -> Augmented:
    """Augment samples of a pool.

    Args:
        pool: Where they stand.
        positions: int64 (n,): which of them, in any order.
        augmentation: What is done.
        seed: Seed of the run.
        epoch: Number of the epoch, from 1, as a run counts them.
    """
    drawn = draw(augmentation, pool.samples[positions], seed, epoch)
    mixing = [one for one in drawn if one.step.entry.family == "mix"]
    plain = drawn[: len(drawn) - len(mixing)]
    images, targets = apply(pool.images(positions), plain), pool.labels[positions]
    unmixed = Augmentation(tuple(one.step for one in plain))
    for one in mixing:
        where = np.flatnonzero(one.applied)
        if len(where):
            partners = pool.partners[(one.values["partner"][where] * len(pool.partners)).astype(np.int64)]
            other = apply(pool.images(partners), draw(unmixed, pool.samples[partners], seed, epoch))
            values = values_at(one.values, where)
            images[where], share = _mixed(images[where], other, one.step, values)
            targets = targets.copy()
            targets[where] = _mixed_labels(targets[where], pool.labels[partners], share[:, None])
    return Augmented(images, targets, drawn)


def draw(augmentation: Augmentation, samples: npt.NDArray[np.int64], seed: int, epoch: int) -> list[Drawn]:
    """What an augmentation does to samples: a pure function of the sample, the seed, the epoch and the step.

    A step draws from a stream of its own, named after its transform and how often that stood before it. So changing,
    moving or switching off one step leaves what the others draw as it was.

    Args:
        augmentation: Its active steps draw.
        samples: int64 (n,): numbers of the samples.
        seed: Seed of the run.
        epoch: Number of the epoch, from 1, as a run counts them.
    """
    result, seen = [], dict[str, int]()
    for step in augmentation.steps:
        seen[step.transform] = seen.get(step.transform, 0) + 1
        if not step.enabled:
            continue
        entry = step.entry
        names = [*(param.name for param in entry.params), *entry.hidden]
        stream = f"{seed}/{epoch}/{step.transform}/{seen[step.transform]}"
        chances = uniform(stream, samples, 1 + len(names))
        values: dict[str, object] = dict(zip(names, chances[1:], strict=True))
        for param in entry.params:
            setting = step.settings[param.name]
            assert not isinstance(setting, str)
            if isinstance(setting, Deal):
                table = f"{seed}/{epoch}/{step.transform}/{param.name}/deal"
                values[param.name] = _dealt(setting, table, samples, seen[step.transform] - 1)
            else:
                values[param.name] = _value(setting, chances[1 + names.index(param.name)], param.integer)
        values |= {choice.name: step.settings[choice.name] for choice in entry.choices}
        result.append(Drawn(step, chances[0] < step.p, values))
    return result


def _dealt(setting: Deal, stream: str, samples: npt.NDArray[np.int64], turn: int) -> Floats:
    """The value that each sample's shuffled pack holds for a turn."""
    order = np.argsort(uniform(stream, samples, len(setting.values)), axis=0)
    return np.array(setting.values, np.float64)[order[turn % len(order)]]


def _value(setting: Setting, chance: Floats, integer: bool) -> Floats:
    """Turn numbers in [0, 1) into values of a setting."""
    if isinstance(setting, OneOf):
        some = np.array(setting.values, np.float64)
        return some[(chance * len(some)).astype(np.int64)]
    low, high = setting if isinstance(setting, tuple) else (setting, setting)
    return low + np.floor(chance * (high - low + 1)) if integer else low + chance * (high - low)


def apply(images: Pixels, drawn: Sequence[Drawn]) -> Pixels:
    """Do what was drawn; returns new images, uint8 (n, H, W, C).

    Neighbouring geometric steps with the same border are one warp, so that a scan is interpolated once, and
    neighbouring tone steps one curve.

    Args:
        images: uint8 (n, H, W, C).
        drawn: Not of the family "mix".
    """
    result = np.array(images, order="C")
    for family, steps in groups(drawn):
        if family == "geometry":
            _warp(result, steps)
        elif family == "tone":
            _tone(result, steps)
        elif family == "holes":
            for step in steps:
                _cut(result, step)
        else:
            for step in steps:
                for n in np.flatnonzero(step.applied):
                    result[n] = step.step.entry.function(result[n], values_at(step.values, n))
    return result


def groups(drawn: Sequence[Drawn]) -> list[tuple[Family, list[Drawn]]]:
    """Neighbouring steps that are applied together: of one family, and with one border."""
    result: list[tuple[Family, list[Drawn]]] = []
    border = None
    for one in drawn:
        family, mine = one.step.entry.family, one.values.get("border")
        if result and result[-1][0] == family and (mine is None or border in (None, mine)):
            result[-1][1].append(one)
            border = border or mine
        else:
            result.append((family, [one]))
            border = mine
    return result


def matrices(steps: Sequence[Drawn], size: tuple[int, int]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Neighbouring geometric steps as one.

    Args:
        steps: All of the family "geometry".
        size: (height, width) in pixels.

    Returns:
        int64 (m,): the images that move, and float64 (m, 2, 3): from a pixel (x, y, 1) of the result to where it
        comes from.
    """
    where = np.flatnonzero(np.any([one.applied for one in steps], axis=0))
    total = np.tile(np.eye(3), (len(where), 1, 1))
    for one in steps:
        mine = one.applied[where]
        total[mine] = total[mine] @ one.step.entry.function(values_at(one.values, where[mine]), size)
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    maps = total[:, :2].copy()
    maps[:, :, 2] += centre - maps[:, :, :2] @ centre
    return where, maps


def border_mode(border: str) -> int:
    """OpenCV's number for a choice of `border`."""
    import cv2

    return int(getattr(cv2, BORDERS[border]))


def _warp(images: Pixels, steps: Sequence[Drawn]) -> None:
    import cv2

    size = images.shape[1:3]
    named = next((one.values["border"] for one in steps if "border" in one.values), "edge")
    border, flags = border_mode(named), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = np.empty(images.shape[1:], np.uint8)
    for n, matrix in zip(*matrices(steps, size), strict=True):
        cv2.warpAffine(images[n], matrix, (size[1], size[0]), moved, flags, border)
        images[n] = moved


def _tone(images: Pixels, steps: Sequence[Drawn]) -> None:
    import cv2

    where = np.flatnonzero(np.any([one.applied for one in steps], axis=0))
    curves = np.tile(np.linspace(0, 1, _LEVELS), (len(where), 1))
    for one in steps:
        mine = one.applied[where]
        curves[mine] = np.clip(one.step.entry.function(values_at(one.values, where[mine]), curves[mine]), 0, 1)
    tables = np.rint(curves * (_LEVELS - 1)).astype(np.uint8)
    for n, table in zip(where, tables, strict=True):
        cv2.LUT(images[n], table, images[n])


def boxes(one: Drawn, size: tuple[int, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where a step of the family "holes" cuts: int64 (m,) images and (m, 4) left, top, right, bottom."""
    where = np.flatnonzero(one.applied)
    return where, one.step.entry.function(values_at(one.values, where), size)


def _cut(images: Pixels, one: Drawn) -> None:
    fill = one.values["fill"]
    for n, (left, top, right, bottom) in zip(*boxes(one, images.shape[1:3]), strict=True):
        hole = images[n, top:bottom, left:right]
        if fill == "noise":
            rng = np.random.default_rng(seed_of(one.values["noise"][n]))
            hole[...] = rng.integers(0, _LEVELS, (*hole.shape[:2], 1), np.uint8)  # grey, on colour too
        else:
            hole[...] = 0 if fill == "black" else np.rint(images[n].mean(axis=(0, 1)))


def _mixed(images: Pixels, other: Pixels, step: Step, values: Values) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """Images with the others showing through, and the share (n,) of each that the other has."""
    result, shares = images.copy(), np.zeros(len(images), np.float32)
    height, width = images.shape[1:3]
    plans = step.entry.function(values, (height, width))
    plans[:, 4] = np.where(plans[:, 4] < _FAINT, 0, np.where(plans[:, 4] > 1 - _FAINT, 1, plans[:, 4]))
    for n, (left, top, right, bottom, share) in enumerate(plans):
        part = np.s_[int(top) : int(bottom), int(left) : int(right)]
        blend = (1 - share) * images[n][part].astype(np.float32) + share * other[n][part].astype(np.float32)
        result[n][part] = np.rint(blend)
        shares[n] = share * (right - left) * (bottom - top) / (height * width)
    return result, shares


def _mixed_labels(
    mine: npt.NDArray[np.float32], other: npt.NDArray[np.float32], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(n, L): unknown where one of the two is, unless nothing is to be seen of it."""
    both = (1 - share) * mine + share * other
    return np.where(share == 0, mine, np.where(share == 1, other, both))


def seed_of(chance: float) -> int:
    """A seed for a generator, from a number in [0, 1)."""
    return int(chance * 2**53)


def values_at(values: Values, where: npt.NDArray[np.int64] | np.int64) -> Values:
    """The values of some scans, or of one."""
    return {name: value if isinstance(value, str) else value[where] for name, value in values.items()}
