"""A recipe as albumentations code."""

from itertools import product
from typing import Any

from medwb.augment.recipe import Augmentation, Step
from medwb.errors import RequestError
from medwb.params import OneOf

_HEAD = """import albumentations as A
import cv2

# Random numbers are albumentations' own; neighbouring moves are interpolated one after the other.
augmentation = A.Compose(
    [
"""


def to_code(augmentation: Augmentation, size: tuple[int, int]) -> str:
    """Python source that builds an `albumentations.Compose` (2.0.8) with the same steps.

    It draws from the same distributions, though not the same numbers; medwb moves a scan once where neighbouring
    geometric steps move it several times.

    Args:
        augmentation: Its active steps.
        size: (height, width) of the scans.

    Raises:
        RequestError: A step that albumentations has nothing for.
    """
    lines = []
    for step in augmentation.active:
        expression = _expression(step, size)
        lines.append(f"        {expression},\n")
    return f"{_HEAD}{''.join(lines)}    ]\n)\n"


def _expression(step: Step, size: tuple[int, int]) -> str:
    code = step.entry.code
    if code is None:
        raise RequestError(f"{step.transform} has no counterpart in albumentations; switch it off to copy the code")
    drawn = {name: value.values for name, value in step.settings.items() if isinstance(value, OneOf)}
    if not drawn:
        return code({**step.settings, "p": step.p}, size)
    # albumentations draws between two ends: one of some values is one of some transforms.
    each: list[dict[str, Any]] = [dict(zip(drawn, values, strict=True)) for values in product(*drawn.values())]
    inner = ", ".join(code({**step.settings, **values, "p": 1.0}, size) for values in each)
    return f"A.OneOf([{inner}], p={step.p:g})"
