"""The label-preservation test: how far each slider may go before a trained network loses sight of a finding.

It asks what this network tolerates, not what a radiologist would: a network that never saw turned scans in training
may lose a finding that is plain to see, and one that leans on a marker at the edge may lose it with the marker.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.augment.apply import Pool, augment_samples
from medwb.augment.recipe import Augmentation, Step
from medwb.augment.sliders import sliders_of
from medwb.config import input_shape
from medwb.dataset import Dataset, release_pages
from medwb.errors import RequestError
from medwb.images import Pixels
from medwb.metrics import evaluate
from medwb.params import plain
from medwb.paths import write_text
from medwb.progress import Progress, no_progress
from medwb.runs import Run
from medwb.statistics import DRAWS, Score, bootstrap_weights, interval, paired_difference
from medwb.strict_json import dump_json

SAMPLES = 1000
"""Validation scans that are scored, at most, when nothing is said."""

CAVEAT = "this tests what this trained network tolerates, not what a radiologist would"
SPLIT = "val"
FILE = "preservation.json"
"""In the run's folder."""
_SCANS, _WEIGHTINGS = 128, 64  # scans, and weightings, that are worked on at a time

_CHANCE = 0.5  # the AUC of a coin
_WIDE = 0.1
_HIDDEN = (
    f"the AUC without augmentation has an interval wider than {_WIDE:g}, and a loss inside of it does not count as "
    "harm; see where the AUC is lower than unchanged"
)

Floats = npt.NDArray[np.float64]
Scores = Callable[[Pixels], npt.NDArray[np.float32]]


class Point(NamedTuple):
    """One position of a slider.

    Attributes:
        value: Where it stands.
        auc: ROC AUC a label with its 95 % interval, every scan changed with this value.
        difference: What that is more than the AUC without augmentation, on the same scans and bootstrap replicates.
        harmed: Labels whose AUC is below the lower end of the 95 % interval of the AUC without augmentation.
    """

    value: float
    auc: dict[str, Score]
    difference: dict[str, Score]
    harmed: tuple[str, ...]

    @property
    def lower(self) -> tuple[str, ...]:
        """Labels whose AUC is lower than unchanged: the 95 % interval of `difference` lies below 0.

        Where positives are few, a label can be lower for certain and yet not harmed.
        """
        return tuple(label for label, lost in self.difference.items() if lost.high < 0)


@dataclass(frozen=True)
class Sweep:
    """What one slider of one transform does to the scores of a run.

    Attributes:
        transform: Name of the transform.
        param: Name of the number, or "p" for a transform that has none.
        quiet: The step's other numbers that stood where they do nothing. The rest stood as `settings` say.
        settings: The step's other settings, as JSON holds them.
        neutral: The position that changes a scan least; where all change it much the same, the middle of what the
            step draws.
        base: ROC AUC a label without augmentation, with its 95 % interval.
        points: By value, in rising order; the neutral one is among them.
        samples: Validation scans that were scored.
        seed: Seed of the choice of scans and of what is drawn.
        left_out: Labels that cannot be tested, and why.
        epoch: How far the run had been trained.
    """

    transform: str
    param: str
    quiet: tuple[str, ...]
    settings: dict[str, Any]
    neutral: float
    base: dict[str, Score]
    points: tuple[Point, ...]
    samples: int
    seed: int
    left_out: dict[str, str]
    epoch: int

    def safe(self, label: str | None = None) -> tuple[float, float] | None:
        """The largest interval about the neutral position in which no position tested harms the label, or any label.

        None where the neutral position harms already. Between its ends and the next position tested nothing is
        known.
        """
        harmed = {point.value: label in point.harmed if label else bool(point.harmed) for point in self.points}
        if harmed[self.neutral]:
            return None
        below = [value for value in harmed if value <= self.neutral]
        above = [value for value in harmed if value >= self.neutral]
        return _reach(below[::-1], harmed), _reach(above, harmed)

    def fits(self, step: Step) -> bool:
        """Whether it says something about a step as that is set now."""
        if step.transform != self.transform:
            return False
        compared = set(self.settings) - set(self.quiet)
        return all(plain(step.settings.get(name, "")) == self.settings[name] for name in compared)

    def describe(self) -> dict[str, Any]:
        """As JSON holds it; `open_preservation` understands it."""
        facts = {key: getattr(self, key) for key in self.__dataclass_fields__}
        facts |= {"quiet": list(self.quiet), "base": _plain_scores(self.base)}
        facts["points"] = [
            {
                "value": point.value,
                "auc": _plain_scores(point.auc),
                "difference": _plain_scores(point.difference),
                "harmed": list(point.harmed),
                "lower": list(point.lower),
            }
            for point in self.points
        ]
        safe = self.safe()
        return facts | {"safe": list(safe) if safe else None}


