"""Which steps can be tested, which of their sliders are worth moving, and which positions to look at."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from medwb.augment.apply import apply, draw
from medwb.augment.recipe import PROBABILITY, Augmentation, Step
from medwb.augment.transform import TRANSFORMS
from medwb.images import Pixels
from medwb.params import OneOf, Param, Setting, ends, plain

MOST_VALUES = 20
"""Of a setting that draws one of some values: so many of them are looked at, the ends among them."""

_POSITIONS = 8  # beside the neutral one
_NEAR = 0.03  # of the range: positions that are not worth telling apart
_MUCH_LESS = 0.5
_USUAL = (0.0, 1.0, 100.0)
"""No change, no factor, everything: one of these, or an end, is where most sliders do nothing."""

Shape = tuple[int, int, int]


class Slider(NamedTuple):
    """One number of a step that is to be moved while the step's other settings stay.

    Attributes:
        step: The step.
        param: Name of the number, or "p" for a step that has none: scans are left alone at 0, all changed at 1.
        quiet: The step's other numbers that were moved to where they do nothing. The rest stand as the step has them.
        settings: The step's other settings, as JSON holds them.
        neutral: The position that changes a scan least; where all change it much the same, the middle of what the
            step draws.
        values: The positions to look at, in rising order.
    """

    step: Step
    param: str
    quiet: tuple[str, ...]
    settings: dict[str, Any]
    neutral: float
    values: list[float]

    def at(self, value: float) -> Step:
        """The step with the slider at a position, applied to every scan."""
        if self.param == PROBABILITY.name:
            return replace(self.step, p=value)
        return replace(self.step, settings={**self.step.settings, self.param: value}, p=1)


def label_keeping_steps(augmentation: Augmentation) -> tuple[list[Step], list[str]]:
    """The active steps of an augmentation whose scans keep their own labels, and why others are left out."""
    mixing = [step.transform for step in augmentation.active if step.entry.family == "mix"]
    notes = [f"{name} is left out: it mixes labels with scans, so there is no answer to keep" for name in mixing]
    return [step for step in augmentation.active if step.entry.family != "mix"], notes


def every_step(shape: tuple[int, int, int]) -> list[Step]:
    """Every transform that suits scans of this (height, width, channels), as it is by default."""
    fitting = [entry for entry in TRANSFORMS if shape[2] == 3 or not entry.colour]
    return [Step(entry.name) for entry in fitting if entry.family != "mix"]


def sliders_of(steps: Sequence[Step], shape: Shape) -> list[Slider]:
    """The sliders of steps, each once, however many steps have it.

    What is neutral is found by trying, so a transform need not say it. Sliders that change nothing, such as the
    second factor of a scale whose axes go together, are left out.

    Args:
        steps: Of any family but "mix".
        shape: (height, width, channels) of the scans.
    """
    found: dict[str, Slider] = {}
    for step in steps:
        for slider in _numbers(step, shape) if step.entry.params else [_whole(step)]:
            key = json.dumps([step.transform, slider.param, slider.settings], sort_keys=True)
            also = found[key].values if key in found else []
            found[key] = slider._replace(values=sorted({*slider.values, *also}))
    return list(found.values())


def _whole(step: Step) -> Slider:
    """The slider of a step without numbers."""
    settings = {name: plain(value) for name, value in step.settings.items()}
    return Slider(step, PROBABILITY.name, (), settings, 0.0, [0.0, 1.0])


def _numbers(step: Step, shape: Shape) -> Iterator[Slider]:
    """The sliders of a step's numbers that make a difference."""
    neutral, nothing = _neutral_settings(step, shape)
    for param in step.entry.params:
        quiet = _to_be_quiet(step, param.name, neutral, shape) if nothing else {}
        base = replace(step, settings={**step.settings, **quiet})
        if quiet and not _acts(base, param, shape):
            base, quiet = step, {}
        if not _acts(base, param, shape):
            continue
        own: Setting = step.settings[param.name]  # type: ignore[assignment]
        least = _least(base, param, own, shape)
        settings = {name: plain(value) for name, value in base.settings.items() if name != param.name}
        yield Slider(base, param.name, tuple(quiet), settings, float(least), magnitudes(param, least, _own(own)))


