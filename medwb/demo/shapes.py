"""Soft shapes on a batch of pixel grids: signed distances, how much of a pixel they cover, and painting them.

A *field* is (B, H, W): one value a pixel of B frames. A *trait* is (B, 1, 1), or a plain number that they all share.
Both are float32 (the type says floating because numpy's stubs widen float32 times a number). Lengths are in half
frames: a frame spans -1 to 1, so one of its 64 pixels is 1/32. A signed distance is negative inside the shape, zero
on its edge and positive outside.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.floating[Any]]
Trait = Field | float

EDGE = 0.045
"""Width in half frames of the ramp at a shape's edge: about 1.4 pixels, as partial volume blurs tissue borders."""


def rotate(u: Field, v: Field, angle: Trait, about: tuple[Trait, Trait] = (0.0, 0.0)) -> tuple[Field, Field]:
    """Turn coordinates by `angle` (radians) about a point."""
    cosine, sine = np.cos(angle, dtype=np.float32), np.sin(angle, dtype=np.float32)
    du, dv = u - about[0], v - about[1]
    return about[0] + cosine * du - sine * dv, about[1] + sine * du + cosine * dv


def ellipse(u: Field, v: Field, centre: tuple[Trait, Trait], radii: tuple[Trait, Trait], angle: Trait = 0.0) -> Field:
    """Signed distance (first order, exact on the edge) to an ellipse."""
    du, dv = rotate(u - centre[0], v - centre[1], angle)
    level = np.sqrt((du / radii[0]) ** 2 + (dv / radii[1]) ** 2)
    slope = np.sqrt((du / radii[0] ** 2) ** 2 + (dv / radii[1] ** 2) ** 2)
    return level * (level - 1.0) / (slope + 1e-4)


def capsule(u: Field, v: Field, start: tuple[Trait, Trait], end: tuple[Trait, Trait], radius: Trait) -> Field:
    """Signed distance to a segment thickened by `radius`."""
    along = (end[0] - start[0], end[1] - start[1])
    du, dv = u - start[0], v - start[1]
    share = np.clip((du * along[0] + dv * along[1]) / (along[0] ** 2 + along[1] ** 2), 0.0, 1.0)
    return np.sqrt((du - share * along[0]) ** 2 + (dv - share * along[1]) ** 2) - radius


def box(u: Field, v: Field, centre: tuple[Trait, Trait], half: tuple[Trait, Trait], rounding: Trait) -> Field:
    """Signed distance to an upright rectangle of half sides `half` with rounded corners."""
    du = np.abs(u - centre[0]) - half[0] + rounding
    dv = np.abs(v - centre[1]) - half[1] + rounding
    outside = np.sqrt(np.maximum(du, 0.0) ** 2 + np.maximum(dv, 0.0) ** 2)
    return outside + np.minimum(np.maximum(du, dv), 0.0) - rounding


def join(a: Field, b: Field, blend: float) -> Field:
    """Signed distance to the union of two shapes, their junction rounded over `blend`."""
    share = np.clip(0.5 + 0.5 * (b - a) / blend, 0.0, 1.0)
    return b + share * (a - b) - blend * share * (1.0 - share)


def band(distance: Field, low: Trait, high: Trait) -> Field:
    """Signed distance to the layer that lies between two distances of a shape."""
    return np.maximum(low - distance, distance - high)


def cover(distance: Field, edge: Trait = EDGE) -> Field:
    """Share (0 to 1) of each pixel that a shape covers."""
    return np.clip(0.5 - distance / edge, 0.0, 1.0)


def paint(signal: Field, share: Field, value: Field | Trait) -> None:
    """Mix `value` into `signal` in place, by each pixel's `share` (0 to 1)."""
    signal += share * (value - signal)


def texture(rng: np.random.Generator, shape: tuple[int, int, int], sigma: tuple[float, float]) -> Field:
    """Smooth noise of zero mean and unit variance.

    Args:
        rng: Where the noise comes from.
        shape: (B, H, W).
        sigma: Grain across and down, in pixels.
    """
    frames, height, width = shape
    noise = rng.standard_normal((frames * height, width), dtype=np.float32)
    # One call blurs all frames, stacked; what leaks over a seam is noise too.
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1]), np.float32)
    return (smooth / smooth.std()).reshape(shape)