@dataclass(frozen=True)
class Preservation:
    """What a run's label-preservation tests found.

    Attributes:
        run: Id of the run.
        sweeps: One a slider that was tested.
    """

    run: str
    sweeps: tuple[Sweep, ...] = ()

    def sweep(self, step: Step, param: str) -> Sweep | None:
        """The test of one slider of a step as that is set now; None where there is none."""
        return next((one for one in self.sweeps if one.param == param and one.fits(step)), None)

    def table(self) -> pd.DataFrame:
        """One row a slider, position and label.

        Columns: `transform`, `param`, `value`, `label`; `auc`, `base` (the AUC without augmentation) and
        `difference` (paired), each with its 95 % interval, `low` and `high`, `base_low`, ...; `harmed` and `lower`.
        """
        names = ("", "_low", "_high")
        rows = []
        for one in self.sweeps:
            for point in one.points:
                for label, base in one.base.items():
                    row = {"transform": one.transform, "param": one.param, "value": point.value, "label": label}
                    row |= dict(zip(("auc", "low", "high"), point.auc[label], strict=True))
                    row |= dict(zip((f"base{name}" for name in names), base, strict=True))
                    row |= dict(zip((f"difference{name}" for name in names), point.difference[label], strict=True))
                    rows.append(row | {"harmed": label in point.harmed, "lower": label in point.lower})
        return pd.DataFrame(rows)

    def notes(self) -> list[str]:
        """What a reader must know, a sentence each."""
        left_out = {label: why for one in self.sweeps for label, why in one.left_out.items()}
        bases = [(label, base) for one in self.sweeps for label, base in one.base.items()]
        blind = {label: base for label, base in bases if base.low <= _CHANCE}
        unsure = dict.fromkeys(label for label, base in bases if base.high - base.low > _WIDE)
        names = ", ".join(label for label in unsure if label not in blind)
        return [
            *(f"{label} is left out: {why}" for label, why in left_out.items()),
            *(f"{label} cannot be harmed: the run hardly tells it apart, AUC {auc}" for label, auc in blind.items()),
            *([f"{names}: {_HIDDEN}"] if names else []),
        ]

    def describe(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"run": self.run, "caveat": CAVEAT, "sweeps": [one.describe() for one in self.sweeps]}


