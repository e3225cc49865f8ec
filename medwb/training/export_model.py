"""Writes a run's network as ONNX, Keras or TFLite and holds it against the run's answers; a child of `medwb.export`.

`python -m medwb.training.export_model RUN_DIR FORMAT FILE` writes the file and, as the last line of standard output,
{"difference": of a score, the largest}. Exit status: 0 done, 2 the request was wrong.
"""

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from medwb.config import input_shape
from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.export import check_network, checked_scans, difference
from medwb.images import Pixels
from medwb.runs import Run
from medwb.scoring import weights_files
from medwb.training.network import load_head
from medwb.training.onnx_model import OnnxError, write_onnx

_BATCH = 64
Scores = npt.NDArray[np.float32]


def export_model(run: Run, format: str, path: Path) -> float:
    """Write a run's network; the largest difference of its scores on scans of validation.

    Args:
        run: A run with weights.
        format: "onnx", "keras" or "tflite".
        path: The file, with the format as its suffix.

    Raises:
        RequestError: The weights are damaged, the format cannot hold the network, or the answers differ.
    """
    check_network(run)
    dataset = open_dataset(run.config.dataset)
    images, scores = checked_scans(run, dataset)
    logits = load_network(run, input_shape(run.config, dataset))
    if format == "onnx":
        try:
            return difference_of_onnx(run, logits, path, images, scores)
        except OnnxError as error:
            raise RequestError(f"run {run.id} could not be exported as onnx: {error}; nothing is written") from error
    writers: dict[str, Callable[[keras.Model, Path, Pixels], Scores]] = {"keras": _keras, "tflite": _tflite}
    model = with_scores(logits, categorical=run.config.loss == "categorical")
    try:
        found = writers[format](model, path, images)
    except Exception as error:  # TensorFlow's converter raises what it likes
        logging.exception("no %s file", format)
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        if any(isinstance(layer, keras.layers.RNN) for layer in logits.layers):
            reason = "the loop of its LSTM has no counterpart there"
        raise RequestError(
            f"{format} cannot hold {run.config.architecture} ({reason}); use --format onnx or keras"
        ) from error
    return difference(found, scores, format)


def load_network(run: Run, shape: tuple[int, int, int]) -> keras.Model:
    """A run's network with its weights: uint8 (B, *shape) to logits; one network a label becomes one model.

    The architecture is built from the registry. A file of weights holds arrays only: nothing in it is executed.

    Raises:
        RequestError: The weights are damaged or of another network.
    """
    networks = [load_head(run, shape, head) for head in range(len(weights_files(run)))]
    if len(networks) == 1:
        return networks[0]
    images = keras.Input(shape, dtype="uint8")
    return keras.Model(
        images, keras.layers.Concatenate(axis=1)([_applied(n, images, i) for i, n in enumerate(networks)])
    )


def _applied(network: keras.Model, images: Any, number: int) -> Any:
    """A network's logits; its layers become those of the whole, with names of their own."""
    answer = images
    for layer in network.layers:
        layer.name = f"{layer.name}_of_{number}"
        answer = layer(answer)
    return answer


def with_scores(logits: keras.Model, *, categorical: bool) -> keras.Model:
    """The model with scores in 0..1, (B, L), instead of logits; of layers that any Keras has."""
    images = keras.Input(logits.input_shape[1:], dtype="uint8", name="images")
    answer = logits(images)
    if categorical:  # the softmax of two is the sigmoid of their difference
        labels = answer.shape[1]
        no, yes = (keras.layers.Cropping1D(ends)(keras.layers.Permute((2, 1))(answer)) for ends in ((0, 1), (1, 0)))
        answer = keras.layers.Reshape((labels,))(keras.layers.Subtract()([yes, no]))
    return keras.Model(images, keras.layers.Activation("sigmoid", name="scores")(answer), name="model")


def difference_of_onnx(run: Run, logits: keras.Model, path: Path, images: Pixels, scores: Scores) -> float:
    """Write it as ONNX, compared with the run's answers as they were saved."""
    return write_onnx(logits, run.config, path, images, scores)


def _keras(model: keras.Model, path: Path, images: Pixels) -> Scores:
    """Write a `.keras` file, and answer with the file just written."""
    model.save(path)
    again = keras.models.load_model(path, compile=False, safe_mode=True)
    return np.concatenate([np.asarray(again(block, training=False)) for block in _blocks(images)])


def _tflite(model: keras.Model, path: Path, images: Pixels) -> Scores:
    """Write a TFLite file in float32, and answer with it."""
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its move to a package of its own
        interpreter = tf.lite.Interpreter(model_path=str(path))
    given, found = interpreter.get_input_details()[0]["index"], []
    for block in _blocks(images):
        interpreter.resize_tensor_input(given, block.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given, block)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    return np.concatenate(found)


def _blocks(images: Pixels) -> list[Pixels]:
    return [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 2 the request was wrong."""
    if len(arguments) != 3 or not (Path(arguments[0]) / "config.json").is_file():
        print("usage: python -m medwb.training.export_model RUN_DIR FORMAT FILE", file=sys.stderr)
        return 2
    folder, format, file = arguments
    try:
        found = export_model(Run(Path(folder).resolve()), format, Path(file))
    except RequestError as error:
        print(f"medwb: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"difference": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
