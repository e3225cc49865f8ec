"""Starting a study: what is there already is used, the rest is queued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, changed_settings, make_configs
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.launch import launch, start_worker
from medwb.runs import Run, check_trainable, list_runs, run_augmentation, run_cleaning
from medwb.studies.study import SPLIT, STUDIES, Study, Variant

_REUSED_STATES = ("finished", "running", "queued")


@dataclass(frozen=True)
class StudyRuns:
    """The runs of a study, queued, at work or finished.

    Attributes:
        dataset: What they train on.
        study: The study.
        architecture: What is trained, by its registered name.
        settings: What all variants share and differs from the defaults, such as "epochs=2".
        variants: Those that can be trained, the first is what the others are compared with.
        runs: The runs of each variant, one a seed, seeds in the same order.
        scored: bool (validation samples,).
        started: How many of them were queued now; the others were there already.
        notes: What a reader must know.
    """

    dataset: Dataset
    study: Study
    architecture: str
    settings: str
    variants: tuple[Variant, ...]
    runs: tuple[tuple[Run, ...], ...]
    scored: npt.NDArray[np.bool_]
    started: int
    notes: tuple[str, ...]

    @property
    def all_runs(self) -> list[Run]:
        """Runs of all variants, in the order in which they are trained."""
        return [run for by_variant in zip(*self.runs, strict=True) for run in by_variant]


def start_study(
    name: str,
    dataset: Dataset,
    architecture: str = "cnn-2",
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> StudyRuns:
    """Queue the runs of a study; returns at once.

    A run with the same settings on the same data that is finished, or under way, is used and not trained again.

    Args:
        name: A registered study.
        dataset: What to train on.
        architecture: What to train.
        settings: What all variants share.
        seeds: One run each; a baseline is trained with the first alone.

    Raises:
        RequestError: Unknown names or settings, a setting that the study varies, a question that does not arise on
            the dataset, or fewer than two variants that can be trained.
    """
    entry, shared = STUDIES.get(name), dict(settings or {})
    network = ARCHITECTURES.get(architecture)
    plain = make_configs(dataset.name, [network], shared, seeds)[0]
    plan = entry.plan(dataset)
    if varied := [key for key in shared if any(key in variant.settings for variant in plan.variants)]:
        raise RequestError(f"{varied[0]} is what the study {name!r} varies; leave it out")
    variants, grid, notes = list[Variant](), list[list[RunConfig]](), list(plan.notes)
    for variant in plan.variants:
        try:
            configs = make_configs(dataset.name, [network], {**shared, **variant.settings}, seeds)
            check_trainable(configs[0], dataset)
        except RequestError as error:
            if not variants:
                raise
            notes.append(f"{variant.title} is left out: {error}")
            continue
        if configs in grid:  # a setting that this architecture does not have
            same = variants[grid.index(configs)].title
            notes.append(f"{variant.title} is left out: for {network.name} it is the same as {same}")
            continue
        variants.append(variant)
        grid.append(configs)
    if len(variants) < 2:
        raise RequestError(f"nothing is left to compare in the study {name!r}: {'; '.join(notes)}")
    order = [
        config for by_seed in zip(*grid, strict=True) for config in by_seed
    ]  # a seed of all variants, then the next
    found = _existing(order, dataset)
    new = [config for config in order if config not in found]
    if new:
        found |= dict(zip(new, launch(new), strict=True))
    elif any(run.state == "queued" for run in found.values()):
        start_worker()  # the one that they waited for may have been killed
    scored = plan.scored if plan.scored is not None else np.ones(len(dataset.split(SPLIT)), bool)
    return StudyRuns(
        dataset=dataset,
        study=entry,
        architecture=network.name,
        settings=changed_settings(plain),
        variants=tuple(variants),
        runs=tuple(tuple(found[config] for config in configs) for configs in grid),
        scored=scored,
        started=len(new),
        notes=tuple(notes),
    )


def _existing(configs: Sequence[RunConfig], dataset: Dataset) -> dict[RunConfig, Run]:
    """The runs that did, or are about to do, just that: the newest finished one, else one under way."""
    found: dict[RunConfig, Run] = {}
    rank: dict[RunConfig, int] = {}
    cleanings = {config.cleaning: _digest(config, dataset) for config in configs}
    recipes = {config.augmentation: run_augmentation(config).digest for config in configs}
    for run in list_runs(dataset.name):
        config = run.config
        digests = cleanings.get(config.cleaning), recipes.get(config.augmentation)
        if (run.cleaning_digest, run.augmentation_digest) != digests or run.fingerprint != dataset.fingerprint:
            continue
        state = run.state
        if state not in _REUSED_STATES:
            continue
        place = -_REUSED_STATES.index(state)
        if config not in rank or place >= rank[config]:
            found[config], rank[config] = run, place
    return {config: found[config] for config in configs if config in found}


def _digest(config: RunConfig, dataset: Dataset) -> str:
    made = run_cleaning(config, dataset)
    return made.digest if made else ""