def measure_preservation(
    run: Run,
    dataset: Dataset,
    steps: Sequence[Step],
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    draws: int = DRAWS,
    scores: Scores | None = None,
    progress: Progress = no_progress,
) -> Preservation:
    """Test how far each slider may go before a run tells positives from negatives less well.

    Validation scans, as the network sees them, are changed by one step alone, always applied, with one of its
    numbers at one of about nine positions: the neutral one, both ends, and the ends of what the step draws. The run
    scores them, and each label's ROC AUC is set beside that of the same scans unchanged, on the same bootstrap
    replicates of whole groups. A label is harmed where its AUC is below the lower end of the 95 % interval of the
    unchanged AUC, and lower where the interval of the difference lies below 0. What is found is kept in the run's
    folder, `preservation.json`, in place of earlier tests of the same sliders.

    Args:
        run: A run whose network was exported.
        dataset: What it was trained on.
        steps: What is tested; not steps that mix scans.
        samples: Validation scans that are scored, at most; drawn by the seed.
        seed: Seed of that choice and of what is drawn.
        draws: Bootstrap replicates.
        scores: From uint8 (n, H, W, C) to float32 (n, L) in place of the run's own network.
        progress: Called with (scans scored, scans in all). When it raises, nothing is kept.

    Raises:
        RequestError: The data has changed since, the run cannot score, a step does not suit its scans, or no label
            has positives and negatives among the scans.
    """
    if run.fingerprint != dataset.fingerprint:
        raise RequestError(f"{dataset.name!r} has changed since run {run.id} was trained on it; train again")
    if samples < 1:
        raise RequestError(f"samples {samples} is out of range; give 1 or more")
    shape = input_shape(run.config, dataset)
    Augmentation(tuple(steps)).check(shape)
    if scores is None:
        from medwb.scoring import Scorer

        scores = Scorer(run).scores
    bench = _Bench(run, dataset, samples, seed, draws, scores)
    sliders = sliders_of(steps, shape)
    total = len(bench.part) * (1 + sum(len(slider.values) for slider in sliders))
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    base = bench.auc(None, report)
    epoch = int(run.status().get("epoch", 0))
    before = {label: interval(column[0], column[1:]) for label, column in base.items()}
    sweeps = []
    for slider in sliders:
        points = tuple(bench.point(value, slider.at(value), base, before, report) for value in slider.values)
        facts = (slider.step.transform, slider.param, slider.quiet, slider.settings, slider.neutral)
        sweeps.append(Sweep(*facts, before, points, len(bench.part), seed, bench.left_out, epoch))
    result = Preservation(run.id, tuple(sweeps))
    _keep(run, result)
    return result


