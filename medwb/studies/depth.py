"""The study of depth: the reference study's convolutional networks, from shallow to deep."""

from medwb.architectures import ARCHITECTURES
from medwb.architectures.layers import Conv2D
from medwb.dataset import Dataset
from medwb.studies.study import Plan, Variant, study


@study(
    "depth",
    title="Depth",
    finding="The reference study's deepest network, CNN-5, scored best (0.91); its CNN-4, with two convolutions, "
    "scored 0.85, below CNN-1 with one (0.87).",
)
def depth(dataset: Dataset) -> Plan:
    """Is a deeper network better?

    Each of the reference study's convolutional networks is a variant, in order of its convolutions; the shallowest
    is the one that the others are compared with.
    """
    networks = [
        (sum(isinstance(layer, Conv2D) for layer in layers), len(layers), entry)
        for entry in ARCHITECTURES
        if entry.family == "reference" and entry.layers is not None
        for layers in [entry.layers(dataset.image_shape)]
    ]
    ordered = sorted((item for item in networks if item[0]), key=lambda item: item[:2])
    variants = [
        Variant(
            entry.title, {}, f"{deep} convolution{'s' * (deep > 1)}, {layers} layers before the output", entry.name
        )
        for deep, layers, entry in ordered
    ]
    note = "these networks differ in width, pooling, dropout and normalisation too, not in depth alone"
    return Plan(variants, notes=[note])
