"""Networks that Keras brings (`keras.applications`, Apache-2.0) as backbones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medwb.architectures.inputs import (
    CAFFE,
    STANDARDISED,
    SYMMETRIC,
    Preprocessing,
    network_input,
)
from medwb.architectures.layers import Shape
from medwb.architectures.plain_layers import with_plain_layers
from medwb.architectures.weights import IMAGENET, OWN_SUFFIX, RANDOM, download_imagenet, start_from

_MOMENTUM = 0.9  # Keras's 0.99 and 0.999 are for millions of steps: after a few hundred, scores would be noise


@dataclass(frozen=True)
class Application:
    """What Keras calls a network, and what its weights expect.

    Attributes:
        factory: Name in `keras.applications`.
        preprocessing: Of pixels, as its ImageNet weights expect them.
        options: Further arguments of the factory.
        he: Whether random weights are He's (2015) instead of Glorot's, with which a deep network without
            normalisation does not learn.
    """

    factory: str
    preprocessing: Preprocessing
    options: Mapping[str, Any] = field(default_factory=dict)
    he: bool = False


APPLICATIONS = {
    "vgg-16": Application("VGG16", CAFFE, he=True),
    "resnet-50": Application("ResNet50", CAFFE),
    "densenet-121": Application("DenseNet121", STANDARDISED),
    "mobilenet-v3-s": Application("MobileNetV3Small", SYMMETRIC, {"include_preprocessing": False}),
    "efficientnet-b0": Application("EfficientNetB0", STANDARDISED),
    "efficientnet-v2-b0": Application("EfficientNetV2B0", STANDARDISED, {"include_preprocessing": False}),
    "convnext-tiny": Application("ConvNeXtTiny", STANDARDISED, {"include_preprocessing": False}),
}
"""Architectures that Keras brings with ImageNet weights."""


def keras_application(name: str, shape: Shape, weights: str) -> Any:
    """Build one of `APPLICATIONS` without its top: the mean over all positions is the feature vector.

    Args:
        name: Of the architecture.
        shape: (height, width, channels), one channel or three.
        weights: "none", "imagenet", or the path of a file.

    Returns:
        A `keras.Model` from float pixels in 0..1 (B, *shape) to float32 features (B, F).

    Raises:
        RequestError: The weights cannot be had, or do not fit.
    """
    import keras

    entry = APPLICATIONS[name]
    build, fold = getattr(keras.applications, entry.factory), entry.preprocessing.fold
    inputs, pixels = network_input(shape, entry.preprocessing)
    network = build(weights=None, include_top=False, pooling="avg", input_tensor=pixels, **entry.options)
    theirs = keras.Model(inputs, named_features(network.output), name=name)
    if weights == IMAGENET:
        download_imagenet(theirs, name, entry.factory, fold, **entry.options)
    elif weights != RANDOM and not weights.endswith(OWN_SUFFIX):
        start_from(theirs, name, weights, fold)
    elif entry.he:
        for layer in theirs.layers:
            if isinstance(layer, keras.layers.Conv2D):
                layer.kernel.assign(keras.initializers.HeNormal()(layer.kernel.shape))
    model = with_plain_layers(theirs)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    if weights.endswith(OWN_SUFFIX):
        start_from(model, name, weights)
    return model


def named_features(features: Any) -> Any:
    """The end of a backbone, float32 whatever precision its layers work in."""
    import keras

    return keras.layers.Identity(dtype="float32", name="features")(features)
