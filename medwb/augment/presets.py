"""Ready recipes, each with its reason."""

from medwb.augment.recipe import Augmentation, Step

PRESETS: dict[str, Augmentation] = {
    "study": Augmentation(
        (
            Step("rotate", {"degrees": (-90, 90)}, p=1),
            Step("flip-left-right", p=0.5),
            Step("flip-up-down", p=0.5),
            Step("shear", {"x": (-0.3, 0.3), "y": (-0.8, 0.8)}, p=0.5),
            Step("scale", {"x": (0.8, 1.3), "y": (0.8, 1.3), "window": "anywhere"}, p=0.5),
            Step("pad", {"share": 0}, p=1),
            Step("crop", {"keep": 100}, p=1),
            Step("median-blur", {"radius": 3}, p=0.5),
            *(Step("cutout", {"size": pixels / 0.64}, p=0.6) for pixels in (40, 50, 10)),
        ),
        "The reference study's stream, which it found of no use: look at what a hole of 40 or 50 pixels leaves of a "
        "scan of 64. Pad and crop bring a scaled scan back to its size; scale does that here by itself. Of holes of "
        "40, 50 and 10 pixels, each is cut with probability 3/5, as in three draws from these and two of nothing.",
    ),
}
"""Name to recipe."""
