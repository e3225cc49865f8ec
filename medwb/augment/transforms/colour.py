"""Transforms of colour: for dermoscopy, fundus photographs and histology, not for grey scans."""

import numpy as np

from medwb.augment.transform import Values, transform
from medwb.augment.transforms.source import between
from medwb.augment.upstream import pixel_functions
from medwb.images import Pixels
from medwb.params import Param

_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""How strongly haematoxylin, eosin and DAB absorb red, green and blue (Ruifrok and Johnston 2001)."""


@transform(
    "hue-saturation",
    title="Hue and saturation",
    family="pixels",
    colour=True,
    params=[
        Param("hue", -180, 180, -5, 0.5, "Turn of the colour circle.", "°", until=5),
        Param("saturation", -100, 100, -10, 0.5, "Added to how strong the colours are.", "%", until=10),
    ],
    code=lambda settings, size: (
        f"A.HueSaturationValue(hue_shift_limit={between(settings['hue'], 0.5)}, "
        f"sat_shift_limit={between(settings['saturation'], 2.55)}, val_shift_limit=(0, 0), p={settings['p']:g})"
    ),
)
def hue_saturation(image: Pixels, values: Values) -> Pixels:
    """Shifts the colours, and makes them stronger or paler; grey stays grey."""
    hue, saturation = float(values["hue"]) / 2, float(values["saturation"]) * 2.55
    changed: Pixels = pixel_functions().shift_hsv(image, hue, saturation, 0)
    return changed


@transform(
    "stain",
    title="Stain",
    family="pixels",
    colour=True,
    params=[
        Param("haematoxylin", 0.2, 3, 0.9, 0.05, "Factor of the blue stain; above 1 is darker.", until=1.1),
        Param("eosin", 0.2, 3, 0.9, 0.05, "Factor of the pink stain; above 1 is darker.", until=1.1),
    ],
)
def stain(image: Pixels, values: Values) -> Pixels:
    """Makes the stains of a histology slide stronger or paler, each for itself (Tellez et al. 2018)."""
    import cv2

    directions = _STAINS / np.linalg.norm(_STAINS, axis=1, keepdims=True)
    factors = np.array([values["haematoxylin"], values["eosin"], 1.0])
    # Stains add up in optical density: split it, scale the parts, and add them again.
    change = (np.linalg.inv(directions) * factors) @ directions
    density = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)[image]
    light = 256 * np.exp(-cv2.transform(density, change.T.astype(np.float32))) - 1
    return np.rint(np.clip(light, 0, 255)).astype(np.uint8)
