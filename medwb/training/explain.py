"""Looks into a run's networks: saliency maps and features. A child of `medwb.inspection`, which may kill it.

`python -m medwb.training.explain RUN_DIR REQUEST.json`. The request: {"maps": [{"label", "method", "ids"}],
"features": [{"label", "split"}]}, either may be missing. Standard output, a line each: {"done", "total"}, in passes
through the network. What is found is written into the run's folder, each part as soon as it is there. Exit status: 0
done, 2 the request was wrong.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medwb.config import input_shape
from medwb.dataset import Dataset
from medwb.embedding import Features, save_features
from medwb.errors import RequestError
from medwb.images import to_shape
from medwb.inspection import check_inspectable, head_of
from medwb.runs import Run
from medwb.saliency import Saliency, no_convolution, save_saliency, scans_of
from medwb.saliency_methods import SALIENCY_METHODS, STAGES, Floats, rank_correlations
from medwb.training.network import blank_head, load_head

_BLOCK = 16  # scans that are explained at a time
_FEATURES_BLOCK = 128
_SEED = 1  # of the weights without what was learned
Advance = Callable[[int], None]


class KerasView:
    """One output of a network as `medwb.saliency_methods.View`.

    Args:
        network: As `build_network` makes it: a chain, of which one link may be a whole network.
        categorical: Whether a label has two outputs, whose difference is its log odds.
        output: Which label.
    """

    def __init__(self, network: keras.Model, categorical: bool, output: int) -> None:
        self._network, self._categorical, self._output = network, categorical, output
        self._functions: dict[str, Any] = {}

    def log_odds(self, images: Floats) -> Floats:
        """As `View`."""
        return self._call("log_odds", lambda x: self._picked(_forward(self._network.layers, x)), images)

    def gradients(self, images: Floats) -> Floats:
        """As `View`."""

        def compute(x: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(x)
                answer = self._picked(_forward(self._network.layers, x))
            return tape.gradient(answer, x, unconnected_gradients="zero")

        return self._call("gradients", compute, images)

    def maps(self, images: Floats) -> tuple[Floats, Floats]:
        """As `View`."""
        if "maps" not in self._functions:
            before, after = _split_at_maps(self._network)

        def compute(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                found, x = before(x)
                answer = self._picked(_forward(after, x if x is not None else found))
            return found, tape.gradient(answer, found, unconnected_gradients="zero")

        return self._call("maps", compute, images)

    def _picked(self, logits: tf.Tensor) -> tf.Tensor:
        of_label = logits[:, self._output]
        return of_label[:, 1] - of_label[:, 0] if self._categorical else of_label

    def _call(self, name: str, compute: Callable[[tf.Tensor], Any], images: Floats) -> Any:
        if name not in self._functions:
            spec = tf.TensorSpec((None, *images.shape[1:]), tf.float32)
            self._functions[name] = tf.function(compute, input_signature=[spec])
        found = self._functions[name](tf.constant(images, tf.float32))
        return tuple(one.numpy() for one in found) if isinstance(found, tuple) else found.numpy()


def _forward(layers: list[Any], x: tf.Tensor) -> tf.Tensor:
    """A chain's layers one after the other; unlike the whole, they take pixels that are no whole numbers."""
    for layer in layers:
        x = layer(x, training=False) if _takes_training(layer) else layer(x)
    return x


def _takes_training(layer: Any) -> bool:
    return isinstance(layer, keras.Model) or bool(getattr(layer, "_call_has_training_arg", False))


