"""Building a network, loading a trained one, and scoring scans with it."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.architectures import ARCHITECTURES, Architecture
from medwb.architectures.layers import LSTM, Layer
from medwb.config import RunConfig
from medwb.errors import RequestError
from medwb.runs import Run
from medwb.scoring import weights_files
from medwb.training.data import RunData

_PREDICT_BATCH = 256
Scores = npt.NDArray[np.float32]
Predict = Callable[[RunData, str], Scores]


def build_network(
    architecture: Architecture,
    shape: tuple[int, int, int],
    labels: int,
    config: RunConfig,
    precision: str = "float32",
) -> keras.Model:
    """Make the Keras model: uint8 (B, H, W, C) in, float32 logits out.

    Logits are (B, labels), or (B, labels, 2) for the categorical loss.

    Args:
        architecture: A network.
        shape: (height, width, channels).
        labels: Outputs; twice as many for the categorical loss.
        config: `scale`, `loss`, `initializer` and `weights`.
        precision: Arithmetic of the hidden layers, "float32" or "bfloat16"; weights are float32 with both.
    """
    policy = keras.DTypePolicy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    scale = keras.layers.Rescaling(1 / 255 if config.scale else 1.0, dtype=policy)
    if architecture.layers is not None:
        hidden = [_layer(layer, config, policy) for layer in architecture.layers(shape)]
    else:
        assert architecture.backbone is not None
        usual = keras.config.dtype_policy()
        try:  # its layers are made deep inside
            keras.config.set_dtype_policy(policy)
            hidden = [architecture.backbone(shape, config.weights)]
        finally:
            keras.config.set_dtype_policy(usual)
    if config.loss == "categorical":
        head = [keras.layers.Dense(2 * labels, dtype="float32"), keras.layers.Reshape((labels, 2), dtype="float32")]
    else:
        head = [keras.layers.Dense(labels, dtype="float32")]
    return keras.Sequential([keras.Input(shape, dtype="uint8"), scale, *hidden, *head], name=architecture.name)


def _layer(layer: Layer, config: RunConfig, policy: keras.DTypePolicy) -> keras.layers.Layer:
    """The Keras layer of a fact; He's weights (He et al., Delving deep into rectifiers, 2015) where asked for."""
    arguments: dict[str, Any] = {**vars(layer), "dtype": policy}
    if config.initializer == "he" and "activation" in arguments and not isinstance(layer, LSTM):
        arguments["kernel_initializer"] = "he_normal"
    return getattr(keras.layers, type(layer).__name__)(**arguments)


def load_head(run: Run, shape: tuple[int, int, int], head: int) -> keras.Model:
    """One of a run's networks with its weights: uint8 (B, *shape) to logits.

    The architecture is built from the registry. A file of weights holds arrays only: nothing in it is executed.

    Raises:
        RequestError: The weights are damaged or of another network.
    """
    name, network = weights_files(run)[head], blank_head(run, shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras looks for nested layers twice, and says so
            network.load_weights(run.path / name)
    except Exception as error:  # Keras and h5py raise what they like
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"run {run.id}: {name} is damaged ({reason}); train again") from error
    return network


def blank_head(run: Run, shape: tuple[int, int, int]) -> keras.Model:
    """Such a network with random weights."""
    config = run.config.model_copy(update={"weights": "none"})  # what it began with is no longer needed
    labels = len(run.label_names) if config.heads == "shared" else 1
    return build_network(ARCHITECTURES.get(config.architecture), shape, labels, config)


def to_scores(logits: tf.Tensor, config: RunConfig) -> tf.Tensor:
    """Logits to scores in 0..1, (B, labels)."""
    return tf.nn.softmax(logits)[..., 1] if config.loss == "categorical" else tf.sigmoid(logits)


def make_predictor(network: keras.Model, config: RunConfig) -> Predict:
    """A function from (data, split) to float32 (N, labels) scores."""

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)])  # type: ignore[untyped-decorator]
    def score(images: tf.Tensor) -> tf.Tensor:
        return to_scores(network(images, training=False), config)

    def predict(data: RunData, split: str) -> Scores:
        pictures, picture_of = data.pictures(split)
        blocks = [pictures[start : start + _PREDICT_BATCH] for start in range(0, len(pictures), _PREDICT_BATCH)]
        return np.concatenate([score(data.images(split, block)).numpy() for block in blocks])[picture_of]

    return predict
