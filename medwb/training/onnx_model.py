"""A trained network as an ONNX file, which scores scans without Keras and TensorFlow."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medwb.config import RunConfig
from medwb.images import Pixels
from medwb.paths import replacing
from medwb.scoring import onnx_session

if TYPE_CHECKING:
    import keras

MOST_DIFFERENCE = 1e-4
"""Between a score of the file and the network's own; a file that answers otherwise is not kept."""


class OnnxError(Exception):
    """The network could not be written as ONNX; the message says why."""


def write_onnx(
    network: "keras.Model", config: RunConfig, path: Path, images: Pixels, scores: npt.NDArray[np.float32]
) -> float:
    """Write a network as ONNX, uint8 (batch, H, W, C) "images" in and float32 (batch, L) "scores" in 0..1 out.

    The file is kept only if it gives the network's own scores.

    Args:
        network: Gives logits.
        config: Says what kind.
        path: The file.
        images: uint8 (n, H, W, C), to compare on.
        scores: float32 (n, L): the network's own.

    Returns:
        The largest difference of a score.

    Raises:
        OnnxError: It cannot be written, or its scores differ by more than `MOST_DIFFERENCE`; no file is left.
    """
    path.unlink(missing_ok=True)
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)  # it counts nodes, in nine lines a network
    try:
        with replacing(path) as temporary:
            _export(network, config, temporary)
            found = onnx_session(temporary).run(None, {"images": images})[0]
            difference = float(np.abs(found - scores).max())
            if not difference <= MOST_DIFFERENCE:
                raise OnnxError(f"its scores differ by {difference:.2g} from the network's")
    except OnnxError:
        raise
    except Exception as error:  # the exporter and the runtime raise what they like
        logging.exception("no ONNX file")
        raise OnnxError(f"{type(error).__name__}: {error}".split("\n")[0]) from error
    return difference


def _export(network: "keras.Model", config: RunConfig, path: Path) -> None:
    """Keras's exporter writes the network, with weights as inputs, and they are filled in afterwards.

    The exporter (tf2onnx) copies what is constant dozens of times: 26 million weights took 35 s, and take one this
    way. It knows an LSTM only by constant weights; those networks are small.
    """
    import keras
    import onnx

    recurrent = any(isinstance(layer, keras.layers.RNN) for layer in network.layers)
    trainable, others = network.trainable_variables, network.non_trainable_variables
    inputs = {} if recurrent else {f"weight_{n}": weight for n, weight in enumerate([*trainable, *others])}

    class Scores(keras.Model):  # type: ignore[misc]
        def call(self, images: Any, *weights: Any) -> Any:
            if weights:
                mine, theirs = weights[: len(trainable)], weights[len(trainable) :]
                logits, _ = network.stateless_call(mine, theirs, images, training=False)
            else:
                logits = network(images, training=False)
            return keras.ops.softmax(logits)[..., 1] if config.loss == "categorical" else keras.ops.sigmoid(logits)

    signature = [keras.InputSpec(dtype="uint8", shape=network.input_shape, name="images")]
    signature += [keras.InputSpec(dtype=one.dtype, shape=one.shape, name=name) for name, one in inputs.items()]
    whole = Scores()
    whole.built = True  # it has no weights of its own
    whole.export(path, format="onnx", verbose=False, input_signature=signature)
    graph = (model := onnx.load(str(path))).graph
    used = {name for node in graph.node for name in node.input}
    for given in [one for one in graph.input if one.name in inputs]:
        graph.input.remove(given)
        if given.name in used:
            weight = np.asarray(inputs[given.name].numpy())
            graph.initializer.append(onnx.numpy_helper.from_array(weight, given.name))
    _rename(graph, "scores")
    onnx.save(model, str(path))


def _rename(graph: Any, name: str) -> None:
    """Name a graph's output, and the batch of its input and output."""
    old, graph.output[0].name = graph.output[0].name, name
    for node in graph.node:
        node.output[:] = [name if one == old else one for one in node.output]
        node.input[:] = [name if one == old else one for one in node.input]
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
