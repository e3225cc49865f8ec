"""The study of augmentation."""

import numpy as np

from medwb.augment import NONE, PRESETS, Augmentation
from medwb.augment.preview import Scans, percent, remaining
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.studies.study import Plan, Variant, study

_SCANS = 256  # that the share left is averaged over


@study("augmentation", title="Augmentation")
def augmentation(dataset: Dataset) -> Plan:
    """Does augmentation help, and which?

    Every recipe that comes with medwb and suits the scans is compared with none: the reference study's stream, and
    gentler ones. Scored are all validation samples, which are never augmented.
    """
    scans = Scans.of(dataset, _some_of_train(dataset))
    variants, notes = [Variant("no augmentation", {"augmentation": NONE})], list[str]()
    for name, recipe in PRESETS.items():
        try:
            recipe.check(dataset.image_shape, name)
        except RequestError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        variants.append(Variant(name, {"augmentation": name}, _facts(scans, recipe)))
    notes.append(
        "all train for the same epochs; augmented scans are harder to fit, so more epochs may turn the answer"
    )
    return Plan(variants, notes=notes)


def _some_of_train(dataset: Dataset) -> list[int]:
    """Positions of samples of the train split, spread evenly over it."""
    train = np.flatnonzero((dataset.samples["split"] == "train").to_numpy())
    if not len(train):
        raise RequestError(f"dataset {dataset.name!r} has no train split, so there is nothing to augment")
    return train[np.unique(np.linspace(0, len(train) - 1, _SCANS).astype(np.int64))].tolist()


def _facts(scans: Scans, recipe: Augmentation) -> str:
    """How many steps it has, and how much of the scans it leaves."""
    share = remaining(scans, recipe, seed=0).mean
    return f"{len(recipe.active)} steps; of what a scan shows, {percent(share)} is left on average"
