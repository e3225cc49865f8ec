"""Architectures: what can be trained, each one decorated function with its facts beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from medwb.architectures.layers import Dense, Layer, Shape
from medwb.errors import RequestError
from medwb.registry import Registry

LayerBuilder = Callable[[Shape], list[Layer]]
BackboneBuilder = Callable[[Shape, str], Any]
EstimatorBuilder = Callable[[int], Any]


@dataclass(frozen=True)
class Architecture:
    """One thing that can be trained: a network or a classical baseline.

    Attributes:
        name: What the command line and tables call it.
        family: "reference" (the reference study's), "baseline" (no network), or a family of later networks.
        title: How a table writes it.
        summary: First line of the builder's docstring.
        reference_score: F1 that the reference study reported for it; None where it did not.
        recipe: How it is trained when nothing is said, by its name in `medwb.recipes`.
        layers: For networks that are a chain: the hidden layers for an input shape (height, width, channels), outputs
            excluded.
        backbone: For other networks: a function from (shape, weights) to a `keras.Model` of float pixels in 0..1 to
            one vector of features an image, float32 (B, F). `weights` is "none", "imagenet" or a file's path.
            Keras is imported inside.
        estimator: For baselines: a scikit-learn classifier of one label over flattened pixels, for a seed.
        constant: Whether it answers the same for every image by design.
    """

    name: str
    family: str
    title: str
    summary: str
    reference_score: float | None = None
    recipe: str = "reference"
    layers: LayerBuilder | None = None
    backbone: BackboneBuilder | None = None
    estimator: EstimatorBuilder | None = None
    constant: bool = False

    @property
    def is_network(self) -> bool:
        """Whether it is trained by Keras, with settings that baselines do not have."""
        return self.estimator is None


class LayerFacts(NamedTuple):
    """One row of a diagram: a layer, the shapes in and out, parameters and multiply-adds of one sample."""

    label: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    multiply_adds: int


ARCHITECTURES: Registry[Architecture] = Registry("architecture", package=__name__)

DEFAULT_ARCHITECTURE = "medwb-small"
"""What is trained first, when nobody says what."""


def network(
    name: str, *, family: str, title: str, reference_score: float | None = None, recipe: str = "stable"
) -> Callable[[LayerBuilder], LayerBuilder]:
    """Register the decorated function, which lists the hidden layers for an input shape, as an architecture."""

    def register(build: LayerBuilder) -> LayerBuilder:
        entry = Architecture(name, family, title, _summary(build), reference_score, recipe, layers=build)
        ARCHITECTURES.add(name, entry)
        return build

    return register


def backbone(
    name: str, *, family: str, title: str, recipe: str = "stable"
) -> Callable[[BackboneBuilder], BackboneBuilder]:
    """Register the decorated function, which builds a Keras model from pixels to features, as an architecture."""

    def register(build: BackboneBuilder) -> BackboneBuilder:
        ARCHITECTURES.add(name, Architecture(name, family, title, _summary(build), recipe=recipe, backbone=build))
        return build

    return register


def baseline(
    name: str, *, title: str, reference_score: float | None = None, constant: bool = False
) -> Callable[[EstimatorBuilder], EstimatorBuilder]:
    """Register the decorated function, which makes a scikit-learn classifier for a seed, as a baseline."""

    def register(build: EstimatorBuilder) -> EstimatorBuilder:
        entry = Architecture(
            name, "baseline", title, _summary(build), reference_score, estimator=build, constant=constant
        )
        ARCHITECTURES.add(name, entry)
        return build

    return register


def select_architectures(names: list[str]) -> list[Architecture]:
    """Resolve names of architectures and of families ("reference", "baseline", "all"), keeping their order.

    Raises:
        RequestError: A name is neither.
    """
    chosen: dict[str, Architecture] = {}
    families = {entry.family for entry in ARCHITECTURES}
    for name in names:
        if name in families or name == "all":
            chosen |= {entry.name: entry for entry in ARCHITECTURES if name in (entry.family, "all")}
        else:
            chosen[name] = ARCHITECTURES.get(name)
    return list(chosen.values())


def describe_layers(architecture: Architecture, input_shape: Shape, outputs: int) -> list[LayerFacts]:
    """Every layer of a network in order, the output layer included; a baseline has none.

    A backbone has a row a block. Its rows are known for usual shapes, and for others once
    `medwb.architectures.facts.find_facts` has found them; until then there are none. TensorFlow is never loaded here.

    Args:
        architecture: Which one.
        input_shape: (height, width, channels).
        outputs: Number of outputs (labels, or twice that for the categorical loss).

    Raises:
        RequestError: The input is too small for the network.
    """
    if architecture.backbone is not None:
        return _describe_backbone(architecture, input_shape, outputs)
    if architecture.layers is None:
        return []
    facts, shape = [], input_shape
    for layer in [*architecture.layers(input_shape), Dense(outputs, activation=None)]:
        after = layer.output_shape(shape)
        if min(after) < 1:
            sides = " x ".join(map(str, input_shape[:2]))
            raise RequestError(
                f"{architecture.name} cannot take {sides} pixels: nothing is left after {layer.label()}"
            )
        facts.append(LayerFacts(layer.label(), shape, after, layer.parameters(shape), layer.multiply_adds(shape)))
        shape = after
    return facts


def _describe_backbone(architecture: Architecture, input_shape: Shape, outputs: int) -> list[LayerFacts]:
    from medwb.architectures.facts import check_backbone_shape, known_facts

    check_backbone_shape(architecture, input_shape)
    facts = known_facts(architecture, input_shape)
    if facts:
        head, shape = Dense(outputs, activation=None), facts[-1].output_shape
        after = head.output_shape(shape)
        facts.append(LayerFacts(head.label(), shape, after, head.parameters(shape), head.multiply_adds(shape)))
    return facts


def total_parameters(layers: Sequence[LayerFacts]) -> int:
    """Weights of a network, those that are not trained included."""
    return sum(layer.parameters for layer in layers)


def total_multiply_adds(layers: Sequence[LayerFacts]) -> int:
    """Multiply-adds of one image's way through a network."""
    return sum(layer.multiply_adds for layer in layers)


def _summary(build: Callable[..., object]) -> str:
    return (build.__doc__ or "").strip().split("\n")[0]
