"""Plain chains of convolutions, from before shortcuts and normalisation."""

import math
from typing import Any

from medwb.architectures import backbone
from medwb.architectures.applications import keras_application, named_features
from medwb.architectures.inputs import STANDARDISED, network_input
from medwb.architectures.layers import Shape
from medwb.architectures.weights import start_from


@backbone("alexnet", family="classic", title="AlexNet")
def alexnet(shape: Shape, weights: str) -> Any:
    """Five convolutions and two dense layers of 4096 with dropout.

    The one-tower form (Krizhevsky 2014, arXiv:1404.5997; widths 64, 192, 384, 256, 256), without local response
    normalisation. The last map is averaged down to 6 x 6 or less where it is larger, as at more than 224 pixels.
    Scans of less than 64 pixels are enlarged to that.
    """
    import keras

    layers = keras.layers
    inputs, x = network_input(shape, STANDARDISED, least=64)
    for block, (filters, kernel, stride, pooled) in enumerate(
        [(64, 11, 4, True), (192, 5, 1, True), (384, 3, 1, False), (256, 3, 1, False), (256, 3, 1, True)], 1
    ):
        pad = 2 if kernel > 3 else 1
        x = layers.ZeroPadding2D(pad, name=f"block{block}_pad")(x)
        x = layers.Conv2D(
            filters, kernel, stride, activation="relu", kernel_initializer="he_normal", name=f"block{block}_conv"
        )(x)
        if pooled:
            x = layers.MaxPooling2D(3, 2, name=f"block{block}_pool")(x)
    if max(x.shape[1:3]) > 6:
        windows = tuple(math.ceil(side / 6) for side in x.shape[1:3])
        x = layers.AveragePooling2D(windows, padding="same", name="block5_average")(x)
    x = layers.Flatten(name="block6_flatten")(x)
    for block in (6, 7):
        x = layers.Dropout(0.5, name=f"block{block}_dropout")(x)
        x = layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name=f"block{block}_dense")(x)
    model = keras.Model(inputs, named_features(x), name="alexnet")
    start_from(model, "alexnet", weights)
    return model


@backbone("vgg-11", family="classic", title="VGG-11")
def vgg_11(shape: Shape, weights: str) -> Any:
    """Eight 3 x 3 convolutions, pooled five times, and averaged.

    Simonyan and Zisserman 2015, arXiv:1409.1556, configuration A, without its dense layers.
    """
    import keras

    layers = keras.layers
    inputs, x = network_input(shape, STANDARDISED)
    for block, (filters, depth) in enumerate([(64, 1), (128, 1), (256, 2), (512, 2), (512, 2)], 1):
        for position in range(1, depth + 1):
            x = layers.Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{position}",
            )(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    model = keras.Model(inputs, named_features(x), name="vgg-11")
    start_from(model, "vgg-11", weights)
    return model


@backbone("vgg-16", family="classic", title="VGG-16")
def vgg_16(shape: Shape, weights: str) -> Any:
    """Thirteen 3 x 3 convolutions, pooled five times, and averaged.

    Simonyan and Zisserman 2015, arXiv:1409.1556, configuration D, without its dense layers.
    """
    return keras_application("vgg-16", shape, weights)
