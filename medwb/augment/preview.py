"""What the augmentation lab shows: what training would do to a few scans, in pictures, words and shares.

The draws of a preview are epochs: column k of a grid is what a network would receive in epoch k of a run with that
seed, because both come from `augment_samples`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.augment.apply import FIRST_EPOCH, Augmented, Drawn, Pool, augment_samples, boxes, draw, matrices, values_at
from medwb.augment.kept import foreground, kept
from medwb.augment.recipe import Augmentation
from medwb.augment.transform import TRANSFORMS, Floats
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.images import Pixels
from medwb.params import Param

if TYPE_CHECKING:  # a preview without a cleaning needs no audit
    from medwb.audit.cleaning import Cleaning

HALF, FIFTH = 0.5, 0.2
"""A recipe is warned of when less than half of the foreground is left on average, or less than a fifth in a tenth
of the draws."""

MEASURED = 64
"""Scans that stand for a dataset where a recipe is measured."""

_OFTEN = 0.1
_MOST_BYTES = 64_000_000  # of pixels to measure
_ALL = 0.995  # rounds to 100 %
_TWO_EPOCHS = (FIRST_EPOCH, FIRST_EPOCH + 1)
_BINS = 64


def learned(dataset: Dataset, cleaning: "Cleaning | None" = None) -> npt.NDArray[np.bool_]:
    """The samples that a run learns from, bool (N,): the train split, or all where there is none.

    Args:
        dataset: The dataset.
        cleaning: What the run learns under; what leaves is not learned from.

    Raises:
        RequestError: The cleaning is of other data, or leaves nothing.
    """
    keep = np.ones(len(dataset), bool) if cleaning is None else cleaning.keep(dataset)
    if cleaning is not None and not keep.any():
        raise RequestError(f"cleaning {cleaning.name!r} leaves no sample of {dataset.name!r}; choose another")
    train = keep & (dataset.samples["split"] == "train").to_numpy(bool)
    return train if train.any() else keep


@dataclass(frozen=True)
class Scans:
    """Samples of a dataset to look at, as a run sees them.

    Attributes:
        ids: Their ids.
        images: uint8 (n, H, W, C), as a network would see them without augmentation.
        pool: The dataset as the run sees it. Where a step mixes, they are mixed with what the run learns from.
        positions: int64 (n,): where they stand in the dataset's table.
    """

    ids: tuple[str, ...]
    images: Pixels
    pool: Pool
    positions: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        positions: Sequence[int] | npt.NDArray[np.int64],
        *,
        cleaning: "Cleaning | None" = None,
        shape: tuple[int, int, int] | None = None,
    ) -> "Scans":
        """The samples at these positions of a dataset's table.

        Args:
            dataset: Where they are.
            positions: int64 (n,).
            cleaning: What the run learns under: it decides on labels, and on what scans are mixed with.
            shape: (height, width, channels) that the network sees (`medwb.config.input_shape`); the dataset's own
                when not given.

        Raises:
            RequestError: The cleaning is of other data, or leaves nothing.
        """
        learned(dataset, cleaning)
        pool = Pool.of(dataset, None if cleaning is None else cleaning.apply(dataset), shape)
        chosen = np.asarray(positions, np.int64)
        return cls(tuple(dataset.samples["id"].iloc[chosen]), np.array(pool.images(chosen)), pool, chosen)

    @classmethod
    def spread(
        cls,
        dataset: Dataset,
        count: int = MEASURED,
        *,
        cleaning: "Cleaning | None" = None,
        shape: tuple[int, int, int] | None = None,
    ) -> "Scans":
        """At most `count` samples that stand for what a run learns from, spread evenly over it; fewer of large ones.

        Raises as `of`.
        """
        candidates = np.flatnonzero(learned(dataset, cleaning))
        count = min(count, len(candidates), max(1, _MOST_BYTES // int(np.prod(shape or dataset.image_shape))))
        some = np.unique(np.linspace(0, len(candidates) - 1, count).astype(np.int64))
        return cls.of(dataset, candidates[some], cleaning=cleaning, shape=shape)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.images.shape[1:3]
        return int(height), int(width)

    def augment(self, augmentation: Augmentation, seed: int, epoch: int) -> Augmented:
        """What a network receives for them in that epoch of a run with that seed."""
        return augment_samples(self.pool, self.positions, augmentation, seed, epoch)

    def draw(self, augmentation: Augmentation, seed: int, epoch: int) -> list[Drawn]:
        """What is drawn for them, without doing it."""
        return draw(augmentation, self.pool.samples[self.positions], seed, epoch)


class Grid(NamedTuple):
    """Originals and what became of them.

    Attributes:
        scans: The rows.
        epochs: The columns after the first.
        draws: One an epoch.
    """

    scans: Scans
    epochs: range
    draws: list[Augmented]

    @property
    def cells(self) -> Pixels:
        """uint8 (n, 1 + epochs, H, W, C): each original, then what the network receives epoch by epoch."""
        return np.stack([self.scans.images, *(one.images for one in self.draws)], axis=1)

    @property
    def captions(self) -> list[list[str]]:
        """What was drawn for each cell but the originals: a list a row."""
        columns = [captions(one.drawn, self.scans.size) or ["unchanged"] * len(self.scans) for one in self.draws]
        return [list(row) for row in zip(*columns, strict=True)]

    @property
    def kept(self) -> Floats:
        """Share of each scan's foreground that is left, float64 (n, epochs) in 0..1; NaN without a foreground."""
        if not self.draws:
            return np.empty((len(self.scans), 0))
        return np.stack([kept(self.scans.images, one.drawn) for one in self.draws], axis=1)


