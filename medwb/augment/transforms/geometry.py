"""Transforms that move pixels by one matrix: neighbours of them become one warp.

Each says where a pixel of the result comes from, in pixels about the centre, x to the right and y down. The scan
goes on beyond its edges as its border says, so what one step moves out of sight another may bring back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medwb.augment.transform import BORDER, Floats, Values, transform
from medwb.augment.transforms.source import between, border
from medwb.params import Choice, Param, ends

Size = tuple[int, int]


def _map(xx: Any = 1.0, xy: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, right: Any = 0.0, down: Any = 0.0) -> Floats:
    """(n, 3, 3) from a linear map and a shift after it, each number (n,) or one for all; n is 1 where all are."""
    numbers = np.broadcast_arrays(*(np.atleast_1d(value) for value in (xx, xy, right, yx, yy, down)))
    maps = np.zeros((len(numbers[0]), 3, 3))
    maps[:, :2] = np.stack(numbers, axis=1).reshape(-1, 2, 3)
    maps[:, 2, 2] = 1
    return maps


def _affine(settings: Mapping[str, Any], arguments: str) -> str:
    """Source of an `A.Affine`."""
    return f"A.Affine({arguments}, {border(settings)}, p={settings['p']:g})"


def _slants(setting: Any) -> str:
    """Ends of a shear in degrees, to the other side: there a positive angle moves lower rows left."""
    return str(tuple(round(float(np.rad2deg(np.arctan(-end))), 6) for end in reversed(ends(setting))))


def _padded(setting: Any) -> str:
    """Ends of a border as factors of the scan."""
    return str(tuple(round(1 / (1 + end / 50), 6) for end in reversed(ends(setting))))


def _heights(setting: Any, height: int) -> str:
    """Ends of a window's side in pixels."""
    return str(tuple(max(1, round(end * height / 100)) for end in ends(setting)))


@transform(
    "rotate",
    title="Rotate",
    family="geometry",
    params=[Param("degrees", -180, 180, -10, 0.5, "Angle, counter-clockwise.", "°", until=10)],
    choices=[BORDER],
    code=lambda settings, size: _affine(settings, f"rotate={between(settings['degrees'])}"),
)
def rotate(values: Values, size: Size) -> Floats:
    """Turns the scan about its centre."""
    angle = np.deg2rad(values["degrees"])
    return _map(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))


@transform(
    "flip-left-right",
    title="Flip left-right",
    family="geometry",
    code=lambda settings, size: f"A.HorizontalFlip(p={settings['p']:g})",
)
def flip_left_right(values: Values, size: Size) -> Floats:
    """Exchanges left and right: the heart changes sides."""
    return _map(xx=-1)


@transform(
    "flip-up-down",
    title="Flip up-down",
    family="geometry",
    code=lambda settings, size: f"A.VerticalFlip(p={settings['p']:g})",
)
def flip_up_down(values: Values, size: Size) -> Floats:
    """Exchanges top and bottom."""
    return _map(yy=-1)


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
    return np.asarray(np.linalg.inv(_map(xy=values["x"], yx=values["y"])), np.float64)


def _scale_code(settings: Mapping[str, Any], size: Size) -> str:
    arguments = f"scale={{'x': {between(settings['x'])}, 'y': {between(settings['y'])}}}"
    if settings["axes"] == "together":
        arguments = f"scale={between(settings['x'])}, keep_ratio=True"
    if settings["window"] == "centre":
        return _affine(settings, arguments)
    beyond = border(settings)
    moved = f"A.Affine({arguments}, fit_output=True, {beyond}, p=1)"
    window = f"A.PadIfNeeded(*{size}, {beyond}, p=1), A.RandomCrop(*{size}, p=1)"
    return f"A.Sequential([{moved}, {window}], p={settings['p']:g})"


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
    code=_scale_code,
)
def scale(values: Values, size: Size) -> Floats:
    """Enlarges or shrinks what is seen; the scan keeps its size."""
    across, down = (1 / values[name] for name in ("x", "x" if values["axes"] == "together" else "y"))
    if values["window"] == "centre":
        return _map(across, yy=down)
    right, below = (
        (values[place] - 0.5) * np.maximum(0, 1 - share) * side
        for place, share, side in (("left", across, size[1]), ("top", down, size[0]))
    )
    return _map(across, yy=down, right=right, down=below)


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
        f"translate_percent={{'x': {between(settings['right'], 0.01)}, 'y': {between(settings['down'], 0.01)}}}",
    ),
)
def shift(values: Values, size: Size) -> Floats:
    """Moves the scan."""
    return _map(right=-values["right"] * size[1] / 100, down=-values["down"] * size[0] / 100)


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
    return _map(wider, yy=wider)


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
    return _map(keep, yy=keep, right=right, down=down)
