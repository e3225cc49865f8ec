"""The study of augmentation."""

from medwb.augment import NONE, PRESETS, Augmentation
from medwb.augment.preview import Scans, percent, remaining
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.studies.study import Plan, Variant, study


@study(
    "augmentation",
    title="Augmentation",
    finding="The reference study saw no substantial improvement: its holes leave almost nothing of a scan.",
)
def augmentation(dataset: Dataset) -> Plan:
    """Does augmentation help, and which?

    Every recipe that comes with medwb and suits the scans is compared with none: the reference study's stream, and
    gentler ones. Scored are all validation samples, which are never augmented.
    """
    if "train" not in dataset.splits:
        raise RequestError(f"dataset {dataset.name!r} has no train split, so there is nothing to augment")
    scans = Scans.spread(dataset)
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


def _facts(scans: Scans, recipe: Augmentation) -> str:
    """How many steps it has, and how much of the scans it leaves."""
    share = remaining(scans, recipe, seed=0).mean
    return f"{len(recipe.active)} steps; of what a scan shows, {percent(share)} is left on average"
