"""Networks made for few multiply-adds: depthwise convolutions and attention to channels."""

from typing import Any

from medwb.architectures import backbone
from medwb.architectures.applications import keras_application
from medwb.architectures.layers import Shape


@backbone("mobilenet-v3-s", family="mobile", title="MobileNetV3-S")
def mobilenet_v3_s(shape: Shape, weights: str) -> Any:
    """Eleven inverted bottlenecks; the least multiply-adds of all. Howard et al. 2019, arXiv:1905.02244."""
    return keras_application("mobilenet-v3-s", shape, weights)


@backbone("efficientnet-b0", family="mobile", title="EfficientNetB0")
def efficientnet_b0(shape: Shape, weights: str) -> Any:
    """Sixteen inverted bottlenecks, found by search. Tan and Le 2019, arXiv:1905.11946."""
    return keras_application("efficientnet-b0", shape, weights)


@backbone("efficientnet-v2-b0", family="mobile", title="EfficientNetV2B0")
def efficientnet_v2_b0(shape: Shape, weights: str) -> Any:
    """Plain convolutions in its first stages, which are quicker to train. Tan and Le 2021, arXiv:2104.00298."""
    return keras_application("efficientnet-v2-b0", shape, weights)