def open_preservation(run: Run) -> Preservation:
    """What the label-preservation tests of a run found so far; without sweeps where there was none.

    Tests from before the run was trained further do not count. `Preservation.sweep(step, param)` gives the test of
    one slider: its `points` say where along the track a label is harmed, `safe()` how far it may go.

    Raises:
        RequestError: The file is damaged.
    """
    path = run.path / FILE
    if not path.exists():
        return Preservation(run.id)
    try:
        sweeps = tuple(_read_sweep(values) for values in json.loads(path.read_text(encoding="utf-8"))["sweeps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError(f"run {run.id}: {FILE} is damaged ({error}); remove {path} and test again") from None
    epoch = run.status().get("epoch", 0)
    return Preservation(run.id, tuple(one for one in sweeps if one.epoch == epoch))


def _keep(run: Run, new: Preservation) -> None:
    """Write what was found, in place of earlier tests of the same sliders, under the run's lock."""

    def key(one: Sweep) -> tuple[str, str, str]:
        return one.transform, one.param, json.dumps(one.settings, sort_keys=True)

    with run.locked():  # a page and a command line may test one run at a time
        try:
            kept = {key(one): one for one in open_preservation(run).sweeps}
        except RequestError:
            kept = {}
        kept |= {key(one): one for one in new.sweeps}
        write_text(run.path / FILE, dump_json(Preservation(run.id, tuple(kept.values())).describe()) + "\n")


class _Bench:
    """The scans that a run is tested on, and what it makes of them."""

    def __init__(self, run: Run, dataset: Dataset, samples: int, seed: int, draws: int, scores: Scores) -> None:
        part = dataset.split(SPLIT)
        labelled = np.flatnonzero(~np.isnan(part.labels).all(axis=1))
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(labelled, min(samples, len(labelled)), replace=False))
        part = part.subset(np.isin(np.arange(len(part)), chosen))
        self.part, self.labels, self.left_out = part, dict[str, int](), dict[str, str]()
        for number, (label, truth) in enumerate(zip(part.label_names, part.labels.T, strict=True)):
            missing = [word for word, value in (("positive", 1), ("negative", 0)) if not (truth == value).any()]
            if missing:
                self.left_out[label] = f"no {' and no '.join(missing)} among the {len(part):,} scans"
            else:
                self.labels[label] = number
        if not self.labels:
            raise RequestError(
                f"no label has a positive and a negative among {len(part):,} validation scans of {dataset.name!r}; "
                "test more of them"
            )
        drawn = bootstrap_weights(part.samples["group"].to_numpy(str), draws)
        self._weights = np.vstack([np.ones((1, len(part)), np.uint16), drawn])
        self._seed, self._scores = seed, scores
        self._pool = Pool.of(part, shape=input_shape(run.config, dataset))

    def point(
        self,
        value: float,
        step: Step,
        base: Mapping[str, Floats],
        before: Mapping[str, Score],
        report: Callable[[int], None],
    ) -> Point:
        """Score the scans after a step, and compare with the AUC before in each replicate and in its interval."""
        auc = self.auc(step, report)
        found = {label: interval(column[0], column[1:]) for label, column in auc.items()}
        lost = {label: paired_difference(column, base[label]) for label, column in auc.items()}
        harmed = [label for label, now in found.items() if now.value < before[label].low]
        return Point(value, found, lost, tuple(harmed))

    def auc(self, step: Step | None, report: Callable[[int], None]) -> dict[str, Floats]:
        """ROC AUC of each label that can be tested on the scans as they are, then in each replicate: (1 + draws,)."""
        augmentation = Augmentation((step,) if step else ())
        answers = []
        for start in range(0, len(self.part), _SCANS):
            where = np.arange(start, min(start + _SCANS, len(self.part)), dtype=np.int64)
            answers.append(self._scores(augment_samples(self._pool, where, augmentation, self._seed, 0).images))
            release_pages(self.part.images)
            report(len(where))
        score, columns = np.concatenate(answers), list(self.labels.values())
        parts = [
            evaluate("roc_auc", self.part.labels[:, columns], score[:, columns], weights=weights)
            for weights in np.split(self._weights, range(_WEIGHTINGS, len(self._weights), _WEIGHTINGS))
        ]
        return dict(zip(self.labels, np.concatenate(parts).T, strict=True))


def _read_sweep(values: Mapping[str, Any]) -> Sweep:
    """What `Sweep.describe` wrote."""
    facts = {key: values[key] for key in Sweep.__dataclass_fields__}
    for key, kind in (("transform", str), ("param", str), ("settings", dict), ("left_out", dict)):
        if not isinstance(facts[key], kind):
            raise TypeError(f"{key} is {facts[key]!r}")
    facts |= {"quiet": tuple(map(str, values["quiet"])), "base": _read_scores(values["base"])}
    facts["points"] = tuple(
        Point(
            float(point["value"]),
            _read_scores(point["auc"]),
            _read_scores(point["difference"]),
            tuple(map(str, point["harmed"])),
        )
        for point in values["points"]
    )
    one = Sweep(**facts)
    if one.neutral not in [point.value for point in one.points]:
        raise ValueError(f"{one.transform} {one.param} has no neutral position")
    if any(set(point.auc) != set(one.base) or set(point.difference) != set(one.base) for point in one.points):
        raise ValueError(f"{one.transform} {one.param} has other labels at some positions")
    return one


def _plain_scores(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    return {label: score._asdict() for label, score in scores.items()}


def _read_scores(values: Mapping[str, Mapping[str, float | None]]) -> dict[str, Score]:
    names = Score._fields
    return {
        str(label): Score(*(math.nan if score[name] is None else float(score[name]) for name in names))  # type: ignore[arg-type]
        for label, score in values.items()
    }


def _reach(values: Sequence[float], harmed: Mapping[float, bool]) -> float:
    """The last of the values before the first that harms; the first of them does not."""
    return next((before for before, after in pairwise(values) if harmed[after]), values[-1])
