"""Transforms that give each grey level another: neighbours of them become one curve, for all channels alike."""

import numpy as np

from medwb.augment.transform import Floats, Values, transform
from medwb.augment.transforms.source import between
from medwb.params import Param


@transform(
    "brightness-contrast",
    title="Brightness and contrast",
    family="tone",
    params=[
        Param("brightness", -50, 50, -10, 0.5, "Added to each grey level, as a share of white.", "%", until=10),
        Param("contrast", -90, 200, -10, 0.5, "Added to the slope: 0 leaves it, 100 doubles it.", "%", until=10),
    ],
    code=lambda settings, size: (
        f"A.RandomBrightnessContrast(brightness_limit={between(settings['brightness'], 0.01)}, "
        f"contrast_limit={between(settings['contrast'], 0.01)}, p={settings['p']:g})"
    ),
)
def brightness_contrast(values: Values, levels: Floats) -> Floats:
    """Makes the scan brighter or darker, and its grey levels steeper or flatter about black."""
    steeper, lighter = (values[name][:, None] / 100 for name in ("contrast", "brightness"))
    return np.asarray(levels * (1 + steeper) + lighter, np.float64)


@transform(
    "gamma",
    title="Gamma",
    family="tone",
    params=[Param("gamma", 0.3, 3, 0.8, 0.05, "Exponent of the grey levels; below 1 brightens.", until=1.25)],
    code=lambda settings, size: f"A.RandomGamma(gamma_limit={between(settings['gamma'], 100)}, p={settings['p']:g})",
)
def gamma(values: Values, levels: Floats) -> Floats:
    """Brightens or darkens the middle greys; black and white stay."""
    return np.asarray(levels ** values["gamma"][:, None], np.float64)


@transform(
    "invert",
    title="Invert",
    family="tone",
    code=lambda settings, size: f"A.InvertImg(p={settings['p']:g})",
)
def invert(values: Values, levels: Floats) -> Floats:
    """Exchanges black and white: X-rays are stored both ways, with bone white or with bone black."""
    return np.asarray(1 - levels, np.float64)
