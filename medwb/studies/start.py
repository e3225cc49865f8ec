"""Starting a study: what is there already is used, what was stopped goes on, the rest is queued."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES, Architecture
from medwb.config import RunConfig, changed_settings, make_configs
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.runs import Run, check_trainable
from medwb.studies.arms import ensure_runs, existing_runs
from medwb.studies.study import SPLIT, STUDIES, Plan, Study, Variant

ARCHITECTURE = "cnn-2"
"""What a study trains when nothing is said."""
SEEDS = (0, 1, 2)
"""What a study trains each variant with when nothing is said: fewer say little about how much the seed matters."""


@dataclass(frozen=True)
class StudyGrid:
    """What a study trains: a config a variant and seed.

    Attributes:
        dataset: What is trained on.
        study: The study.
        architecture: What is trained, by its registered name; several with commas between where the study varies it.
        settings: What all variants share and differs from the usual, such as "epochs=2".
        variants: Those that can be trained, the first is what the others are compared with.
        configs: The configs of each variant, one a seed, seeds in the same order.
        scored: bool (validation samples,).
        notes: What a reader must know.
    """

    dataset: Dataset
    study: Study
    architecture: str
    settings: str
    variants: tuple[Variant, ...]
    configs: tuple[tuple[RunConfig, ...], ...]
    scored: npt.NDArray[np.bool_]
    notes: tuple[str, ...]

    @property
    def order(self) -> list[RunConfig]:
        """All configs in the order in which they are trained: a seed of all variants, then the next."""
        return [config for by_seed in zip(*self.configs, strict=True) for config in by_seed]


@dataclass(frozen=True)
class StudyRuns:
    """The runs of a study, queued, at work or over.

    Attributes:
        grid: What the study trains.
        runs: The runs of each variant that are there, one a seed, seeds in the same order.
        started: How many of them were queued now; the others were there already.
        continued: How many had been stopped or had failed, and go on.
    """

    grid: StudyGrid
    runs: tuple[tuple[Run, ...], ...]
    started: int = 0
    continued: int = 0

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants of the grid."""
        return self.grid.variants

    @property
    def all_runs(self) -> list[Run]:
        """Runs of all variants, in the order in which they are trained."""
        return [run for by_seed in zip_longest(*self.runs) for run in by_seed if run is not None]


def study_grid(
    name: str,
    dataset: Dataset,
    architecture: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> StudyGrid:
    """What a study would train; starts nothing.

    Args:
        name: A registered study.
        dataset: What to train on.
        architecture: What to train; None for the usual one, or for a study that varies it.
        settings: What all variants share.
        seeds: One run each; a baseline is trained with the first alone.

    Raises:
        RequestError: Unknown names or settings, a setting that the study varies, a question that does not arise on
            the dataset, or fewer than two variants that can be trained.
    """
    entry = STUDIES.get(name)
    network = ARCHITECTURES.get(architecture or ARCHITECTURE)
    make_configs(dataset.name, [network], settings or {}, seeds)  # what is wrong with these needs no plan
    return plan_grid(entry, entry.plan(dataset), dataset, architecture, settings, seeds)


def plan_grid(
    study: Study,
    plan: Plan,
    dataset: Dataset,
    architecture: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> StudyGrid:
    """What a plan would train, where it is known already: as `study_grid`, which makes it first."""
    shared, network = dict(settings or {}), ARCHITECTURES.get(architecture or ARCHITECTURE)
    if varied := [key for key in shared if any(key in variant.settings for variant in plan.variants)]:
        raise RequestError(f"{varied[0]} is what the study {study.name!r} varies; leave it out")
    if architecture and any(variant.architecture for variant in plan.variants):
        raise RequestError(f"the architecture is what the study {study.name!r} varies; leave out {architecture}")
    variants, grid, notes = list[Variant](), list[tuple[RunConfig, ...]](), list(plan.notes)
    for variant in plan.variants:
        trained = ARCHITECTURES.get(variant.architecture) if variant.architecture else network
        try:
            configs = tuple(make_configs(dataset.name, [trained], {**shared, **variant.settings}, seeds))
            check_trainable(configs[0], dataset)
        except RequestError as error:
            if not variants:
                raise
            notes.append(f"{variant.title} is left out: {error}")
            continue
        if configs in grid:  # a setting that this architecture does not have
            same = variants[grid.index(configs)].title
            notes.append(f"{variant.title} is left out: for {trained.name} it is the same as {same}")
            continue
        variants.append(variant)
        grid.append(configs)
    if len(variants) < 2:
        raise RequestError(f"nothing is left to compare in the study {study.name!r}: {'; '.join(notes)}")
    return StudyGrid(
        dataset=dataset,
        study=study,
        architecture=", ".join(dict.fromkeys(configs[0].architecture for configs in grid)),
        settings=_shared(dataset, network, shared, seeds),
        variants=tuple(variants),
        configs=tuple(grid),
        scored=plan.scored if plan.scored is not None else np.ones(len(dataset.split(SPLIT)), bool),
        notes=tuple(notes),
    )


def find_runs(grid: StudyGrid) -> StudyRuns:
    """The runs of a study that are there; starts nothing."""
    found = existing_runs(grid.order, grid.dataset)
    return StudyRuns(grid, tuple(tuple(found[c] for c in configs if c in found) for configs in grid.configs))


def start_runs(grid: StudyGrid) -> StudyRuns:
    """Queue those runs of a study that are not there yet; returns at once.

    A run with the same settings on the same data that is finished, or under way, is used and not trained again; one
    that was stopped or failed goes on.
    """
    runs, started, continued = ensure_runs(grid.order, grid.dataset)
    return StudyRuns(
        grid, tuple(tuple(runs[config] for config in configs) for configs in grid.configs), started, continued
    )


def start_study(
    name: str,
    dataset: Dataset,
    architecture: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
) -> StudyRuns:
    """Queue the runs of a study, as `start_runs` of its `study_grid`, whose arguments and errors these are."""
    return start_runs(study_grid(name, dataset, architecture, settings, seeds))


def _shared(dataset: Dataset, network: Architecture, shared: Mapping[str, Any], seeds: Sequence[int]) -> str:
    return changed_settings(make_configs(dataset.name, [network], shared, seeds)[0])
