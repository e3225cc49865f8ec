"""Transforms that cut something out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.augment.transform import FILL, Values, transform
from medwb.augment.transforms.source import between, fill
from medwb.params import Choice, Param

Size = tuple[int, int]

_NOISE = Choice("fill", ("noise", "black", "mean"), FILL.help)


def _boxes(values: Values, width: Any, height: Any, size: Size) -> npt.NDArray[np.int64]:
    """(n, 4) left, top, right, bottom of boxes of so many pixels, anywhere inside the scan."""
    width, height = (
        np.clip(np.rint(side), 0, most).astype(np.int64) for side, most in ((width, size[1]), (height, size[0]))
    )
    left = (values["left"] * (size[1] - width + 1)).astype(np.int64)
    top = (values["top"] * (size[0] - height + 1)).astype(np.int64)
    return np.stack([left, top, left + width, top + height], axis=1)


def _cutout_code(settings: Mapping[str, Any], size: Size) -> str:
    if settings["size"] == 0:
        return f"A.NoOp(p={settings['p']:g})"
    share = between(settings["size"], 0.01)
    return (
        f"A.CoarseDropout(num_holes_range=(1, 1), hole_height_range={share}, hole_width_range={share}, "
        f"{fill(settings)}, p={settings['p']:g})"
    )


@transform(
    "cutout",
    title="Cutout",
    family="holes",
    params=[Param("size", 0, 100, 10, 0.5, "Side of the square, as a share of the scan's.", "%", until=25)],
    choices=[FILL],
    hidden=["left", "top", "noise"],
    code=_cutout_code,
)
def cutout(values: Values, size: Size) -> npt.NDArray[np.int64]:
    """Cuts a square out of the scan (DeVries and Taylor 2017)."""
    return _boxes(values, values["size"] * size[1] / 100, values["size"] * size[0] / 100, size)


def _erasing_code(settings: Mapping[str, Any], size: Size) -> str:
    area, aspect = between(settings["area"], 0.01), between(settings["aspect"])
    return f"A.Erasing(scale={area}, ratio={aspect}, {fill(settings)}, p={settings['p']:g})"


@transform(
    "random-erasing",
    title="Random erasing",
    family="holes",
    params=[
        Param("area", 0.5, 100, 2, 0.5, "Area of the box, as a share of the scan's.", "%", until=15),
        Param("aspect", 0.1, 10, 0.3, 0.1, "Width to height.", until=3.3),
    ],
    choices=[_NOISE],
    hidden=["left", "top", "noise"],
    code=_erasing_code,
)
def random_erasing(values: Values, size: Size) -> npt.NDArray[np.int64]:
    """Cuts a box of some area and shape out of the scan (Zhong et al. 2020)."""
    pixels = values["area"] / 100 * size[0] * size[1]
    return _boxes(values, np.sqrt(pixels * values["aspect"]), np.sqrt(pixels / values["aspect"]), size)
