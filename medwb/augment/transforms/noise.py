"""Transforms that add noise, or light a scan unevenly."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.augment.apply import seed_of
from medwb.augment.transform import Values, transform
from medwb.augment.transforms.source import between
from medwb.images import Pixels
from medwb.params import Choice, Param

Field = npt.NDArray[np.float32]

_CHANNELS = Choice("channels", ("together", "each"), "Whether the channels of a colour scan share the noise.")


def _rounded(image: npt.NDArray[Any]) -> Pixels:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


@transform(
    "gaussian-noise",
    title="Gaussian noise",
    family="pixels",
    params=[Param("deviation", 0, 30, 0, 0.25, "Standard deviation, as a share of white.", "%", until=3)],
    choices=[_CHANNELS],
    hidden=["noise"],
    code=lambda settings, size: (
        f"A.GaussNoise(std_range={between(settings['deviation'], 0.01)}, "
        f"per_channel={settings['channels'] == 'each'}, p={settings['p']:g})"
    ),
)
def gaussian_noise(image: Pixels, values: Values) -> Pixels:
    """Adds grain that is as strong in the dark as in the light."""
    height, width, channels = image.shape
    shape = (height, width, channels if values["channels"] == "each" else 1)
    grain = np.random.default_rng(seed_of(values["noise"])).standard_normal(shape, np.float32)
    return _rounded(image + grain * np.float32(2.55 * values["deviation"]))


@transform(
    "rician-noise",
    title="Rician noise",
    family="pixels",
    params=[Param("deviation", 0, 30, 0, 0.25, "Standard deviation a channel, as a share of white.", "%", until=3)],
    hidden=["noise"],
)
def rician_noise(image: Pixels, values: Values) -> Pixels:
    """Adds the noise of MR magnitude images, which lifts black areas (Gudbjartsson and Patz 1995).

    Channels share it, for a scan has one magnitude.
    """
    height, width = image.shape[:2]
    grain = np.random.default_rng(seed_of(values["noise"])).standard_normal((2, height, width, 1), np.float32)
    real, imaginary = grain * np.float32(2.55 * values["deviation"])
    return _rounded(np.hypot(image + real, imaginary))


@transform(
    "bias-field",
    title="Bias field",
    family="pixels",
    params=[
        Param("strength", 0, 80, 0, 0.5, "How much darker the darkest place gets, or less.", "%", until=25),
        Param("order", 1, 5, 3, 1, "Order of the polynomial: higher orders change over shorter distances."),
    ],
    hidden=["noise"],
)
def bias_field(image: Pixels, values: Values) -> Pixels:
    """Lights the scan unevenly, as the coils of an MR scanner do (Van Leemput et al. 1999).

    The scan is multiplied by a smooth field, the exponential of a polynomial of random weights.
    """
    basis = _polynomials(image.shape[0], image.shape[1], int(values["order"]))
    weights = np.random.default_rng(seed_of(values["noise"])).standard_normal(len(basis), np.float32)
    field = np.tensordot(weights, basis, 1)
    field *= -np.log1p(-values["strength"] / 100) / max(float(np.abs(field).max()), 1e-6)
    return _rounded(image * np.exp(field)[:, :, None])


@lru_cache(maxsize=8)
def _polynomials(height: int, width: int, order: int) -> Field:
    """Products of Legendre polynomials in x and y up to an order, float32 (terms, height, width), no constant.

    They are orthogonal, so no direction and no order outweighs the others.
    """
    from numpy.polynomial.legendre import legvander

    down, across = (legvander(np.linspace(-1, 1, side), order) for side in (height, width))
    terms = [np.outer(down[:, i], across[:, j]) for i in range(order + 1) for j in range(order + 1 - i) if i + j]
    return np.stack(terms).astype(np.float32)
