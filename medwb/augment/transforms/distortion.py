"""Transforms that bend a scan: each part of it moves a way of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.augment.apply import border_mode, seed_of
from medwb.augment.transform import BORDER, Values, transform
from medwb.augment.transforms.source import border
from medwb.images import Pixels
from medwb.params import Param

Field = npt.NDArray[np.float32]


def _sizes(settings: Mapping[str, Any], height: int, width: int) -> tuple[float, float]:
    """Of an elastic step in pixels: the factor of its smoothed noise, and the deviation of the smoothing.

    Uniform noise in -1..1 has the deviation 1 / sqrt(3), and smoothing leaves 1 / (2 sqrt(pi) sigma) of it.
    """
    percent = min(height, width) / 100
    sigma = max(1.0, float(settings["smoothness"]) * percent)
    return float(settings["shift"]) * percent * 2 * np.sqrt(3 * np.pi) * sigma, sigma


def _elastic_code(settings: Mapping[str, Any], size: tuple[int, int]) -> str:
    alpha, sigma = _sizes(settings, *size)
    return (
        f"A.ElasticTransform(alpha={alpha:.6g}, sigma={sigma:.6g}, noise_distribution='uniform', "
        f"{border(settings)}, p={settings['p']:g})"
    )


@transform(
    "elastic",
    title="Elastic",
    family="pixels",
    params=[
        Param("shift", 0, 5, 1, 0.25, "How far pixels move (root mean square), as a share of the short side.", "%"),
        Param("smoothness", 3, 20, 8, 0.5, "Distance over which neighbours move alike, as a share of it.", "%"),
    ],
    choices=[BORDER],
    hidden=["noise"],
    code=_elastic_code,
)
def elastic(image: Pixels, values: Values) -> Pixels:
    """Bends the scan like rubber, by smoothed noise (Simard et al. 2003)."""
    height, width = image.shape[:2]
    alpha, sigma = _sizes(values, height, width)
    rng = np.random.default_rng(seed_of(values["noise"]))
    right, down = (alpha * _smooth_noise(rng, height, width, sigma) for _ in range(2))
    return _taken(image, np.arange(width) + right, np.arange(height)[:, None] + down, values["border"])


@transform(
    "grid-distortion",
    title="Grid distortion",
    family="pixels",
    params=[
        Param("limit", 0, 80, 20, 0.5, "Largest share by which a column or row of cells grows or shrinks.", "%"),
        Param("cells", 2, 10, 5, 1, "Cells a side."),
    ],
    hidden=["noise"],
    code=lambda settings, size: (
        f"A.GridDistortion(num_steps={settings['cells']}, distort_limit={round(settings['limit'] / 100, 6)}, "
        f"border_mode=cv2.BORDER_REPLICATE, p={settings['p']:g})"
    ),
)
def grid_distortion(image: Pixels, values: Values) -> Pixels:
    """Stretches some columns and rows of a grid at the cost of others; the edges of the scan stay."""
    height, width = image.shape[:2]
    cells, limit = int(values["cells"]), float(values["limit"]) / 100
    rng = np.random.default_rng(seed_of(values["noise"]))
    places = []
    for side in (width, height):
        lines = np.concatenate([[0.0], np.cumsum(1 + limit * rng.uniform(-1, 1, cells))])
        evenly = np.linspace(0, side - 1, cells + 1)
        places.append(np.interp(np.arange(side), evenly, lines * (side - 1) / lines[-1]))
    across, down = places
    return _taken(image, np.tile(across, (height, 1)), np.tile(down[:, None], (1, width)), "edge")


def _smooth_noise(rng: np.random.Generator, height: int, width: int, sigma: float) -> Field:
    """Uniform noise in -1..1 after a Gaussian blur of `sigma` pixels, float32 (height, width).

    So smooth a field is made on fewer points and enlarged: less work, the same deviation and correlation.
    """
    import cv2

    apart = max(1.0, sigma / 3)
    rows, columns = (max(2, round(side / apart)) for side in (height, width))
    noise = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    across, down = sigma * columns / width, sigma * rows / height
    small = cv2.GaussianBlur(noise, (0, 0), across, None, down, cv2.BORDER_REPLICATE)
    small *= np.sqrt(across * down) / sigma
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _taken(image: Pixels, across: npt.ArrayLike, down: npt.ArrayLike, beyond: str) -> Pixels:
    """The image with each pixel taken from the place (H, W) across and down that is given for it."""
    import cv2

    x, y = np.asarray(across, np.float32), np.asarray(down, np.float32)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border_mode(beyond)).reshape(image.shape)
