"""Networks whose blocks pass on what came in beside what they compute."""

from typing import Any

from medwb.architectures import backbone
from medwb.architectures.applications import keras_application, named_features
from medwb.architectures.inputs import STANDARDISED, network_input
from medwb.architectures.layers import Shape
from medwb.architectures.weights import start_from


@backbone("resnet-18", family="residual", title="ResNet-18")
def resnet_18(shape: Shape, weights: str) -> Any:
    """Eight residual blocks of two convolutions, 64 to 512 channels.

    He et al. 2016, arXiv:1512.03385. The second normalisation of a block starts at zero (Goyal et al. 2017,
    arXiv:1706.02677), so that each block starts as the identity.
    """
    import keras

    layers = keras.layers
    inputs, x = network_input(shape, STANDARDISED)
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = _convolution(x, 64, 7, 2, "stem", padding="valid")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, filters in enumerate((64, 128, 256, 512), 1):
        for block in (1, 2):
            stride = 2 if stage > 1 and block == 1 else 1
            x = _basic_block(x, filters, stride, f"stage{stage}_block{block}")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    model = keras.Model(inputs, named_features(x), name="resnet-18")
    start_from(model, "resnet-18", weights)
    return model


@backbone("resnet-50", family="residual", title="ResNet-50")
def resnet_50(shape: Shape, weights: str) -> Any:
    """Sixteen residual bottlenecks, 256 to 2048 channels. He et al. 2016, arXiv:1512.03385."""
    return keras_application("resnet-50", shape, weights)


@backbone("densenet-121", family="residual", title="DenseNet-121")
def densenet_121(shape: Shape, weights: str) -> Any:
    """Each of 58 blocks sees what all before it in its stage computed. Huang et al. 2017, arXiv:1608.06993."""
    return keras_application("densenet-121", shape, weights)


def _basic_block(x: Any, filters: int, stride: int, name: str) -> Any:
    import keras

    layers, shortcut = keras.layers, x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, stride, f"{name}_shortcut")
    x = _convolution(x, filters, 3, stride, f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _convolution(x, filters, 3, 1, f"{name}_2", gamma_initializer="zeros")
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(
    x: Any, filters: int, kernel: int, stride: int, name: str, *, padding: str = "same", **normalisation: Any
) -> Any:
    """A convolution without bias, and its batch normalisation."""
    import keras

    layers = keras.layers
    if padding == "same" and stride > 1 and kernel > 1:  # pads as the paper's code does, the same on all sides
        x, padding = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"
    x = layers.Conv2D(
        filters,
        kernel,
        stride,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn", **normalisation)(x)
