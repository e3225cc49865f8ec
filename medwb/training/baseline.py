"""Fitting a classical baseline: one scikit-learn classifier a label, on flattened pixels."""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.runs import Run
from medwb.training.data import RunData
from medwb.training.reporting import Reporter

Scores = npt.NDArray[np.float32]


def train_baseline(run: Run, data: RunData, reporter: Reporter) -> dict[str, Scores] | None:
    """Fit one classifier a label on the samples where it is known, and score every split.

    A label with one answer only among the training samples gets that answer for every image, and the log says so.

    Returns:
        Split name to float32 (N, L) in 0..1: the probability where the classifier gives one, else the logistic
        function of its decision value, which is 0.5 on the boundary. None when it was stopped before every label
        was fitted.
    """
    from sklearn.dummy import DummyClassifier

    architecture, names = ARCHITECTURES.get(run.config.architecture), data.dataset.label_names
    assert architecture.estimator is not None
    pixels = {split: _flat(data, split) for split in data.dataset.splits}
    learned = pixels["train"][data.train_positions]
    scores = {split: np.zeros((len(flat), len(names)), np.float32) for split, flat in pixels.items()}
    for index, name in enumerate(names):
        truth = data.train.labels[:, index]
        known = ~np.isnan(truth)
        classifier = architecture.estimator(run.config.seed)
        if len(np.unique(truth[known])) < 2:
            logging.warning("%s: only one answer among %d training samples: predicted always", name, known.sum())
            classifier = DummyClassifier(strategy="prior")
        logging.info("fitting %s on %d samples", name, known.sum())
        classifier.fit(learned[known], truth[known].astype(int))
        for split, answer in scores.items():
            answer[:, index] = _score(classifier, pixels[split])
        reporter.step(index + 1, len(names), 1, name)
        if reporter.stop_requested and index + 1 < len(names):
            reporter.stopped = True
            return None
    return scores


def _flat(data: RunData, split: str) -> npt.NDArray[np.float32]:
    images = data.images(split, slice(None))
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat / np.float32(255) if data.config.scale else flat


def _score(classifier: Any, pixels: Scores) -> npt.NDArray[np.floating]:
    from scipy.special import expit

    if hasattr(classifier, "predict_proba"):
        likely = classifier.predict_proba(pixels)
        one = np.flatnonzero(classifier.classes_ == 1)
        return likely[:, one[0]] if len(one) else np.zeros(len(pixels))
    return expit(classifier.decision_function(pixels))
