"""The one door to albumentations: kept at its last release under the MIT licence, and silent on the network."""

import os
from functools import cache
from typing import Any


@cache
def albumentations() -> Any:
    """The package; imported at first use, which takes over half a second."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the package index for its newest version
    import albumentations

    return albumentations


@cache
def pixel_functions() -> Any:
    """Its functions on pixels, without anything random in them."""
    albumentations()
    from albumentations.augmentations.pixel import functional

    return functional
