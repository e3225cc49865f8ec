"""Architectures: what can be trained, each one decorated function with its facts beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from medwb.architectures.layers import Dense, Layer, Shape
from medwb.errors import RequestError
from medwb.registry import Registry

LayerBuilder = Callable[[Shape], list[Layer]]
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
        layers: For networks: the hidden layers for an input shape (height, width, channels), outputs excluded.
        estimator: For baselines: a scikit-learn classifier of one label over flattened pixels, for a seed.
        constant: Whether it answers the same for every image by design.
    """

    name: str
    family: str
    title: str
    summary: str
    reference_score: float | None = None
    layers: LayerBuilder | None = None
    estimator: EstimatorBuilder | None = None
    constant: bool = False


class LayerFacts(NamedTuple):
    """One row of a diagram: a layer, the shapes in and out, parameters and multiply-adds of one sample."""

    label: str
    input_shape: Shape
    output_shape: Shape
    parameters: int
    multiply_adds: int


ARCHITECTURES: Registry[Architecture] = Registry("architecture", package=__name__)


def network(
    name: str, *, family: str, title: str, reference_score: float | None = None
) -> Callable[[LayerBuilder], LayerBuilder]:
    """Register the decorated function, which lists the hidden layers for an input shape, as an architecture."""

    def register(build: LayerBuilder) -> LayerBuilder:
        entry = Architecture(name, family, title, _summary(build), reference_score, layers=build)
        ARCHITECTURES.add(name, entry)
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

    Args:
        architecture: Which one.
        input_shape: (height, width, channels).
        outputs: Number of outputs (labels, or twice that for the categorical loss).

    Raises:
        RequestError: The input is too small for the network.
    """
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


def total_parameters(layers: Sequence[LayerFacts]) -> int:
    """Weights of a network, those that are not trained included."""
    return sum(layer.parameters for layer in layers)


def total_multiply_adds(layers: Sequence[LayerFacts]) -> int:
    """Multiply-adds of one image's way through a network."""
    return sum(layer.multiply_adds for layer in layers)


def _summary(build: Callable[..., object]) -> str:
    return (build.__doc__ or "").strip().split("\n")[0]
