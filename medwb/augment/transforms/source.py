"""Pieces of albumentations source that several transforms write."""

from collections.abc import Mapping
from typing import Any

from medwb.augment.transform import BORDERS
from medwb.errors import RequestError
from medwb.params import Setting, ends


def between(setting: Setting, factor: float = 1) -> str:
    """Ends of a setting, times a factor, as a Python tuple."""
    return str(tuple(sorted(round(float(factor * end), 6) for end in ends(setting))))


def sides(radius: Setting) -> str:
    """Ends of a radius in pixels as sides of a square around a pixel."""
    return str(tuple(int(2 * end + 1) for end in ends(radius)))


def border(settings: Mapping[str, Any]) -> str:
    """The argument for the choice of `border`."""
    return f"border_mode=cv2.{BORDERS[settings['border']]}"


def fill(settings: Mapping[str, Any]) -> str:
    """The argument for the choice of `fill`. Raises RequestError for the mean, which albumentations has not."""
    if settings["fill"] == "mean":
        raise RequestError("fill=mean has no counterpart in albumentations; choose black or noise to copy the code")
    return {"black": "fill=0", "noise": "fill='random'"}[settings["fill"]]
