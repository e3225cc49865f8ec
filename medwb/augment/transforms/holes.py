"""Transforms that cut something out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.augment.transform import FILL, Values, transform
from medwb.params import Param, ends

Size = tuple[int, int]

_FILLS = {"black": "0", "mean": "0", "noise": "'random'"}


def _boxes(values: Values, width: Any, height: Any, size: Size) -> npt.NDArray[np.int64]:
    """(n, 4) left, top, right, bottom of boxes of so many pixels, anywhere inside the scan."""
    width, height = (
        np.clip(np.rint(side), 0, most).astype(np.int64) for side, most in ((width, size[1]), (height, size[0]))
    )
    left = (values["left"] * (size[1] - width + 1)).astype(np.int64)
    top = (values["top"] * (size[0] - height + 1)).astype(np.int64)
    return np.stack([left, top, left + width, top + height], axis=1)


def _cutout_code(settings: Mapping[str, Any], size: Size) -> str:
    share = tuple(round(end / 100, 6) for end in ends(settings["size"]))
    return (
        f"A.CoarseDropout(num_holes_range=(1, 1), hole_height_range={share}, hole_width_range={share}, "
        f"fill={_FILLS[settings['fill']]}, p={settings['p']:g})"
    )


@transform(
    "cutout",
    title="Cutout",
    family="holes",
    params=[Param("size", 1, 100, 10, 0.5, "Side of the square, as a share of the scan's.", "%", until=25)],
    choices=[FILL],
    hidden=["left", "top", "noise"],
    code=_cutout_code,
)
def cutout(values: Values, size: Size) -> npt.NDArray[np.int64]:
    """Cuts a square out of the scan (DeVries and Taylor 2017)."""
    return _boxes(values, values["size"] * size[1] / 100, values["size"] * size[0] / 100, size)
