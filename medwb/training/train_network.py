"""Training a run's network, or one network a label, and what is kept of it."""

import json
import logging

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.architectures import ARCHITECTURES, describe_layers
from medwb.architectures.facts import keep_facts, known_facts
from medwb.config import network_outputs
from medwb.paths import replacing, write_text
from medwb.runs import Run
from medwb.scoring import onnx_name, weights_files
from medwb.training.checkpoint import open_checkpoint
from medwb.training.data import RunData
from medwb.training.describe import describe_backbone
from medwb.training.fit import Fit
from medwb.training.network import Scores, make_predictor
from medwb.training.onnx_model import OnnxError, write_onnx
from medwb.training.reporting import Reporter

_COMPARED = 256  # scans on which an ONNX file is held against the network


def train_network(run: Run, data: RunData, reporter: Reporter) -> dict[str, Scores] | None:
    """Train the run's network, or one network a label, from its checkpoint on, and score every split.

    Returns:
        Split name to float32 (N, L) in 0..1; None when it was stopped before every label had a network.

    Raises:
        RequestError: The checkpoint is damaged, or of another config.
    """
    config, names = run.config, data.dataset.label_names
    tf.config.experimental.enable_op_determinism()
    if config.heads == "shared":
        heads = {"shared": np.arange(len(names))}
    else:
        heads = {name: np.array([index]) for index, name in enumerate(names)}
    scores = {split: np.zeros((len(data.split(split)), len(names)), np.float32) for split in data.dataset.splits}
    checkpoint = open_checkpoint(run)
    first = int(checkpoint.facts["head"]) if checkpoint else 0
    for index, (head, labels) in list(enumerate(heads.items()))[first:]:
        fit = Fit(run, data, reporter, head, labels, index, len(heads), scores)
        if checkpoint is not None and index == first:
            fit.restore(checkpoint)
        fit.train()
        if reporter.stopped and index + 1 < len(heads):
            return None
        _keep(run, data, reporter, fit, scores, labels)
    _write_architecture(run, data)
    return scores


def _keep(
    run: Run, data: RunData, reporter: Reporter, fit: Fit, scores: dict[str, Scores], labels: npt.NDArray[np.int64]
) -> None:
    """Save a head's network, and fill in its scores of every split."""
    network = fit.best_network()
    with replacing(run.path / weights_files(run)[fit.index]) as temporary:
        network.save_weights(temporary)
    predict = make_predictor(network, run.config)
    for split, answer in scores.items():
        answer[:, labels] = predict(data, split)
    with reporter.aside():
        _write_onnx(run, data, network, fit.index, scores["val"][:, labels])


def _write_onnx(run: Run, data: RunData, network: keras.Model, index: int, scores: Scores) -> None:
    """Write a head's network as ONNX, and into the status how well it agrees; a failure costs the file alone."""
    name, status = onnx_name(run.config, index), run.status()
    try:
        block = data.images("val", slice(_COMPARED))
        difference = write_onnx(network, run.config, run.path / name, block, scores[:_COMPARED])
    except OnnxError as error:
        logging.warning("%s is not written: %s", name, error)
        run.update_status(onnx_error=f"{name}: {error}")
    else:
        logging.info("%s gives the network's scores within %.2g", name, difference)
        run.update_status(onnx_difference=max(difference, status.get("onnx_difference", 0.0)))


def _write_architecture(run: Run, data: RunData) -> None:
    """The layers as they were built, for diagrams and for whoever opens the weights."""
    config = run.config
    outputs = network_outputs(config, len(data.dataset.label_names))
    architecture = ARCHITECTURES.get(config.architecture)
    if architecture.backbone and not known_facts(architecture, data.shape):
        keep_facts(architecture, data.shape, describe_backbone(architecture, data.shape))
    layers = describe_layers(architecture, data.shape, outputs)
    record = {"architecture": config.architecture, "layers": [layer._asdict() for layer in layers]}
    write_text(run.path / "architecture.json", json.dumps(record, indent=1) + "\n")
