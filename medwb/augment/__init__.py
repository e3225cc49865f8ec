"""Augmentation: what is done to scans before a network learns from them, the same in preview and training."""

from medwb.augment.apply import Augmented, Drawn, Pool, augment_samples
from medwb.augment.code import to_code
from medwb.augment.presets import PRESETS
from medwb.augment.recipe import Augmentation, Step, from_token, parse_yaml, read_augmentation
from medwb.augment.store import (
    NONE,
    augmentation_names,
    open_augmentation,
    remove_augmentation,
    save_augmentation,
)
from medwb.augment.transform import TRANSFORMS, Transform, transform

__all__ = [
    "NONE",
    "PRESETS",
    "TRANSFORMS",
    "Augmentation",
    "Augmented",
    "Drawn",
    "Pool",
    "Step",
    "Transform",
    "augment_samples",
    "augmentation_names",
    "from_token",
    "open_augmentation",
    "parse_yaml",
    "read_augmentation",
    "remove_augmentation",
    "save_augmentation",
    "to_code",
    "transform",
]
