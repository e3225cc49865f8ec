"""Layers of `keras.applications` in a form that is quick on a processor and can be written as ONNX."""

import math
from typing import Any


def gelu(x: Any) -> Any:
    """Exact Gaussian error linear unit of a Keras tensor of any shape. Hendrycks and Gimpel 2016, arXiv:1606.08415.

    Keras's own computes the complement of the error function, which ONNX does not have.
    """
    import keras

    return 0.5 * x * (1 + keras.ops.erf(x / math.sqrt(2)))


def with_plain_layers(model: Any) -> Any:
    """The same network with the same weights, in layers that compute the same more plainly; itself if it has none.

    A convolution with as many groups as channels becomes a depthwise one: TensorFlow compiles the first apart,
    many times slower, into what ONNX does not have. EfficientNet's division by 255 and its normalisation go: pixels
    are normalised before, by the same numbers.

    Args:
        model: A `keras.Model`, whose own normalisation of pixels is the layer "normalised".
    """
    import keras

    if all(_plain(layer) is None for layer in model.layers):
        return model
    plain = keras.models.clone_model(
        model, clone_function=lambda layer: _plain(layer) or type(layer).from_config(layer.get_config())
    )
    for layer in model.layers:
        twin, values = plain.get_layer(layer.name), layer.get_weights()
        if isinstance(twin, keras.layers.DepthwiseConv2D) and not isinstance(layer, keras.layers.DepthwiseConv2D):
            values[0] = values[0].swapaxes(2, 3)
        if twin.weights:
            twin.set_weights(values)
    return plain


def _plain(layer: Any) -> Any | None:
    """The layer that takes another's place; None where it may stay."""
    import keras

    if not isinstance(layer, keras.layers.Layer):  # an operation, such as an addition
        return None
    layers, common = keras.layers, {"name": layer.name, "dtype": layer.dtype_policy}
    if type(layer) is layers.Conv2D and layer.groups == layer.filters > 1:
        return layers.DepthwiseConv2D(
            layer.kernel_size, layer.strides, layer.padding, use_bias=layer.use_bias, **common
        )
    if isinstance(layer, layers.Activation) and layer.activation is keras.activations.gelu:
        return layers.Activation(gelu, **common)
    own = layer.name == "normalised"
    if isinstance(layer, layers.Normalization | layers.Rescaling) and not own:
        return layers.Identity(**common)
    return None