def _split_at_maps(network: keras.Model) -> tuple[Callable[[tf.Tensor], tuple[tf.Tensor, Any]], list[Any]]:
    """The way to the maps of the last convolution, and the layers behind it.

    The way gives the maps and, where they lie within a link that is a whole network, what that link gives; None
    otherwise.
    """
    chain = list(network.layers)
    inner = next((place for place, layer in enumerate(chain) if isinstance(layer, keras.Model)), None)
    if inner is None:
        last = _last_maps(chain, network.name)
        begin = chain[: last + 1]
        return (lambda x: (_forward(begin, x), None)), chain[last + 1 :]
    link = chain[inner]
    target = link.layers[_last_maps(link.layers, network.name)]
    both = keras.Model(link.inputs, [target.output, link.output])

    def way(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found, given = both(_forward(chain[:inner], x), training=False)
        return found, given

    return way, chain[inner + 1 :]


def _last_maps(layers: list[Any], name: str) -> int:
    """The place of the last convolution, or of what follows it at its size: normalisation, activation, shortcut.

    Raises:
        RequestError: There is none, or it does not tell places apart.
    """
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    places = [place for place, layer in enumerate(layers) if isinstance(layer, kinds)]
    places = [place for place in places if max(layers[place].output.shape[1:3]) > 1] or places
    if not places:
        raise RequestError(no_convolution(name))
    if any(isinstance(layer, keras.layers.MultiHeadAttention) for layer in layers):
        raise RequestError(
            f"{name} looks at patches by attention, not by convolution, so there is no Grad-CAM; use "
            "integrated-gradients or occlusion"
        )
    last = places[-1]
    sides = tuple(layers[last].output.shape[1:3])
    if max(sides) == 1:
        raise RequestError(
            f"{name}: its last convolution has one place for the whole scan, so there is no Grad-CAM; use "
            "integrated-gradients or occlusion, or train with a larger image_size"
        )
    while last + 1 < len(layers):
        shape = layers[last + 1].output.shape
        if len(shape) != 4 or tuple(shape[1:3]) != sides:
            break
        last += 1
    return last


def randomised(network: keras.Model, blank: keras.Model) -> Iterator[str]:
    """Put the network's weights into `blank`, but for more and more layers from the top, which stay random.

    Yields:
        Each of `STAGES`, while `blank` is at it.
    """
    learned, random = _weighted(network), _weighted(blank)
    fresh = [layer.get_weights() for layer in random]
    for stage, count in zip(STAGES, (1, -(-len(random) // 2), len(random)), strict=True):
        for place, (source, target) in enumerate(zip(learned, random, strict=True)):
            keeps = place < len(random) - count
            target.set_weights(source.get_weights() if keeps else fresh[place])
        yield stage


def _weighted(network: keras.Model) -> list[Any]:
    """Layers with weights, those within a link that is a whole network too, from the pixels up."""
    found = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            found += _weighted(layer)
        elif layer.weights:
            found.append(layer)
    return found


def write_maps(run: Run, data: Dataset, task: dict[str, Any], advance: Advance) -> None:
    """Compute the maps of one method and label with their checks, and keep them.

    Raises:
        RequestError: Damaged weights, or no such map of this network.
    """
    method, shape = SALIENCY_METHODS.get(task["method"]), input_shape(run.config, data)
    (head, output), categorical = head_of(run, task["label"]), run.config.loss == "categorical"
    network = load_head(run, shape, head)
    images = scans_of(data, task["ids"], shape).astype(np.float32)

    def compute(view: KerasView) -> Floats:
        found = []
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK]
            found.append(method.compute(view, block))
            advance(method.cost * len(block))
        return np.concatenate(found)

    view = KerasView(network, categorical, output)
    maps = compute(view)
    if not np.isfinite(maps).all():
        raise RequestError(f"run {run.id}: its network answers with what is no number; train again")
    gaps = np.full(len(maps), np.nan, np.float32)
    if method.complete:
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK]
            promised = view.log_odds(block) - view.log_odds(np.zeros_like(block[:1]))
            gaps[start : start + len(block)] = maps[start : start + len(block)].sum(axis=(1, 2)) - promised
    keras.utils.set_random_seed(_SEED)
    blank = blank_head(run, shape)
    other = KerasView(blank, categorical, output)
    correlations = [rank_correlations(maps, np.nan_to_num(compute(other))) for _ in randomised(network, blank)]
    ids = np.array(task["ids"], str)
    save_saliency(run, Saliency(method.name, task["label"], ids, maps, np.stack(correlations, axis=1), gaps))


def write_features(run: Run, data: Dataset, task: dict[str, Any], advance: Advance) -> None:
    """Compute what the last layer before the outputs gives for every scan of a split, and keep it.

    Raises:
        RequestError: Damaged weights, or no such split.
    """
    shape, part = input_shape(run.config, data), data.split(task["split"])
    network = load_head(run, shape, head_of(run, task["label"])[0])
    hidden = network.layers[: -2 if run.config.loss == "categorical" else -1]

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32)])  # type: ignore[untyped-decorator]
    def answer(x: tf.Tensor) -> tf.Tensor:
        found = _forward(hidden, x)
        return tf.reshape(found, (tf.shape(found)[0], -1))

    values = []
    for start in range(0, len(part), _FEATURES_BLOCK):
        rows = part.rows[start : start + _FEATURES_BLOCK]
        values.append(answer(to_shape(data.images[rows], shape).astype(np.float32)).numpy().astype(np.float32))
        advance(len(rows))
    ids = part.samples["id"].to_numpy(str)
    save_features(run, Features(task["split"], ids, np.concatenate(values)), task["label"])


def work(run: Run, request: dict[str, Any], tell: Callable[[int, int], None]) -> None:
    """Do all that a request asks for; `tell` is called with passes done and their total. Raises RequestError."""
    maps, features = request.get("maps", []), request.get("features", [])
    data = check_inspectable(run)
    total = sum(len(task["ids"]) * SALIENCY_METHODS.get(task["method"]).cost * (1 + len(STAGES)) for task in maps)
    total += sum(len(data.split(task["split"])) for task in features)
    done = 0

    def advance(passes: int) -> None:
        nonlocal done
        done += passes
        tell(done, total)

    for task in maps:
        write_maps(run, data, task, advance)
        keras.utils.clear_session()
    for task in features:
        write_features(run, data, task, advance)
        keras.utils.clear_session()


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 2 the request was wrong."""
    if len(arguments) != 2 or not (Path(arguments[0]) / "config.json").is_file():
        print("usage: python -m medwb.training.explain RUN_DIR REQUEST.json", file=sys.stderr)
        return 2
    parent = os.getppid()

    def tell(done: int, total: int) -> None:
        if os.getppid() != parent:  # nobody listens any more
            os._exit(1)
        print(json.dumps({"done": done, "total": total}), flush=True)

    logging.basicConfig(level=logging.WARNING)
    try:
        work(Run(Path(arguments[0]).resolve()), json.loads(Path(arguments[1]).read_text(encoding="utf-8")), tell)
    except RequestError as error:
        print(f"medwb: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
