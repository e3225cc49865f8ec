"""Recipes: settings of a training that go together, under a name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medwb.registry import Registry


@dataclass(frozen=True)
class Recipe:
    """How to train when nothing else is said.

    Attributes:
        name: Value of the setting `recipe`.
        summary: What it is for, one sentence.
        settings: Fields of `RunConfig` to values, where they are not the field's own default.
    """

    name: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)


RECIPES: Registry[Recipe] = Registry("recipe")

for _recipe in (
    Recipe("reference", "As the reference study trained: ten epochs of Adam at a fixed rate, every scan."),
    Recipe(
        "stable",
        "Keeps deep plain networks from collapsing, in a tenth of the time: He's initial weights, a rate that rises "
        "and falls over six epochs (more on small sets), clipped gradients, bfloat16 where the processor has it, and "
        "each scan of a set of equal ones once.",
        {
            "initializer": "he",
            "schedule": "cosine",
            "warmup": 0.2,
            "clip_norm": 1.0,
            "copies": "once",
            "epochs": 6,
            "min_updates": 300,
            "early_stopping_patience": 0,
            "precision": "auto",
        },
    ),
    Recipe(
        "small",
        "For small networks that normalise their pixels: six epochs (more on small sets) of a high rate that rises "
        "and falls, and each scan of a set of equal ones once.",
        {
            "initializer": "he",
            "learning_rate": 3e-3,
            "schedule": "cosine",
            "warmup": 0.2,
            "clip_norm": 1.0,
            "copies": "once",
            "batch_size": 64,
            "epochs": 6,
            "min_updates": 600,
            "early_stopping_patience": 0,
        },
    ),
):
    RECIPES.add(_recipe.name, _recipe)