def preview(scans: Scans, augmentation: Augmentation, seed: int, epoch: int, draws: int) -> Grid:
    """Scans as a network would receive them in `draws` epochs, the first of them `epoch`."""
    epochs = range(epoch, epoch + draws)
    return Grid(scans, epochs, [scans.augment(augmentation, seed, one) for one in epochs])


def captions(drawn: Sequence[Drawn], size: tuple[int, int]) -> list[str]:
    """What was drawn for each scan, in words: "rotate 33°, flip left-right, cutout 40 px".

    Args:
        drawn: What was drawn for n scans.
        size: (height, width) in pixels.

    Returns:
        n texts, or none without a step; "unchanged" where nothing was drawn. A move by nothing, such as a crop that
        keeps everything, is left out.
    """
    words: list[list[str]] = [[] for _ in range(len(drawn[0].applied) if drawn else 0)]
    for one in drawn:
        texts = _holes(one, size) if one.step.entry.family == "holes" else _settings(one, size)
        for n, text in texts.items():
            words[n].append(f"{one.step.entry.title.lower()} {text}".strip())
    return [", ".join(parts) or "unchanged" for parts in words]


def _settings(one: Drawn, size: tuple[int, int]) -> dict[int, str]:
    """The values that were drawn, by scan."""
    entry, where = one.step.entry, np.flatnonzero(one.applied)
    if entry.family == "geometry" and len(where):
        turned, _ = matrices([one], size)
        still = np.abs(entry.function(values_at(one.values, turned), size) - np.eye(3)).max(axis=(1, 2)) < 1e-9
        where = turned[~np.broadcast_to(still, turned.shape)]
    texts = {}
    for n in where.tolist():
        parts = []
        for param in entry.params:
            value = float(one.values[param.name][n])
            name = f"{param.name.replace('_', ' ')} " if len(entry.params) > 1 else ""
            side = size[0] if param.name == "down" else size[1]
            pixels = f" ({value * side / 100:.0f} px)" if entry.family == "geometry" and param.unit == "%" else ""
            parts.append(f"{name}{number_text(value, param, rounded=True)}{pixels}")
        texts[n] = ", ".join(parts)
    return texts


