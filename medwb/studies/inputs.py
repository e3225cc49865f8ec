"""Studies of what a network sees: image size and channels."""

from medwb.dataset import Dataset
from medwb.studies.study import Plan, Variant, study


@study(
    "image-size",
    title="Image size",
    finding="The reference study downsized its scans of 64 pixels to 32 in some runs, and reports no comparison.",
)
def image_size(dataset: Dataset) -> Plan:
    """Does the image size matter?

    The samples are the same; only what the network sees of them differs.
    """
    height, width, _ = dataset.image_shape
    variants = []
    for size in (64, 32):
        own = height == width == size
        facts = "as imported" if own else f"resized from {height} x {width}"
        variants.append(Variant(f"{size} pixels", {"image_size": None if own else size}, facts))
    larger = [variant.title for variant, size in zip(variants, (64, 32), strict=True) if size > max(height, width)]
    notes = [f"{title} shows no more than the {height} x {width} pixels imported" for title in larger]
    return Plan(variants, notes=notes)


@study(
    "channels",
    title="Channels",
    finding="The reference study went from three equal channels to one in some runs, and reports no comparison.",
)
def channels(dataset: Dataset) -> Plan:
    """Does it matter whether scans have one channel or three?"""
    here = dataset.image_shape[2]
    counts = {1: "grey", 3: "grey, repeated" if here == 1 else "colour"}
    return Plan(
        [
            Variant(f"{count} channel{'s' * (count > 1)}", {"channels": None if count == here else count}, text)
            for count, text in counts.items()
        ]
    )
