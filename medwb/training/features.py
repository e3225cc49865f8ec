"""Frozen features: a backbone keeps its weights, and a classifier a label learns from what it sees in each scan."""

import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.architectures import ARCHITECTURES
from medwb.errors import RequestError
from medwb.runs import Run
from medwb.training.data import RunData
from medwb.training.reporting import Reporter

_BATCH = 64
_NEIGHBOURS = 5
_PENALTY = 0.01  # C of the logistic regression: there are often more features than positive scans
Scores = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]
Score = Callable[[Features], npt.NDArray[Any]]


def train_frozen(run: Run, data: RunData, reporter: Reporter) -> dict[str, Scores] | None:
    """Compute the features of every split once, fit one classifier a label on them, and score every split.

    Features are standardised by those of the scans that are learned from. `config.frozen` says what learns: logistic
    regression (penalty C = 0.01) or the five nearest scans by Euclidean distance. A scan whose label is unknown is
    left out for that label; a share of votes counts as that part of a yes and the rest of a no. A label with one
    answer only gets that answer for every scan. No ONNX file is written. Augmentation does nothing: each scan is seen
    once, as it is.

    Returns:
        Split name to float32 (N, L) in 0..1; None when it was stopped before every label was fitted.

    Raises:
        RequestError: The architecture is no backbone, or its weights cannot be had.
    """
    config, names = run.config, data.dataset.label_names
    architecture = ARCHITECTURES.get(config.architecture)
    if architecture.backbone is None:
        raise RequestError(f"frozen={config.frozen}: {architecture.name} has no weights to keep; choose a backbone")
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    network = architecture.backbone(data.shape, config.weights)
    total = sum(-(-len(data.split(split)) // _BATCH) for split in data.dataset.splits) + len(names)
    features = _features(network, data, reporter, total)
    if features is None:
        return None
    learned = _standardise(features, data.train_positions)
    scores = {split: np.zeros((len(found), len(names)), np.float32) for split, found in features.items()}
    for index, name in enumerate(names):
        truth = data.train.labels[:, index]
        known = ~np.isnan(truth)
        classifier = None
        if known.any() and truth[known].min() < truth[known].max():
            logging.info("fitting %s of %s on %d samples", config.frozen, name, known.sum())
            classifier = _fit(config.frozen, learned[known], truth[known], config.class_weights == "balanced")
        else:
            logging.warning("%s: only one answer among %d training samples: predicted always", name, known.sum())
        for split, answer in scores.items():
            answer[:, index] = np.max(truth[known], initial=0) if classifier is None else classifier(features[split])
        reporter.step(total - len(names) + index + 1, total, 1, name)
        if reporter.stop_requested and index + 1 < len(names):
            reporter.stopped = True
            return None
    logging.info("frozen=%s: no ONNX file is written, so pages cannot score scans with this run", config.frozen)
    return scores


def _standardise(features: dict[str, Features], positions: npt.NDArray[np.int64]) -> Features:
    """Shift and scale the features of all splits, in place, by those at some positions of train; returns these."""
    mean, deviation = features["train"][positions].mean(axis=0), features["train"][positions].std(axis=0)
    deviation[deviation < 1e-6] = 1  # of a feature that says nothing
    for found in features.values():
        found -= mean
        found /= deviation
    return features["train"][positions]


def _features(network: keras.Model, data: RunData, reporter: Reporter, total: int) -> dict[str, Features] | None:
    """Split name to float32 (N, F); None when a stop was asked for."""

    @tf.function(input_signature=[tf.TensorSpec((None, *data.shape), tf.uint8)])  # type: ignore[untyped-decorator]
    def answer(images: tf.Tensor) -> tf.Tensor:
        return network(tf.cast(images, tf.float32) / 255, training=False)

    features, done = {}, 0
    for split in data.dataset.splits:
        found = []
        for start in range(0, len(data.split(split)), _BATCH):
            found.append(answer(data.images(split, slice(start, start + _BATCH))).numpy())
            done += 1
            reporter.step(done, total, 1, "features")
            if reporter.stop_requested:
                reporter.stopped = True
                return None
        features[split] = np.concatenate(found)
    return features


def _fit(kind: str, features: Features, truth: npt.NDArray[np.float32], balanced: bool) -> Score:
    """Learn one label, 0..1 each and not all the same; returns the function from features to scores in 0..1."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsRegressor

    if kind == "k-nn":
        nearest = KNeighborsRegressor(min(_NEIGHBOURS, len(features)), algorithm="brute").fit(features, truth)
        return lambda others: nearest.predict(others)
    yes = truth.sum(dtype=np.float64)
    for_yes, for_no = (len(truth) / (2 * yes), len(truth) / (2 * (len(truth) - yes))) if balanced else (1.0, 1.0)
    some, rest = truth > 0, truth < 1  # a share of votes is both, each with its part
    answers = np.repeat([1, 0], [some.sum(), rest.sum()])
    weights = np.concatenate([truth[some] * for_yes, (1 - truth[rest]) * for_no])
    regression = LogisticRegression(C=_PENALTY, max_iter=1000)
    regression.fit(np.concatenate([features[some], features[rest]]), answers, sample_weight=weights)
    return lambda others: regression.predict_proba(others)[:, 1]
