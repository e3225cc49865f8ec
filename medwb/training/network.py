"""Building a network from its layers, and the training loop, top to bottom."""

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.architectures import ARCHITECTURES, Architecture, describe_layers
from medwb.config import RunConfig, network_outputs
from medwb.metrics import average, collapsed_labels, evaluate
from medwb.paths import replacing, write_text
from medwb.runs import Run
from medwb.scoring import onnx_name
from medwb.training.data import RunData
from medwb.training.onnx_model import OnnxError, write_onnx
from medwb.training.reporting import Reporter

_PREDICT_BATCH = 256
Scores = npt.NDArray[np.float32]


def build_network(
    architecture: Architecture, shape: tuple[int, int, int], labels: int, config: RunConfig
) -> keras.Model:
    """Make the Keras model: uint8 (B, H, W, C) in, logits out.

    Logits are (B, labels) for the binary loss, (B, labels, 2) for the categorical one.
    """
    assert architecture.layers is not None
    scale = keras.layers.Rescaling(1 / 255 if config.scale else 1.0)
    hidden = [getattr(keras.layers, type(layer).__name__)(**vars(layer)) for layer in architecture.layers(shape)]
    if config.loss == "categorical":
        head = [keras.layers.Dense(2 * labels), keras.layers.Reshape((labels, 2))]
    else:
        head = [keras.layers.Dense(labels)]
    return keras.Sequential([keras.Input(shape, dtype="uint8"), scale, *hidden, *head], name=architecture.name)


def train_network(run: Run, data: RunData, reporter: Reporter) -> dict[str, Scores] | None:
    """Train the run's network, or one network a label, and score every split.

    Returns:
        Split name to float32 (N, L) in 0..1; None when it was stopped before every label had a network.
    """
    config, names = run.config, data.dataset.label_names
    tf.config.experimental.enable_op_determinism()
    if config.heads == "shared":
        heads = {"shared": np.arange(len(names))}
    else:
        heads = {name: np.array([index]) for index, name in enumerate(names)}
    scores = {split: np.zeros((len(data.split(split)), len(names)), np.float32) for split in data.dataset.splits}
    for index, (head, labels) in enumerate(heads.items()):
        network = _train_head(run, data, reporter, head, labels, index, len(heads))
        with replacing(run.path / weights_name(config, index)) as temporary:
            network.save_weights(temporary)
        predict = _predictor(network, config)
        for split, answer in scores.items():
            answer[:, labels] = predict(data, split)
        with reporter.aside():
            _write_onnx(run, data, network, index, scores["val"][:, labels])
        if reporter.stop_requested and index + 1 < len(heads):
            return None
    _write_architecture(run, data)
    return scores


def weights_name(config: RunConfig, head: int) -> str:
    """File of a head's weights: one file for shared heads, one a label otherwise."""
    return "model.weights.h5" if config.heads == "shared" else f"model.{head}.weights.h5"


def _write_onnx(run: Run, data: RunData, network: keras.Model, index: int, scores: Scores) -> None:
    """Write a head's network as ONNX, and into the status how well it agrees; a failure costs the file alone."""
    name, status = onnx_name(run.config, index), run.status()
    try:
        block = data.images("val", 0, _PREDICT_BATCH)
        difference = write_onnx(network, run.config, run.path / name, block, scores[:_PREDICT_BATCH])
    except OnnxError as error:
        logging.warning("%s is not written: %s", name, error)
        run.update_status(onnx_error=f"{name}: {error}")
    else:
        logging.info("%s gives the network's scores within %.2g", name, difference)
        run.update_status(onnx_difference=max(difference, status.get("onnx_difference", 0.0)))


