"""Studies of how a network learns: epochs, learning rate, optimizer, batch size, recipe."""

from collections.abc import Mapping
from typing import Any

from medwb.dataset import Dataset
from medwb.recipes import RECIPES
from medwb.studies.study import Plan, Variant, study


@study(
    "epochs",
    title="Epochs",
    finding="The reference study found 10 epochs best: 5 underfit, and more overfit.",
)
def epochs(dataset: Dataset) -> Plan:
    """How many epochs are enough?"""
    note = "epochs are the most that a run trains: early stopping may end it sooner, and the best weights come back"
    return Plan([Variant(f"{count} epochs", {"epochs": count}) for count in (10, 5, 15)], notes=[note])


@study(
    "learning-rate",
    title="Learning rate",
    finding="The reference study found 0.001 best, and 0.01 and 0.1 worse.",
)
def learning_rate(dataset: Dataset) -> Plan:
    """Which learning rate is best?"""
    return Plan([Variant(f"{rate:g}", {"learning_rate": rate}) for rate in (1e-3, 1e-2, 1e-1)])


@study(
    "optimizer", title="Optimizer", finding="The reference study found Adam better than SGD; it did not try AdamW."
)
def optimizer(dataset: Dataset) -> Plan:
    """Which optimizer is best?"""
    variants = [
        Variant("Adam", {"optimizer": "adam", "weight_decay": 0.0}),
        Variant("SGD", {"optimizer": "sgd", "weight_decay": 0.0}, "no momentum"),
        Variant("AdamW", {"optimizer": "adamw", "weight_decay": 0.01}, "weight decay 0.01"),
    ]
    note = "all at the same learning rate, which suits Adam; SGD often wants a larger one, and momentum"
    return Plan(variants, notes=[note])


@study(
    "batch-size",
    title="Batch size",
    finding="The reference study does not report a comparison of batch sizes.",
)
def batch_size(dataset: Dataset) -> Plan:
    """Does the batch size matter?"""
    note = (
        "all have the same learning rate, and the same epochs where `min_updates` adds none: a larger batch then "
        "takes fewer steps"
    )
    return Plan([Variant(f"batches of {size}", {"batch_size": size}) for size in (32, 16, 64, 128)], notes=[note])


@study(
    "recipe",
    title="Recipe",
    finding="The reference study trained by its own recipe alone; its CNN-5 can collapse under it.",
)
def recipe(dataset: Dataset) -> Plan:
    """Does the stable recipe beat the reference study's?"""
    chosen = [RECIPES.get(name) for name in ("reference", "stable")]
    return Plan([Variant(f"recipe {entry.name}", {"recipe": entry.name}, _facts(entry.settings)) for entry in chosen])


def _facts(settings: Mapping[str, Any]) -> str:
    """Settings of a recipe as a table shows them; "" for none."""
    return " ".join(f"{key}={value}" for key, value in settings.items())
