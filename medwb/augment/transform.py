"""Transform: one way to change a scan, with its adjustable numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from medwb.params import Choice, Param
from medwb.registry import Registry

Floats: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = Mapping[str, Any]
"""What was drawn for a step: float64 (n,) a parameter (one number where a function takes one image at a time), and
a text a choice."""

Family = Literal["geometry", "tone", "holes", "pixels", "mix"]
"""What a transform's function returns, and so how it is applied:

    geometry  (values, (height, width)) -> float64 (n, 3, 3): from a pixel (x, y, 1) of the result, counted from the
              centre, to where it comes from in the scan. Neighbours become one warp.
    tone      (values, float64 (n, 256) grey levels 0..1) -> the same shape: new levels. Neighbours become one curve.
    holes     (values, (height, width)) -> int64 (n, 4): left, top, right, bottom of what is cut out.
    pixels    (uint8 (H, W, C), values) -> uint8 (H, W, C): anything else, one image at a time.
    mix       (values, (height, width)) -> float64 (n, 5): a box, and the share of the other image inside it; another
              sample of the train split shows through, labels too.
"""

BORDERS = {"reflect": "BORDER_REFLECT_101", "edge": "BORDER_REPLICATE", "black": "BORDER_CONSTANT"}
"""OpenCV's name for each choice of `border`."""

BORDER = Choice("border", tuple(BORDERS), "What lies beyond the edge of the scan.")
FILL = Choice("fill", ("black", "mean", "noise"), "What a hole is filled with.")


@dataclass(frozen=True)
class Transform:
    """A registered transform.

    Attributes:
        name: Key in a recipe.
        title: How a page writes it.
        summary: First line of the function's docstring.
        family: What kind it is.
        params: Its adjustable numbers.
        choices: Its choices.
        hidden: Further numbers that it draws in 0..1, such as a place.
        colour: Whether it needs three channels.
        function: As its family says.
        code: From the settings of a step, its `p` among them, and the scan's (height, width) to the albumentations
            expression that does the same; None where there is none.
    """

    name: str
    title: str
    summary: str
    family: Family
    params: tuple[Param, ...]
    choices: tuple[Choice, ...]
    hidden: tuple[str, ...]
    colour: bool
    function: Callable[..., Any]
    code: "Code | None"

    def param(self, name: str) -> Param:
        """The adjustable number of that name. Raises KeyError."""
        return {param.name: param for param in self.params}[name]


Code: TypeAlias = Callable[[Mapping[str, Any], tuple[int, int]], str]

TRANSFORMS: Registry[Transform] = Registry("transform", "medwb.augment.transforms")


def transform(
    name: str,
    *,
    title: str,
    family: Family,
    params: Sequence[Param] = (),
    choices: Sequence[Choice] = (),
    hidden: Sequence[str] = (),
    colour: bool = False,
    code: Code | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a transform; what it takes and returns, its family says."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Transform(
            name=name,
            title=title,
            summary=(function.__doc__ or "").split("\n")[0],
            family=family,
            params=tuple(params),
            choices=tuple(choices),
            hidden=tuple(hidden),
            colour=colour,
            function=function,
            code=code,
        )
        TRANSFORMS.add(name, entry)
        return function

    return register
