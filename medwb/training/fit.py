"""The training loop of one network, as a state that is saved after any batch and gone on with, bit for bit."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig
from medwb.metrics import average, collapsed_labels, evaluate
from medwb.runs import Run
from medwb.training.arithmetic import precision_of
from medwb.training.checkpoint import Checkpoint, numbered, save_checkpoint
from medwb.training.data import RunData
from medwb.training.losses import element_losses
from medwb.training.network import Predict, Scores, build_network, make_predictor, to_scores
from medwb.training.reporting import Reporter
from medwb.training.schedule import learning_rate

_CHECKPOINT_EVERY_S = 120.0
Step = Callable[[Any, Any, Any, Any], tuple[tf.Tensor, tf.Tensor]]


@dataclass
class Place:
    """Where the training of one network stands.

    Attributes:
        peak: Highest learning rate, as plateaus have left it.
        epoch: The epoch under way, from 1; one past the last at the end.
        step: Batches of it that are done.
        over: Whether early stopping, or the number of epochs, has ended it.
        best: The best of what is monitored (the loss with a minus).
        since_best: Epochs without improvement.
        since_drop: The same, since the learning rate last fell.
    """

    peak: float
    epoch: int = 1
    step: int = 0
    over: bool = False
    best: float = -math.inf
    since_best: int = 0
    since_drop: int = 0


class Parts(NamedTuple):
    """What a network is trained by.

    Attributes:
        precision: Arithmetic of its hidden layers, "float32" or "bfloat16".
        network: What is trained.
        scorer: What scores: the network, or its twin in float32 where that computes otherwise or is averaged.
        optimizer: Of the network.
        update: One step.
        predict: Scores of a split by the scorer.
    """

    precision: str
    network: keras.Model
    scorer: keras.Model
    optimizer: keras.optimizers.Optimizer
    update: Step
    predict: Predict


class Fit:
    """One network under training.

    Attributes:
        index: Number of its head.
        place: Where it stands.
        network: What is trained.
    """

    def __init__(
        self,
        run: Run,
        data: RunData,
        reporter: Reporter,
        head: str,
        labels: npt.NDArray[np.int64],
        index: int,
        heads: int,
        scores: Mapping[str, Scores],
    ) -> None:
        """Build the network with its initial weights.

        Args:
            run: The run.
            data: What it learns from.
            reporter: Whom it tells.
            head: Name of the head.
            labels: int64: positions of its labels.
            index: Number of the head.
            heads: How many there are.
            scores: What the heads before it answered, for the checkpoint.
        """
        self.index, self.place = index, Place(run.config.learning_rate)
        self._run, self._data, self._reporter, self._scores = run, data, reporter, scores
        self._head, self._labels, self._heads = head, labels, heads
        self._config = config = run.config
        parts = make_parts(config, data.shape, len(labels), config.seed + index)
        run.update_status(precision=parts.precision)
        self.network, self._scorer, self._optimizer = parts.network, parts.scorer, parts.optimizer
        self._update, self._predict = parts.update, parts.predict
        self._best: list[npt.NDArray[Any]] = []
        self._seen: list[tuple[npt.NDArray[Any], ...]] = []  # of the epoch under way: loss, targets, scores a batch

    def train(self) -> None:
        """Train until it is over, or a stop is asked for; a checkpoint is left behind either way."""
        while not self.place.over:
            self._epoch()
            if self._reporter.stop_requested and not self.place.over:
                self._reporter.stopped = True
                return

    def best_network(self) -> keras.Model:
        """The network with the weights that are kept: its best ones, or its last ones."""
        best = self._best if self._config.early_stopping_patience and self._best else self._weights()
        self._scorer.set_weights(best)
        return self._scorer

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put everything back to where it stood."""
        facts = checkpoint.facts
        if checkpoint.elsewhere:
            logging.warning("the last bits may differ from those of an unbroken run: %s", checkpoint.elsewhere)
        self.place = Place(**facts["place"])
        for name, variables in (("network", self.network.variables), ("optimizer", self._optimizer.variables)):
            for variable, value in zip(variables, checkpoint.group(name), strict=True):
                variable.assign(value)
        self._best = checkpoint.group("best")
        self._seen = [tuple(checkpoint.group("seen"))] if facts["seen"] else []
        for split, scores in self._scores.items():
            scores[:] = checkpoint.arrays[f"scores/{split}"]
        self._data.restore_receipt(facts["receipt"], checkpoint.group("examples"))
        self._reporter.restore(facts["history"], facts["seconds"])
        logging.info("%s goes on with epoch %d after %d batches", self._head, self.place.epoch, self.place.step)

    def _save(self) -> None:
        seen = [np.concatenate(parts) for parts in zip(*self._seen, strict=True)]
        arrays = numbered("network", (variable.numpy() for variable in self.network.variables))
        arrays |= numbered("optimizer", (variable.numpy() for variable in self._optimizer.variables))
        arrays |= numbered("best", self._best) | numbered("seen", seen)
        arrays |= {f"scores/{split}": scores for split, scores in self._scores.items()}
        receipt, examples = self._data.receipt_state()
        arrays |= numbered("examples", examples)
        facts = {"head": self.index, "place": asdict(self.place), "seen": bool(seen), "receipt": receipt}
        facts |= {"history": self._reporter.rows, "seconds": self._reporter.seconds}
        save_checkpoint(self._run, arrays, facts)

    def _epoch(self) -> None:
        """Go on with the epoch under way: to its end, or to a stop. A checkpoint is written at both."""
        place, started = self.place, time.monotonic()
        while place.step < self._data.steps:
            self._batches()
            if place.step < self._data.steps:
                self._save()
            if self._reporter.stop_requested:
                break
        self._data.save_receipt(self._run.path, self._head, place.epoch)
        if place.step == self._data.steps:
            self._end_epoch(time.monotonic() - started)
            self._save()

    def _batches(self) -> None:
        """Learn from batches until the epoch ends, a stop is asked for, or a checkpoint is due."""
        place, config, data = self.place, self._config, self._data
        total, due = data.epochs * data.steps, time.monotonic() + _CHECKPOINT_EVERY_S
        with closing(data.epoch(place.epoch, self._labels, config.seed + self.index, place.step)) as batches:
            for batch in batches:
                done = (place.epoch - 1) * data.steps + place.step
                rate = learning_rate(config, place.peak, done, total)
                loss, answer = self._update(batch.images, batch.targets, batch.weights, np.float32(rate))
                if not math.isfinite(value := float(loss)):
                    raise FloatingPointError(f"the loss is {value} in epoch {place.epoch}; try a lower learning_rate")
                targets = np.where(batch.weights > 0, batch.targets, np.nan)
                self._seen.append((np.full(len(targets), value), targets, answer.numpy()))
                place.step += 1
                done += self.index * total + 1
                self._reporter.step(done, total * self._heads, place.epoch, self._head)
                if self._reporter.stop_requested or time.monotonic() > due:
                    return

    def _end_epoch(self, seconds: float) -> None:
        """Score the validation samples, and decide what follows."""
        place, config, data = self.place, self._config, self._data
        losses, targets, answers = (np.concatenate(parts) for parts in zip(*self._seen, strict=True))
        train = _summary(targets, answers) | {"loss": float(np.mean(losses))}
        weights = self._weights()
        if self._scorer is not self.network:
            self._scorer.set_weights(weights)
        scores = self._predict(data, "val")
        val = _summary(data.val.labels[:, self._labels], scores[data.val_positions])
        row = {"head": self._head, "epoch": place.epoch, "learning_rate": float(self._optimizer.learning_rate)}
        row |= {f"train_{key}": value for key, value in train.items()} | {f"val_{key}": v for key, v in val.items()}
        self._reporter.epoch(row | {"seconds": seconds}, bool(collapsed_labels(scores).any()))
        logging.info(
            "%s", ", ".join(f"{key} {value:.4g}" if key != "head" else str(value) for key, value in row.items())
        )
        watched = (-1 if config.monitor == "loss" else 1) * val[config.monitor]
        if math.isnan(watched):  # no positive, or nothing known, among the validation samples
            logging.warning(
                "%s: %s is undefined on validation; the last weights are kept", self._head, config.monitor
            )
            self._best = weights
        elif watched > place.best + config.early_stopping_min_delta:
            self._best, place.best, place.since_best, place.since_drop = weights, watched, 0, 0
        else:
            place.since_best, place.since_drop = place.since_best + 1, place.since_drop + 1
        if config.early_stopping_patience and place.since_best >= config.early_stopping_patience:
            place.over = True
        elif config.plateau_patience and place.since_drop >= config.plateau_patience:
            place.peak, place.since_drop = max(place.peak * config.plateau_factor, config.plateau_floor), 0
        place.epoch, place.step, self._seen = place.epoch + 1, 0, []
        place.over = place.over or place.epoch > data.epochs
        if place.over:
            logging.info("%s ends after epoch %d", self._head, place.epoch - 1)

    def _weights(self) -> list[npt.NDArray[Any]]:
        """The weights that are scored: the network's own, or the running average of those that are trained."""
        if not self._config.weight_average:
            return self.network.get_weights()
        trained = self.network.trainable_variables
        own = [variable.numpy() for variable in trained]
        self._optimizer.finalize_variable_values(trained)
        averaged = self.network.get_weights()
        for variable, value in zip(trained, own, strict=True):
            variable.assign(value)
        return averaged


