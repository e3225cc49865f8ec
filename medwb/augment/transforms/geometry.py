"""Transforms that move pixels by one matrix: neighbours of them become one warp.

Each says where a pixel of the result comes from, in pixels about the centre, x to the right and y down. The scan
goes on beyond its edges as its border says, so what one step moves out of sight another may bring back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medwb.augment.transform import BORDER, Floats, Values, transform
from medwb.params import Choice, Param, ends

Size = tuple[int, int]

_MODES = {"reflect": "cv2.BORDER_REFLECT_101", "edge": "cv2.BORDER_REPLICATE", "black": "cv2.BORDER_CONSTANT"}


def _linear(xx: Any = 1.0, xy: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0) -> Floats:
    """(n, 3, 3) from the four numbers of a linear map, each (n,) or a number."""
    xx, xy, yx, yy = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (xx, xy, yx, yy)))
    maps = np.tile(np.eye(3), (xx.size, 1, 1))
    maps[:, 0, 0], maps[:, 0, 1], maps[:, 1, 0], maps[:, 1, 1] = xx, xy, yx, yy
    return maps


def _shifted(maps: Floats, right: Any, down: Any) -> Floats:
    maps[:, 0, 2], maps[:, 1, 2] = right, down
    return maps


def _affine(settings: Mapping[str, Any], arguments: str) -> str:
    """Source of an `A.Affine`."""
    return f"A.Affine({arguments}, border_mode={_MODES[settings['border']]}, p={settings['p']:g})"


def _slants(setting: Any) -> str:
    """Ends of a shear in degrees."""
    return str(tuple(round(float(np.rad2deg(np.arctan(end))), 4) for end in ends(setting)))


def _padded(setting: Any) -> str:
    """Ends of a border as factors of the scan."""
    return str(tuple(round(1 / (1 + end / 50), 6) for end in reversed(ends(setting))))


def _heights(setting: Any, height: int) -> str:
    """Ends of a window's side in pixels."""
    return str(tuple(max(1, round(end * height / 100)) for end in ends(setting)))


def _ends(setting: Any, factor: float = 1) -> str:
    """Ends of a setting as a Python tuple."""
    return str(tuple(round(float(factor * end), 6) for end in ends(setting)))


@transform(
    "rotate",
    title="Rotate",
    family="geometry",
    params=[Param("degrees", -180, 180, -10, 0.5, "Angle, counter-clockwise.", "°", until=10)],
    choices=[BORDER],
    code=lambda settings, size: _affine(settings, f"rotate={_ends(settings['degrees'])}"),
)
def rotate(values: Values, size: Size) -> Floats:
    """Turns the scan about its centre."""
    angle = np.deg2rad(values["degrees"])
    return _linear(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


@transform(
    "flip-left-right",
    title="Flip left-right",
    family="geometry",
    code=lambda settings, size: f"A.HorizontalFlip(p={settings['p']:g})",
)
def flip_left_right(values: Values, size: Size) -> Floats:
    """Exchanges left and right: the heart changes sides."""
    return _linear(xx=-1)


@transform(
    "flip-up-down",
    title="Flip up-down",
    family="geometry",
    code=lambda settings, size: f"A.VerticalFlip(p={settings['p']:g})",
)
def flip_up_down(values: Values, size: Size) -> Floats:
    """Exchanges top and bottom."""
    return _linear(yy=-1)


@transform(
    "shear",
    title="Shear",
    family="geometry",
    params=[
        Param("x", -0.9, 0.9, -0.1, 0.05, "Pixels that a row moves right, a pixel further down.", until=0.1),
        Param("y", -0.9, 0.9, 0.0, 0.05, "Pixels that a column moves down, a pixel further right.", until=0.0),
    ],
    choices=[BORDER],
    code=lambda settings, size: _affine(
        settings, f"shear={{'x': {_slants(settings['x'])}, 'y': {_slants(settings['y'])}}}"
    ),
)
def shear(values: Values, size: Size) -> Floats:
    """Slants the scan: a square becomes a rhomboid."""
    return np.asarray(np.linalg.inv(_linear(xy=values["x"], yx=values["y"])), np.float64)


@transform(
    "scale",
    title="Scale",
    family="geometry",
    params=[
        Param("x", 0.3, 3, 0.9, 0.05, "Factor of the width of what is seen; above 1 enlarges.", until=1.1),
        Param("y", 0.3, 3, 0.9, 0.05, "Factor of the height; not used when both axes go together.", until=1.1),
    ],
    choices=[
        Choice("axes", ("each", "together"), "Whether each axis draws a factor of its own."),
        Choice("window", ("centre", "anywhere"), "Which part of an enlarged scan is seen."),
        BORDER,
    ],
    hidden=["left", "top"],
    code=lambda settings, size: _affine(
        settings,
        f"scale={_ends(settings['x'])}, keep_ratio=True"
        if settings["axes"] == "together"
        else f"scale={{'x': {_ends(settings['x'])}, 'y': {_ends(settings['y'])}}}",
    ),
)
def scale(values: Values, size: Size) -> Floats:
    """Enlarges or shrinks what is seen; the scan keeps its size."""
    across, down = (1 / values[name] for name in ("x", "x" if values["axes"] == "together" else "y"))
    maps = _linear(across, yy=down)
    if values["window"] == "anywhere":
        right, below = (
            (values[place] - 0.5) * np.maximum(0, 1 - share) * side
            for place, share, side in (("left", across, size[1]), ("top", down, size[0]))
        )
        maps = _shifted(maps, right, below)
    return maps


@transform(
    "shift",
    title="Shift",
    family="geometry",
    params=[
        Param("right", -100, 100, -5, 0.5, "Share of the width; below 0 to the left.", "%", until=5),
        Param("down", -100, 100, -5, 0.5, "Share of the height; below 0 upwards.", "%", until=5),
    ],
    choices=[BORDER],
    code=lambda settings, size: _affine(
        settings,
        f"translate_percent={{'x': {_ends(settings['right'], 0.01)}, 'y': {_ends(settings['down'], 0.01)}}}",
    ),
)
def shift(values: Values, size: Size) -> Floats:
    """Moves the scan."""
    return _shifted(_linear(), -values["right"] * size[1] / 100, -values["down"] * size[0] / 100)


@transform(
    "pad",
    title="Pad",
    family="geometry",
    params=[Param("share", 0, 100, 0, 0.5, "Width of the border, as a share of the side.", "%", until=10)],
    choices=[BORDER],
    code=lambda settings, size: _affine(settings, f"scale={_padded(settings['share'])}, keep_ratio=True"),
)
def pad(values: Values, size: Size) -> Floats:
    """Adds a border on every side, and shrinks the whole to the size of the scan."""
    wider = 1 + values["share"] / 50
    return _linear(wider, yy=wider)


@transform(
    "crop",
    title="Crop",
    family="geometry",
    params=[Param("keep", 10, 100, 85, 0.5, "Side of the window, as a share of the scan's.", "%", until=100)],
    choices=[BORDER],
    hidden=["left", "top"],
    code=lambda settings, size: (
        f"A.RandomSizedCrop(min_max_height={_heights(settings['keep'], size[0])}, size={size}, "
        f"w2h_ratio={size[1] / size[0]:g}, p={settings['p']:g})"
    ),
)
def crop(values: Values, size: Size) -> Floats:
    """Cuts out a window at some place, and enlarges it to the size of the scan."""
    keep = values["keep"] / 100
    right, down = ((values[place] - 0.5) * (1 - keep) * side for place, side in (("left", size[1]), ("top", size[0])))
    return _shifted(_linear(keep, yy=keep), right, down)
