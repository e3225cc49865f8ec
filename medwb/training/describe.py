"""Tells what a backbone is made of, a block a row, for pages and commands that do not load TensorFlow.

`python -m medwb.training.describe ARCHITECTURE HEIGHT WIDTH CHANNELS` writes the rows as one line of JSON, its last.
`python -m medwb.training.describe --ship` writes the file of facts that comes with the package.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import medwb.architectures
from medwb.architectures import ARCHITECTURES, Architecture, LayerFacts
from medwb.architectures.facts import SHIPPED, SHIPPED_SHAPES, check_backbone_shape
from medwb.architectures.layers import Shape
from medwb.errors import RequestError
from medwb.paths import write_text

_KINDS = (
    ("Stem", re.compile(r"conv1_|pool1|stem|zero_padding|convnext_\w+_stem|conv$|conv_bn$")),
    ("Transition", re.compile(r"pool[2-9]_")),
    ("Stage", re.compile(r"(?:\w+?_)??(block\d+|stage_?\d+|conv[2-9]|expanded_conv(?:_\d+)?|downsampling_\w+_\d)")),
    ("Features", re.compile(r"top_|head_|features|bn$|relu$|conv_1|avg_pool|global_average|layer_norm")),
)
"""Kinds of rows, by how names of layers begin: Keras's schemes and ours. Other names go on with the row at hand."""

_COUNTED = (
    ("conv", ("Conv2D", "DepthwiseConv2D", "Conv1D")),
    ("attention", ("MultiHeadAttention",)),
    ("dense", ("Dense",)),
)


def describe_backbone(architecture: Architecture, shape: Shape) -> list[LayerFacts]:
    """Build a backbone with random weights, in this process, and describe it.

    Args:
        architecture: A backbone.
        shape: (height, width, channels).

    Returns:
        A row a block, in order: what goes in and out of it, its parameters, and the multiply-adds of one image.
        Products of attention are counted, those of normalisations and poolings are not.

    Raises:
        RequestError: The shape is too small.
    """
    assert architecture.backbone is not None
    check_backbone_shape(architecture, shape)
    return describe_model(architecture.backbone(shape, "none"))


def describe_model(model: Any) -> list[LayerFacts]:
    """The rows of a `keras.Model` with one input, as `describe_backbone`."""
    rows: dict[str, list[Any]] = {"Input": []}
    titles, row = {"Input": "Input"}, "Input"
    stages = 0
    for layer in _flat(model):
        kind, key = _row_of(layer.name)
        if kind:
            row = key
            if key not in rows:
                stages += kind == "Stage"
                titles[key] = f"{kind} {stages}" if kind in ("Stage", "Transition") else kind
                rows[key] = []
        rows[row].append(layer)
    facts: list[LayerFacts] = []
    shape = tuple(model.input.shape[1:])
    for key, layers in rows.items():
        after = tuple(layers[-1].output.shape[1:])
        parameters = sum(layer.count_params() for layer in layers)
        products = sum(_multiply_adds(layer) for layer in layers)
        facts.append(LayerFacts(_label(titles[key], layers), shape, after, parameters, products))
        shape = after
    return facts


def _flat(model: Any) -> Iterator[Any]:
    """Layers in the order in which data go through them, those of nested models one by one."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        elif hasattr(layer, "output"):
            yield layer


def _row_of(name: str) -> tuple[str, str]:
    """Kind of row, and its key; both empty for names that say nothing."""
    for kind, pattern in _KINDS:
        if match := pattern.match(name):
            if kind != "Stage":
                return kind, match[0] if kind == "Transition" else kind
            before = re.fullmatch(r"downsampling_\w+_(\d)", match[1])  # ConvNeXt's, at the beginning of a stage
            return kind, f"stage_{int(before[1]) + 1}" if before else match[1]
    return "", ""


def _label(title: str, layers: list[Any]) -> str:
    kinds = Counter(type(layer).__name__ for layer in layers)
    counts = {word: sum(kinds[kind] for kind in names) for word, names in _COUNTED}
    parts = [f"{count} {word}" if count > 1 else word for word, count in counts.items() if count]
    return f"{title}: {', '.join(parts)}" if parts else title


def _multiply_adds(layer: Any) -> int:
    """Of one image; layers without products of weights have none."""
    kind = type(layer).__name__
    if kind in ("Conv2D", "DepthwiseConv2D"):
        positions = math.prod(layer.output.shape[1:3])
        return positions * math.prod(layer.kernel.shape)
    if kind == "Dense":
        return math.prod(layer.input.shape[1:]) * layer.units
    if kind == "MultiHeadAttention":
        tokens, width = layer.output.shape[1:]
        inner = layer.num_heads * layer.key_dim
        return 4 * tokens * width * inner + 2 * tokens * tokens * inner
    return 0


def _ship() -> None:
    import keras

    backbones = [entry for entry in ARCHITECTURES if entry.backbone]
    record = {}
    for entry in backbones:
        record[entry.name] = {
            "x".join(map(str, shape)): [list(row) for row in describe_backbone(entry, shape)]
            for shape in SHIPPED_SHAPES
        }
        keras.backend.clear_session()
    text = json.dumps(record, separators=(",", ":")).replace('"28x28x1"', '\n"28x28x1"').replace("}},", "}},\n")
    write_text(Path(medwb.architectures.__file__).parent / SHIPPED, text + "\n")


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 2 the request was wrong."""
    if arguments == ["--ship"]:
        _ship()
        return 0
    try:
        name, *sides = arguments
        height, width, channels = map(int, sides)
    except ValueError:
        print("usage: python -m medwb.training.describe ARCHITECTURE HEIGHT WIDTH CHANNELS", file=sys.stderr)
        return 2
    try:
        entry = ARCHITECTURES.get(name)
        if entry.backbone is None:
            raise RequestError(f"{name} is no backbone; `medwb architectures --diagram {name}` draws it")
        facts = describe_backbone(entry, (height, width, channels))
    except RequestError as error:
        print(f"medwb: {error}", file=sys.stderr)
        return 2
    print(json.dumps([list(row) for row in facts]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