def make_parts(config: RunConfig, shape: tuple[int, int, int], labels: int, seed: int) -> Parts:
    """Build what a network is trained by, with its initial weights.

    Args:
        config: A network's.
        shape: (height, width, channels).
        labels: Of its head.
        seed: Of the initial weights and of what is dropped.
    """
    keras.utils.set_random_seed(seed)
    architecture, precision = ARCHITECTURES.get(config.architecture), precision_of(config)
    network = build_network(architecture, shape, labels, config, precision)
    # Scores come from float32 arithmetic, so that the ONNX file can give them too.
    apart = precision != "float32" or config.weight_average > 0
    scorer = build_network(architecture, shape, labels, config) if apart else network
    optimizer = make_optimizer(network, config)
    update = make_update(network, optimizer, config)
    return Parts(precision, network, scorer, optimizer, update, make_predictor(scorer, config))


def make_optimizer(network: keras.Model, config: RunConfig) -> keras.optimizers.Optimizer:
    """The optimizer that a config names; weights of one dimension (biases, normalisation) do not decay."""
    common: dict[str, Any] = {"learning_rate": config.learning_rate, "global_clipnorm": config.clip_norm or None}
    if config.weight_average:
        common |= {"use_ema": True, "ema_momentum": config.weight_average}
    if config.optimizer == "sgd":
        decay = config.weight_decay or None
        optimizer = keras.optimizers.SGD(momentum=config.momentum, weight_decay=decay, **common)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=config.weight_decay, **common)
    else:
        optimizer = keras.optimizers.Adam(**common)
    if config.weight_decay:
        flat = [variable for variable in network.trainable_variables if len(variable.shape) < 2]
        optimizer.exclude_from_weight_decay(var_list=flat)
    optimizer.build(network.trainable_variables)
    return optimizer


def make_update(network: keras.Model, optimizer: keras.optimizers.Optimizer, config: RunConfig) -> Step:
    """One compiled update of the weights: (images, targets, weights, learning rate) to (loss, scores)."""
    labels = network.output_shape[1]
    signature = [
        tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8),
        tf.TensorSpec((None, labels), tf.float32),
        tf.TensorSpec((None, labels), tf.float32),
        tf.TensorSpec((), tf.float32),
    ]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def update(
        images: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            known = tf.math.count_nonzero(weights, dtype=tf.float32)
            loss = tf.reduce_sum(element_losses(logits, targets, config) * weights) / tf.maximum(known, 1.0)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss, to_scores(logits, config)

    return update


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
