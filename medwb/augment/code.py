"""A recipe as albumentations code."""

from itertools import groupby, product
from typing import Any

from medwb.augment.recipe import Augmentation, Step
from medwb.augment.transform import Code
from medwb.errors import RequestError
from medwb.params import Deal, OneOf

_HEAD = """import albumentations as A
import cv2

# Random numbers are albumentations' own; neighbouring moves are interpolated one after the other.
augmentation = A.Compose(
    [
"""


def to_code(augmentation: Augmentation, size: tuple[int, int]) -> str:
    """Python source that builds an `albumentations.Compose` (2.0.8) with the same steps.

    It does the same where an outcome is fixed, within a grey level (a test holds both together). Random numbers are
    its own, from the same ranges: it draws a shear by its angle and a shift in whole pixels, and the sides of a hole
    each on its own. It moves a scan several times where medwb moves it once.

    Args:
        augmentation: Its active steps.
        size: (height, width) of the scans.

    Raises:
        RequestError: A step that albumentations has nothing for.
    """
    lines = []
    for step, alike in groupby(augmentation.active):
        count = len(list(alike))
        dealt = step.p == 1 and any(isinstance(setting, Deal) for setting in step.settings.values())
        each = _each(step, size) if dealt else []
        if 1 < count <= len(each):
            expressions = [f"A.SomeOf([{', '.join(each)}], n={count}, replace=False, p=1)"]
        else:
            expressions = [_expression(step, size)] * count
        lines += [f"        {expression},\n" for expression in expressions]
    return f"{_HEAD}{''.join(lines)}    ]\n)\n"


def _expression(step: Step, size: tuple[int, int]) -> str:
    if not any(isinstance(setting, OneOf) for setting in step.settings.values()):
        return _code(step)({**step.settings, "p": step.p}, size)
    # albumentations draws between two ends: one of some values is one of some transforms.
    return f"A.OneOf([{', '.join(_each(step, size))}], p={step.p:g})"


def _each(step: Step, size: tuple[int, int]) -> list[str]:
    """The step with each of the values that it draws one of."""
    drawn = {name: value.values for name, value in step.settings.items() if isinstance(value, OneOf)}
    each: list[dict[str, Any]] = [dict(zip(drawn, values, strict=True)) for values in product(*drawn.values())]
    return [_code(step)({**step.settings, **values, "p": 1.0}, size) for values in each]


def _code(step: Step) -> Code:
    if step.entry.code is None:
        raise RequestError(f"{step.transform} has no counterpart in albumentations; switch it off to copy the code")
    return step.entry.code
