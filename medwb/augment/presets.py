"""Ready recipes, each with its reason."""

from medwb.augment.recipe import Augmentation, Step
from medwb.params import Deal

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
            *(Step("cutout", {"size": Deal((40 / 0.64, 50 / 0.64, 10 / 0.64, 0, 0))}, p=1) for _ in range(3)),
        ),
        "The reference study's stream, which it found of no use: look at what a hole of 40 or 50 pixels leaves of a "
        "scan of 64. Pad and crop bring a scaled scan back to its size; scale does that here by itself. Three of "
        "five are dealt: holes of 40, 50 and 10 pixels, and two of nothing.",
    ),
    "chest-x-ray": Augmentation(
        (
            Step("rotate", {"degrees": (-7, 7), "border": "edge"}, p=0.7),
            Step("scale", {"x": (0.95, 1.1), "axes": "together", "border": "edge"}, p=0.5),
            Step("shift", {"right": (-5, 5), "down": (-5, 5), "border": "edge"}, p=0.5),
            Step("brightness-contrast", {"brightness": (-5, 4), "contrast": (-10, 5)}, p=0.5),
            Step("gamma", {"gamma": (0.8, 1.25)}, p=0.5),
        ),
        "Patients stand differently and films are exposed differently: a few degrees, a few percent, a little light. "
        "No flips: the heart is on the left, and the side of a finding matters. No holes and no blur: a nodule, or "
        "the thin line of a pneumothorax, would go with them while its label stays.",
    ),
    "mr": Augmentation(
        (
            Step("rotate", {"degrees": (-10, 10), "border": "edge"}, p=0.7),
            Step("scale", {"x": (0.9, 1.1), "axes": "together", "border": "edge"}, p=0.5),
            Step("shift", {"right": (-5, 5), "down": (-5, 5), "border": "edge"}, p=0.5),
            Step("bias-field", {"strength": (0, 20), "order": 3}, p=0.5),
            Step("gamma", {"gamma": (0.8, 1.25)}, p=0.3),
            Step("rician-noise", {"deviation": (0, 2)}, p=0.3),
        ),
        "Scanners differ: coils light the scan unevenly, grey levels have no unit, and the noise of magnitude images "
        "is Rician. No flips, for a label may have a side; where none has, add a left-right flip.",
    ),
    "ct": Augmentation(
        (
            Step("rotate", {"degrees": (-10, 10), "border": "edge"}, p=0.7),
            Step("scale", {"x": (0.9, 1.1), "axes": "together", "border": "edge"}, p=0.5),
            Step("shift", {"right": (-5, 5), "down": (-5, 5), "border": "edge"}, p=0.5),
            Step("brightness-contrast", {"brightness": (-4, 4), "contrast": (-5, 5)}, p=0.5),
            Step("gaussian-noise", {"deviation": (0, 1.5)}, p=0.3),
        ),
        "Hounsfield units mean the same on every scanner, so brightness and contrast move no further than a window "
        "that is set a little differently. Patients lie turned by a few degrees, and noise depends on the dose. "
        "No flips: organs have sides.",
    ),
}
"""Name to recipe."""