def _own(setting: Setting) -> Sequence[float]:
    """What a step draws: its values, or the ends of its range."""
    if not isinstance(setting, OneOf):
        return ends(setting)
    values = sorted(set(setting.values))
    some = np.linspace(0, len(values) - 1, min(len(values), MOST_VALUES)).round().astype(int)
    return [values[number] for number in some.tolist()]


def _to_be_quiet(step: Step, name: str, neutral: Mapping[str, float], shape: Shape) -> dict[str, float]:
    """The other numbers that must do nothing for one number at its neutral value to leave a scan as it is."""
    quiet = {other: value for other, value in neutral.items() if other != name}
    for other in list(quiet):
        fewer = {key: value for key, value in quiet.items() if key != other}
        if _changes(step, {**fewer, name: neutral[name]}, shape) == 0:
            quiet = fewer
    return quiet


def _least(step: Step, param: Param, own: Setting, shape: Shape) -> float:
    """The position that changes a scan least; the middle of the step's own where all change it much the same."""
    changes = {value: _changes(step, {param.name: value}, shape) for value in _candidates(param)}
    least = min(changes, key=lambda value: changes[value])
    return least if changes[least] < _MUCH_LESS * max(changes.values()) else _snapped(param, sum(ends(own)) / 2)


def magnitudes(param: Param, neutral: float, also: Sequence[float] = ()) -> list[float]:
    """About nine positions: both ends, the neutral one, and between them more the nearer to it.

    Args:
        param: The number.
        neutral: Where it does least.
        also: Further positions that must be among them.
    """
    sides = [end for end in (param.low, param.high) if end != neutral]
    each = _POSITIONS // max(1, len(sides))
    wanted = {float(value) for value in (neutral, *sides, *also)}
    between = (
        _snapped(param, neutral + (end - neutral) * (part / each) ** 2) for end in sides for part in range(1, each)
    )
    near = _NEAR * (param.high - param.low)
    return sorted(wanted | {value for value in between if all(abs(value - other) > near for other in also)})


def _snapped(param: Param, value: float) -> float:
    """The nearest position of the slider."""
    steps = round((value - param.low) / param.step)
    return float(round(min(max(param.low + steps * param.step, param.low), param.high), 6))


def _neutral_settings(step: Step, shape: Shape) -> tuple[dict[str, float], bool]:
    """The values of all numbers that change a scan least, and whether they leave it as it is."""
    names = [param.name for param in step.entry.params]
    least, best = np.inf, dict[str, float]()
    for values in product(*(_candidates(param) for param in step.entry.params)):
        settings = dict(zip(names, values, strict=True))
        change = _changes(step, settings, shape)
        if change < least:  # of equals the first
            least, best = change, settings
    return best, least == 0


def _acts(step: Step, param: Param, shape: Shape) -> bool:
    """Whether it makes a difference where a number stands, the others as the step has them."""
    first, *others = (_changed(step, {param.name: value}, shape) for value in _candidates(param))
    return any(not np.array_equal(first, other) for other in others)


def _candidates(param: Param) -> list[float]:
    return [*(value for value in _USUAL if param.low < value < param.high), param.low, param.high]


def _changed(step: Step, values: Mapping[str, Setting], shape: Shape) -> Pixels:
    """Scans after a step with these values, always applied."""
    scans = _scans(shape)
    always = replace(step, settings={**step.settings, **values}, p=1, enabled=True)
    return apply(scans, draw(Augmentation((always,)), np.arange(len(scans), dtype=np.int64), 0, 0))


def _changes(step: Step, values: Mapping[str, Setting], shape: Shape) -> float:
    """How much a step with these values changes scans: mean absolute difference, 0..255."""
    return float(np.abs(_changed(step, values, shape).astype(np.int16) - _scans(shape)).mean())


@cache
def _scans(shape: Shape) -> Pixels:
    """Two scans on which every change shows: smooth and grainy, not symmetric, of all grey levels, in colour."""
    height, width, channels = shape
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    smooth = np.stack([across + down / 3, np.cos(5 * across * down + across) + down])[..., None]
    smooth = smooth + np.linspace(0, 0.3, channels)
    grain = np.random.default_rng(0).normal(0, 0.1, (2, height, width, channels))
    low, high = smooth.min(), smooth.max()
    return np.clip(255 * ((smooth - low) / (high - low) + grain), 0, 255).astype(np.uint8)
