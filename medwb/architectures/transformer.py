"""A vision transformer, and the convolutional network that borrows from it."""

from typing import Any

from medwb.architectures import backbone
from medwb.architectures.applications import keras_application, named_features
from medwb.architectures.inputs import STANDARDISED, network_input
from medwb.architectures.layers import Shape
from medwb.architectures.plain_layers import gelu
from medwb.architectures.weights import start_from

_WIDTH, _HEADS, _DEPTH = 192, 3, 12


@backbone("convnext-tiny", family="transformer", title="ConvNeXt-Tiny")
def convnext_tiny(shape: Shape, weights: str) -> Any:
    """Eighteen blocks of a 7 x 7 depthwise convolution and two dense layers. Liu et al. 2022, arXiv:2201.03545."""
    return keras_application("convnext-tiny", shape, weights)


@backbone("vit-tiny", family="transformer", title="ViT-Tiny")
def vit_tiny(shape: Shape, weights: str) -> Any:
    """Patches of the scan that attend to one another in twelve layers of width 192.

    Dosovitskiy et al. 2021, arXiv:2010.11929, at the width of Touvron et al. 2021, arXiv:2012.12877; positions as
    fixed sines and the mean of all patches for an answer as in Beyer et al. 2022, arXiv:2205.01580. A patch is 4
    pixels wide where the longer side has at most 64, 8 up to 96, 16 above, so weights fit scans of the same patch.
    """
    import keras

    layers = keras.layers
    inputs, x = network_input(shape, STANDARDISED)
    patch = patch_size(max(x.shape[1:3]))
    x = layers.Conv2D(_WIDTH, patch, patch, padding="same", name="stem_patches")(x)
    rows, columns = x.shape[1:3]
    x = layers.Reshape((rows * columns, _WIDTH), name="stem_tokens")(x) + _positions(rows, columns)
    for block in range(1, _DEPTH + 1):
        x = _transformer_block(x, f"block{block}")
    x = layers.LayerNormalization(epsilon=1e-6, name="head_norm")(x)
    x = layers.GlobalAveragePooling1D(name="head_mean")(x)
    model = keras.Model(inputs, named_features(x), name="vit-tiny")
    start_from(model, "vit-tiny", weights)
    return model


def patch_size(side: int) -> int:
    """Side of a patch in pixels, for the longer side of a scan."""
    return 4 if side <= 64 else 8 if side <= 96 else 16


def _transformer_block(x: Any, name: str) -> Any:
    """Attention and two dense layers, each after a normalisation and beside a shortcut."""
    import keras

    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    x = x + layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, name=f"{name}_attention")(y, y)
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * _WIDTH, activation=gelu, name=f"{name}_dense1")(y)
    return x + layers.Dense(_WIDTH, name=f"{name}_dense2")(y)


def _positions(rows: int, columns: int) -> Any:
    """Sines and cosines of a patch's row and column: float32 (1, rows * columns, width)."""
    import numpy as np

    rates = 1 / 10_000 ** (np.arange(_WIDTH // 4) / (_WIDTH // 4 - 1))
    row, column = np.mgrid[:rows, :columns].reshape(2, -1, 1) * rates
    return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1)[None].astype(np.float32)