def _train_head(
    run: Run, data: RunData, reporter: Reporter, head: str, labels: npt.NDArray[np.int64], index: int, heads: int
) -> keras.Model:
    """Train one network on some of the labels; returns it with its best weights, or its last ones."""
    config = run.config
    keras.utils.set_random_seed(config.seed + index)
    network = build_network(ARCHITECTURES.get(config.architecture), data.shape, len(labels), config)
    if config.optimizer == "adam":
        optimizer = keras.optimizers.Adam(config.learning_rate)
    else:
        optimizer = keras.optimizers.SGD(config.learning_rate, momentum=config.momentum)
    step = _step(network, optimizer, data.shape, len(labels), config)
    predict = _predictor(network, config)
    sign = -1 if config.monitor == "loss" else 1
    best, best_weights, since_best, since_drop = -math.inf, network.get_weights(), 0, 0
    total = config.epochs * data.steps * heads

    for epoch in range(1, config.epochs + 1):
        started, losses, sizes = time.monotonic(), [], []
        answers: list[npt.NDArray[Any]] = []
        targets: list[npt.NDArray[Any]] = []
        with closing(data.epoch(epoch, labels, config.seed + index)) as batches:
            for position, batch in enumerate(batches):
                loss, answer = step(*batch)
                losses.append(float(loss))
                if not math.isfinite(losses[-1]):
                    raise FloatingPointError(f"the loss is {losses[-1]} in epoch {epoch}; try a lower learning_rate")
                sizes.append(len(batch.images))
                answers.append(answer.numpy())
                targets.append(np.where(batch.weights > 0, batch.targets, np.nan))
                done = (index * config.epochs + epoch - 1) * data.steps + position + 1
                reporter.step(done, total, epoch, head)
                if reporter.stop_requested:
                    break
        data.save_receipt(run.path, head, epoch)
        train = _summary(np.concatenate(targets), np.concatenate(answers)) | {
            "loss": np.average(losses, weights=sizes)
        }
        val_scores = predict(data, "val")
        val = _summary(data.val.labels[:, labels], val_scores[data.val_positions])
        row = {"head": head, "epoch": epoch, "learning_rate": float(optimizer.learning_rate)}
        row |= {f"train_{key}": value for key, value in train.items()} | {f"val_{key}": v for key, v in val.items()}
        reporter.epoch(row | {"seconds": time.monotonic() - started}, bool(collapsed_labels(val_scores).any()))
        logging.info(
            "%s", ", ".join(f"{key} {value:.4g}" if key != "head" else str(value) for key, value in row.items())
        )

        watched = sign * val[config.monitor]
        if math.isnan(watched):  # no positive, or nothing known, among the validation samples
            logging.warning("%s: %s is undefined on validation; the last weights are kept", head, config.monitor)
            best_weights = network.get_weights()
        elif watched > best + config.early_stopping_min_delta:
            best, best_weights, since_best, since_drop = watched, network.get_weights(), 0, 0
        else:
            since_best, since_drop = since_best + 1, since_drop + 1
        if reporter.stop_requested or (
            config.early_stopping_patience and since_best >= config.early_stopping_patience
        ):
            logging.info("%s ends after epoch %d", head, epoch)
            break
        if config.plateau_patience and since_drop >= config.plateau_patience:
            lower = max(float(optimizer.learning_rate) * config.plateau_factor, config.plateau_floor)
            optimizer.learning_rate, since_drop = lower, 0
    if config.early_stopping_patience:
        network.set_weights(best_weights)
    return network


def _step(
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    shape: tuple[int, int, int],
    labels: int,
    config: RunConfig,
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """One compiled update: (images, targets, weights) to (loss, scores)."""
    signature = [
        tf.TensorSpec((None, *shape), tf.uint8),
        tf.TensorSpec((None, labels), tf.float32),
        tf.TensorSpec((None, labels), tf.float32),
    ]
    optimizer.build(network.trainable_variables)

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            if config.loss == "categorical":
                classes = tf.stack([1 - targets, targets], axis=-1)
                losses = tf.nn.softmax_cross_entropy_with_logits(classes, logits)
            else:
                losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
            known = tf.math.count_nonzero(weights, dtype=tf.float32)
            loss = tf.reduce_sum(losses * weights) / tf.maximum(known, 1.0)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss, _to_scores(logits, config)

    return step


def _to_scores(logits: tf.Tensor, config: RunConfig) -> tf.Tensor:
    """Logits to scores in 0..1, (B, labels)."""
    return tf.nn.softmax(logits)[..., 1] if config.loss == "categorical" else tf.sigmoid(logits)


def _predictor(network: keras.Model, config: RunConfig) -> Callable[[RunData, str], Scores]:
    """A function from (data, split) to float32 (N, labels) scores."""

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)])  # type: ignore[untyped-decorator]
    def score(images: tf.Tensor) -> tf.Tensor:
        return _to_scores(network(images, training=False), config)

    def predict(data: RunData, split: str) -> Scores:
        starts = range(0, len(data.split(split)), _PREDICT_BATCH)
        return np.concatenate([score(data.images(split, start, start + _PREDICT_BATCH)).numpy() for start in starts])

    return predict


def _summary(y_true: npt.NDArray[Any], y_score: Scores) -> dict[str, float]:
    """Cross-entropy (nats a known label), macro F1 at 0.5 and accuracy; NaN for what is undefined.

    A label that is a share of votes counts in the cross-entropy alone: it has no right answer.
    """
    known = ~np.isnan(y_true)
    yes, no = (np.log(np.clip(score[known].astype(np.float64), 1e-7, 1)) for score in (y_score, 1 - y_score))
    entropy = -(y_true[known] * yes + (1 - y_true[known]) * no)
    y_true = np.where((y_true == 0) | (y_true == 1), y_true, np.nan)
    macro = {name: float(average(evaluate(name, y_true, y_score), "macro")[0]) for name in ("f1", "accuracy")}
    return {"loss": float(entropy.mean()) if entropy.size else math.nan, **macro}


def _write_architecture(run: Run, data: RunData) -> None:
    """The layers as they were built, for diagrams and for whoever opens the weights."""
    config = run.config
    outputs = network_outputs(config, len(data.dataset.label_names))
    layers = describe_layers(ARCHITECTURES.get(config.architecture), data.shape, outputs)
    record = {"architecture": config.architecture, "layers": [layer._asdict() for layer in layers]}
    write_text(run.path / "architecture.json", json.dumps(record, indent=1) + "\n")
