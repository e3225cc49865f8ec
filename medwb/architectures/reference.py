"""The reference study's eight networks, layer for layer, with the Flatten that its dense nets lacked.

Its hidden activations are ReLU; the LSTMs of RNN-1 keep their tanh, as Keras has them. Its scores are those of one
network a label with two outputs (`heads=per-label loss=categorical`).
"""

from medwb.architectures import network
from medwb.architectures.layers import (
    LSTM,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling2D,
    Reshape,
    Shape,
)


@network("fcnn-1", family="reference", title="FCNN-1", reference_score=0.86)
def fcnn_1(shape: Shape) -> list[Layer]:
    """Two dense layers of 256."""
    return [Flatten(), Dense(256), Dense(256)]


@network("fcnn-2", family="reference", title="FCNN-2", reference_score=0.86)
def fcnn_2(shape: Shape) -> list[Layer]:
    """A linear bottleneck of 256, a dense layer of 100, dropout and batch normalisation."""
    return [Flatten(), Dense(256, activation=None), Dense(100), Dropout(0.5), BatchNormalization()]


@network("rnn-1", family="reference", title="RNN-1", reference_score=0.89)
def rnn_1(shape: Shape) -> list[Layer]:
    """Rows read as time steps by two LSTMs of 128."""
    rows = Reshape((shape[0], shape[1] * shape[2]))
    return [rows, LSTM(128, return_sequences=True), LSTM(128, return_sequences=True), Flatten(), Dense(64)]


@network("cnn-1", family="reference", title="CNN-1", reference_score=0.87)
def cnn_1(shape: Shape) -> list[Layer]:
    """One wide convolution."""
    return [Conv2D(256, 3), MaxPooling2D(3), Flatten(), Dense(256)]


@network("cnn-2", family="reference", title="CNN-2", reference_score=0.87)
def cnn_2(shape: Shape) -> list[Layer]:
    """Three convolutions, two of them strided, with batch normalisation."""
    return [
        *(Conv2D(25, 5, padding="same"), MaxPooling2D(2)),
        *(Conv2D(50, 5, strides=2, padding="same"), MaxPooling2D(2), BatchNormalization()),
        *(Conv2D(70, 3, strides=2, padding="same"), MaxPooling2D(2), BatchNormalization()),
        *(Flatten(), Dense(100), Dense(100), Dropout(0.25)),
    ]


@network("cnn-3", family="reference", title="CNN-3", reference_score=0.89)
def cnn_3(shape: Shape) -> list[Layer]:
    """Three convolutions and two wide dense layers."""
    return [
        Conv2D(50, 3, padding="same"),
        *(Conv2D(75, 3, padding="same"), MaxPooling2D(2), Dropout(0.25)),
        *(Conv2D(125, 3, padding="same"), MaxPooling2D(2), Dropout(0.25)),
        *(Flatten(), Dense(500), Dropout(0.4), Dense(250), Dropout(0.3)),
    ]


@network("cnn-4", family="reference", title="CNN-4", reference_score=0.85)
def cnn_4(shape: Shape) -> list[Layer]:
    """Two convolutions, each pooled by five."""
    return [
        *(Conv2D(32, 5), MaxPooling2D(5)),
        *(Conv2D(64, 5), MaxPooling2D(5)),
        *(Flatten(), Dense(1024), Dropout(0.8)),
    ]


@network("cnn-5", family="reference", title="CNN-5", reference_score=0.91)
def cnn_5(shape: Shape) -> list[Layer]:
    """Four pairs of convolutions, 32 to 512 channels; the study's best."""
    return [
        *(Conv2D(32, 3, padding="same"), Conv2D(32, 3), MaxPooling2D(2), Dropout(0.2)),
        *(Conv2D(64, 3, padding="same"), Conv2D(64, 3), MaxPooling2D(2), Dropout(0.2)),
        *(Conv2D(128, 3, padding="same"), Conv2D(128, 3), MaxPooling2D(2), Dropout(0.2)),
        *(Conv2D(512, 5, padding="same"), Conv2D(512, 5), MaxPooling2D(4, padding="same"), Dropout(0.2)),
        *(Flatten(), Dense(1024), Dropout(0.2)),
    ]