def _holes(one: Drawn, size: tuple[int, int]) -> dict[int, str]:
    """The size of what is cut out, by scan."""
    where, corners = boxes(one, size) if one.applied.any() else (np.empty(0, int), np.empty((0, 4), int))
    sides = zip(where.tolist(), (corners[:, 2:] - corners[:, :2]).tolist(), strict=True)
    shown = ((n, width, height) for n, (width, height) in sides if width and height)
    return {n: f"{width} px" if width == height else f"{width} × {height} px" for n, width, height in shown}


def number_text(value: float, param: Param, rounded: bool = False) -> str:
    """A value of a parameter with its unit, such as "12.5 %"; `lab.js` writes the same (`words`).

    Args:
        value: What it is set to.
        param: The parameter; there are as many decimals as its positions need.
        rounded: Whether to leave out a digit that no picture shows.
    """
    digits = len(f"{param.step:g}".partition(".")[2])
    if rounded:
        digits = max(0, int(np.floor(0.5 - np.log10(param.step))))
    number = Decimal(float(value)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    text = f"{abs(number) if number.is_zero() else number:f}"
    if digits and not rounded:
        text = text.rstrip("0").rstrip(".")
    gap = "" if param.unit in ("", "°") else " "
    return f"{text}{gap}{param.unit}"


def sweep(
    scans: Scans, augmentation: Augmentation, number: int, name: str, seed: int, epoch: int, count: int = 9
) -> tuple[Floats, Pixels]:
    """One parameter along its range, everything else as it is drawn: a filmstrip a scan.

    Args:
        scans: n scans.
        augmentation: The recipe.
        number: Which step, from 0; it is done to every scan.
        name: Which of its parameters.
        seed: Seed of the run.
        epoch: Number of the epoch.
        count: Pictures a scan.

    Returns:
        float64 (m,) values, m at most `count` where the parameter is a whole number, and uint8 (n, m, H, W, C).
    """
    step = augmentation.steps[number]
    param = step.entry.param(name)
    values = np.linspace(param.low, param.high, count)
    values = np.unique(np.rint(values) if param.integer else np.round(values, 6))
    strips = []
    for value in values.tolist():
        one = replace(step, settings={**step.settings, name: value}, p=1.0, enabled=True)
        strips.append(scans.augment(augmentation.with_step(number, one), seed, epoch).images)
    return values, np.stack(strips, axis=1)


def difference(before: Pixels, after: Pixels) -> npt.NDArray[np.float32]:
    """How much brighter pixels became: float32 in -255..255, of the shape of both."""
    return after.astype(np.float32) - before.astype(np.float32)


def histograms(before: Pixels, after: Pixels) -> pd.DataFrame:
    """How bright pixels are before and after.

    Returns:
        `group` ("before", "after"), `intensity` (centre of one of 64 bins, 0..255), `share` of the pixels.
    """
    centres = (np.arange(_BINS) + 0.5) * 256 / _BINS - 0.5
    parts = []
    for group, images in (("before", before), ("after", after)):
        counts = np.bincount(images.ravel() // (256 // _BINS), minlength=_BINS)
        shares = counts / max(1, counts.sum())
        parts.append(pd.DataFrame({"group": group, "intensity": centres, "share": shares}))
    return pd.concat(parts, ignore_index=True)


class Remaining(NamedTuple):
    """How much of the scans a recipe leaves.

    Attributes:
        shares: float64 (m,): of each draw, the share of the foreground that is left; without NaN.
        taken: How much more would be left, on average, without the steps of one transform: its name to a difference.
            Empty when there is nothing to warn of and nobody asked.
        augmentation: The recipe.
    """

    shares: Floats
    taken: dict[str, float]
    augmentation: Augmentation

    @property
    def mean(self) -> float:
        """The mean share; 1 when no scan has a foreground."""
        return float(self.shares.mean()) if len(self.shares) else 1.0

    @property
    def lost(self) -> float:
        """The share of the draws that leave less than a fifth."""
        return float((self.shares < FIFTH).mean()) if len(self.shares) else 0.0

    @property
    def warning(self) -> str:
        """What is wrong with it, in a sentence or two; "" when nothing is."""
        if self.mean >= HALF and self.lost <= _OFTEN:
            return ""
        share = percent(self.mean if self.mean < HALF else self.lost)
        text = f"On average {share} of the scan is left"
        if self.mean >= HALF:
            text = f"{share} of the draws leave less than a fifth of the scan"
        name = max(self.taken, key=lambda one: self.taken[one], default=None)
        if name is None or self.taken[name] < 0.01:
            return f"{text}."
        numbers = [number for number, step in enumerate(self.augmentation.steps, 1) if step.transform == name]
        which = f"{', '.join(map(str, numbers))} ({TRANSFORMS.get(name).title.lower()})"
        one, several = f"step {which} takes the most: without it", f"steps {which} take the most: without them"
        return (
            f"{text}; {one if len(numbers) == 1 else several} {percent(self.mean + self.taken[name])} would be left."
        )


def percent(share: float) -> str:
    """A share, 0..1, as "12 %"; "–" for NaN."""
    return "–" if np.isnan(share) else f"{share * 100:.0f} %"


def left_text(share: float) -> str:
    """How much of a scan is left, as "12 % left"; "" where all is, and where the scan shows nothing (NaN)."""
    return "" if np.isnan(share) or share > _ALL else f"{percent(share)} left"


def remaining(
    scans: Scans, augmentation: Augmentation, seed: int, epochs: Sequence[int] = _TWO_EPOCHS, blame: bool = False
) -> Remaining:
    """How much of the foreground of scans a recipe leaves; only draws, no pictures.

    Args:
        scans: Enough of them to stand for the dataset.
        augmentation: The recipe.
        seed: Seed of the run.
        epochs: Numbers of the epochs to draw for.
        blame: Whether to leave each transform out in turn even where there is nothing to warn of.
    """

    def shares(recipe: Augmentation) -> Floats:
        found = np.concatenate([kept(scans.images, scans.draw(recipe, seed, epoch)) for epoch in epochs])
        return found[~np.isnan(found)]

    result = Remaining(shares(augmentation), {}, augmentation)
    if not blame and not result.warning:
        return result
    for name in dict.fromkeys(step.transform for step in augmentation.active):
        fewer = [replace(step, enabled=step.enabled and step.transform != name) for step in augmentation.steps]
        without = shares(replace(augmentation, steps=tuple(fewer)))
        result.taken[name] = float(without.mean()) - result.mean if len(without) else 0.0
    return result


def telling(dataset: Dataset, order: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The first scans in an order that show something; blank ones only where there are too few others.

    Args:
        dataset: Where they stand.
        order: int64 (n,): positions.
        count: How many are wanted; only as many as are likely to suffice are looked at.

    Returns:
        int64 (at most `count`,) positions.
    """
    looked = order[: 4 * count + 8]
    shows = foreground(dataset.images[dataset.rows[looked]]).any(axis=(1, 2))
    return np.concatenate([looked[shows], looked[~shows]])[:count].astype(np.int64)


def hardest(y_true: npt.NDArray[np.float32], y_score: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """The samples that a run answers worst: int64 (at most `count`,), the worst first.

    Args:
        y_true: float32 (n, L): 1, 0 or NaN for unknown; a sample of which nothing is known is left out.
        y_score: float32 (n, L) in 0..1.
        count: How many.
    """
    known = ~np.isnan(y_true)
    some = np.flatnonzero(known.any(axis=1))
    error = np.where(known, np.abs(np.nan_to_num(y_true) - y_score), 0).sum(1) / np.maximum(1, known.sum(1))
    return some[np.argsort(-error[some], kind="stable")][:count].astype(np.int64)
