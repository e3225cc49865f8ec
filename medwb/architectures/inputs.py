"""What every backbone does first: three channels, its least size, and pixels in the range that its weights expect.

A backbone is one graph whatever weights it starts from, so that any of its weights fit scans of one channel and of
three, and a network that was trained is rebuilt without the file that it began with.
"""

import math
from dataclasses import dataclass
from typing import Any

from medwb.architectures.layers import Shape

Triple = tuple[float, float, float]

_MEAN: Triple = (0.485, 0.456, 0.406)
_STD: Triple = (0.229, 0.224, 0.225)
_CAFFE_MEAN: Triple = (123.68, 116.779, 103.939)
_FOLD = 64.0


@dataclass(frozen=True)
class Preprocessing:
    """What red, green and blue in 0..1 become: `gain * pixel + offset`.

    Attributes:
        gain: Factor a channel.
        offset: Addend a channel.
        fold: What the first kernel of a file of `keras.applications` is multiplied by, its channels turned about,
            where that file expects blue, green, red in 0..255 less their means. Such numbers would make random
            weights explode; a power of two changes nothing but the exponents.
    """

    gain: Triple
    offset: Triple
    fold: float | None = None


def _standardised(mean: Triple, deviation: Triple) -> Preprocessing:
    gain = [1 / one for one in deviation]
    offset = [-middle / one for middle, one in zip(mean, deviation, strict=True)]
    return Preprocessing((gain[0], gain[1], gain[2]), (offset[0], offset[1], offset[2]))


STANDARDISED = _standardised(_MEAN, _STD)
"""Less ImageNet's mean, over its standard deviation, a channel."""

SYMMETRIC = Preprocessing((2, 2, 2), (-1, -1, -1))
"""-1..1."""

CAFFE = Preprocessing(
    (255 / _FOLD, 255 / _FOLD, 255 / _FOLD),
    (-_CAFFE_MEAN[0] / _FOLD, -_CAFFE_MEAN[1] / _FOLD, -_CAFFE_MEAN[2] / _FOLD),
    fold=_FOLD,
)
"""Less ImageNet's mean, about -2..2, for weights that expect it as Caffe read images."""


def network_input(shape: Shape, preprocessing: Preprocessing, least: int = 32) -> tuple[Any, Any]:
    """The input of a backbone, and what its first layer sees.

    Args:
        shape: (height, width, channels), one channel or three; one is repeated.
        preprocessing: What pixels become.
        least: Scans whose shorter side has fewer pixels are enlarged to that, bilinearly, their proportions kept.

    Returns:
        Keras tensors: float pixels in 0..1 (B, *shape), and floats (B, height, width, 3).
    """
    import keras

    pixels = inputs = keras.Input(shape, name="pixels")
    sides = enlarged(shape, least)
    if sides != shape[:2]:
        # Not Keras's Resizing layer: behind it a model takes a call that says nothing for a training step.
        pixels = keras.ops.image.resize(pixels, sides, interpolation="bilinear")
    if shape[2] == 1:
        pixels = keras.layers.Concatenate(name="three_channels")([pixels] * 3)
    return inputs, keras.layers.Rescaling(preprocessing.gain, preprocessing.offset, name="normalised")(pixels)


def enlarged(shape: Shape, least: int) -> Shape:
    """(height, width) of a scan once its shorter side has at least so many pixels."""
    factor = max(1.0, least / min(shape[:2]))
    return tuple(max(side, math.ceil(side * factor - 1e-9)) for side in shape[:2])
