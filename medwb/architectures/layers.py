"""Layers as plain facts: shapes, parameters and multiply-adds without loading a framework.

Each class is named and takes its arguments as in Keras, so that `medwb.training` builds the real layer from the
same fields; a test holds shapes and parameter counts equal to Keras's for every architecture.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

Shape = tuple[int, ...]
"""Of one sample, without the batch axis."""


@dataclass(frozen=True)
class Layer:
    """One layer of a network that is a chain."""

    @abstractmethod
    def output_shape(self, shape: Shape) -> Shape:
        """Shape that comes out when `shape` goes in."""

    def parameters(self, shape: Shape) -> int:
        """Number of weights, those that are not trained included."""
        return 0

    def multiply_adds(self, shape: Shape) -> int:
        """Multiply-adds of one sample's forward pass; only products with weights are counted."""
        return 0

    def label(self) -> str:
        """What a diagram writes on it."""
        return type(self).__name__


@dataclass(frozen=True)
class Conv2D(Layer):
    """2D convolution, kernel and stride the same in both directions."""

    filters: int
    kernel_size: int
    strides: int = 1
    padding: str = "valid"
    activation: str | None = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        """(height, width, channels) in, (height, width, filters) out."""
        sides = (_windows(side, self.kernel_size, self.strides, self.padding) for side in shape[:2])
        return (*sides, self.filters)

    def parameters(self, shape: Shape) -> int:
        """Kernels and biases."""
        return (self.kernel_size**2 * shape[2] + 1) * self.filters

    def multiply_adds(self, shape: Shape) -> int:
        """One kernel at every output position."""
        return math.prod(self.output_shape(shape)) * self.kernel_size**2 * shape[2]

    def label(self) -> str:
        """Filters, kernel, stride, padding, activation."""
        stride = f" / {self.strides}" if self.strides > 1 else ""
        return (
            f"Conv2D {self.filters}, {self.kernel_size}×{self.kernel_size}{stride} {self.padding}, {self.activation}"
        )


@dataclass(frozen=True)
class MaxPooling2D(Layer):
    """Maximum over windows that do not overlap."""

    pool_size: int
    padding: str = "valid"

    def output_shape(self, shape: Shape) -> Shape:
        """(height, width, channels) in, the sides divided by the pool size out."""
        sides = (_windows(side, self.pool_size, self.pool_size, self.padding) for side in shape[:2])
        return (*sides, shape[2])

    def label(self) -> str:
        """Pool size, and the padding where it is not the usual one."""
        padding = "" if self.padding == "valid" else f" {self.padding}"
        return f"MaxPooling2D {self.pool_size}{padding}"


@dataclass(frozen=True)
class GlobalAveragePooling2D(Layer):
    """Mean over all positions, one number a channel."""

    def output_shape(self, shape: Shape) -> Shape:
        """(height, width, channels) in, (channels,) out."""
        return (shape[2],)


@dataclass(frozen=True)
class Dense(Layer):
    """Every output from every input, over the last axis."""

    units: int
    activation: str | None = "relu"

    def output_shape(self, shape: Shape) -> Shape:
        """The last axis becomes `units`."""
        return (*shape[:-1], self.units)

    def parameters(self, shape: Shape) -> int:
        """Weights and biases."""
        return (shape[-1] + 1) * self.units

    def multiply_adds(self, shape: Shape) -> int:
        """One product a weight, at each position of the other axes."""
        return math.prod(shape) * self.units

    def label(self) -> str:
        """Units and activation."""
        return f"Dense {self.units}, {self.activation or 'linear'}"


@dataclass(frozen=True)
class LSTM(Layer):
    """Long short-term memory over the first axis (time steps)."""

    units: int
    return_sequences: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        """(steps, features) in; (steps, units) or (units,) out."""
        return (shape[0], self.units) if self.return_sequences else (self.units,)

    def parameters(self, shape: Shape) -> int:
        """Four gates, each with input weights, recurrent weights and biases."""
        return 4 * self.units * (shape[1] + self.units + 1)

    def multiply_adds(self, shape: Shape) -> int:
        """Four gates at each time step."""
        return 4 * self.units * (shape[1] + self.units) * shape[0]

    def label(self) -> str:
        """Units, and whether every step's output is kept."""
        return f"LSTM {self.units}{', sequences' if self.return_sequences else ''}"


@dataclass(frozen=True)
class BatchNormalization(Layer):
    """Normalises each channel over the batch.

    `momentum` is what the running statistics keep at each step; 0.99 leaves them far from the data after few steps.
    """

    momentum: float = 0.99

    def output_shape(self, shape: Shape) -> Shape:
        """As it comes in."""
        return shape

    def parameters(self, shape: Shape) -> int:
        """Scale, shift, and the two running statistics that are not trained."""
        return 4 * shape[-1]


@dataclass(frozen=True)
class Dropout(Layer):
    """Sets a share of its inputs to zero while training."""

    rate: float

    def output_shape(self, shape: Shape) -> Shape:
        """As it comes in."""
        return shape

    def label(self) -> str:
        """The share."""
        return f"Dropout {self.rate:g}"


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes to one."""

    def output_shape(self, shape: Shape) -> Shape:
        """The product of the axes."""
        return (math.prod(shape),)


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in another shape."""

    target_shape: Shape

    def output_shape(self, shape: Shape) -> Shape:
        """The target shape."""
        return self.target_shape

    def label(self) -> str:
        """The target shape."""
        return f"Reshape {'×'.join(map(str, self.target_shape))}"


def _windows(side: int, window: int, stride: int, padding: str) -> int:
    """Number of window positions along one side."""
    return math.ceil(side / stride) if padding == "same" else (side - window) // stride + 1
