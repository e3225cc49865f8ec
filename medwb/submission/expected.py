"""What a submission can be expected to score, told from validation."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.audit.ceiling import ceiling
from medwb.audit.contradictions import contradictory_samples
from medwb.audit.sets import exact_sets
from medwb.dataset import Dataset
from medwb.decisions import Decision
from medwb.metrics import average
from medwb.runs import Run
from medwb.statistics import DRAWS, Score, interval
from medwb.validation import FOLDS, SPLIT, UnitDraws, Validation, deal_folds, validation_of

EXPECTED_TITLES = {
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "exact_match": "Exact match",
}
"""Scores that a submission is told, and how a table writes them."""

_DEALS = 3  # into folds; one deal alone adds noise of its own
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """What validation says about a submission.

    Attributes:
        samples: Scans of validation.
        units: Patients and sets of copies among them, which are drawn whole.
        scores: Each of `EXPECTED_TITLES` and `f1:<label>`, with a 95 % interval.
        same: The same names to the score with thresholds that were tuned on the very samples that are scored; empty
            where nothing was tuned.
        called: Label to the share of validation that is called.
        ceiling: `macro_f1`, `weighted_f1` and `f1:<label>`: the best that any function of the image can reach, where
            that is below 1.
        contradictory: Samples of validation in a set of identical images whose labels contradict.
        notes: What a reader must know.
    """

    samples: int
    units: int
    scores: dict[str, Score]
    same: dict[str, float] = field(default_factory=dict)
    called: dict[str, float] = field(default_factory=dict)
    ceiling: dict[str, float] = field(default_factory=dict)
    contradictory: int = 0
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A score is {"value", "low", "high"}; NaN where it is undefined."""
        scores = {name: score._asdict() for name, score in self.scores.items()}
        facts = {"split": SPLIT, "samples": self.samples, "units": self.units, "scores": scores, "same": self.same}
        return {**facts, "called": self.called, "ceiling": self.ceiling, "contradictory_samples": self.contradictory}


def expected_score(run: Run, dataset: Dataset, decision: Decision, *, draws: int = DRAWS) -> Expected:
    """Score a run on validation at some thresholds, without letting the thresholds see what they are scored on.

    Thresholds that were tuned on validation are cross-fitted: tuned anew on four of five folds of sampling units and
    applied to the fifth; the folds are dealt three times and the scores averaged. Intervals are those of a bootstrap
    over sampling units (patients, sets of copies) of the decisions that come out; it does not tune anew.

    Args:
        run: A run that has answered validation.
        dataset: What it was trained on, unchanged.
        decision: The thresholds, and how they were tuned.
        draws: Bootstrap replicates.

    Raises:
        RequestError: There are no answers, or the dataset has changed.
    """
    validation = validation_of(run, dataset)
    truth, score, names = validation.y_true, validation.y_score, validation.label_names
    units = int(validation.units.max(initial=-1)) + 1
    samples = UnitDraws(validation.units, draws)
    fixed = score >= decision.values
    deals = [fixed] if decision.tune is None or units < 2 else _cross_fitted(validation, decision)
    replicates = [_replicates(truth, called, samples, names) for called in deals]
    scores = {}
    for name in replicates[0]:
        values = np.mean([one[name] for one in replicates], axis=0)
        scores[name] = interval(values[0], values[1:])
    same = {} if decision.tune is None else _replicates(truth, fixed, UnitDraws(validation.units, 1), names)
    part = dataset.split(SPLIT)
    identical = exact_sets(part)
    best = ceiling(part.labels, identical)
    limits = {name: float(best[name]) for name in ("macro_f1", "weighted_f1")}
    limits |= dict(zip((f"f1:{name}" for name in names), best["f1"].tolist(), strict=True))
    contradictory = int(contradictory_samples(part.labels, identical).sum())
    return Expected(
        samples=len(truth),
        units=units,
        scores=scores,
        same={name: float(values[0]) for name, values in same.items()},
        called=dict(zip(names, fixed.mean(axis=0).tolist(), strict=True)) if len(fixed) else {},
        ceiling={name: value for name, value in limits.items() if value < 1},
        contradictory=contradictory,
        notes=_notes(scores, limits, contradictory, len(truth), tuned=decision.tune is not None, units=units),
    )


def _cross_fitted(validation: Validation, decision: Decision) -> list[npt.NDArray[np.bool_]]:
    """What is called, bool (N, L), in each deal, each sample by thresholds that were tuned without its fold."""
    assert decision.tune is not None
    deals = []
    for seed in range(_DEALS):
        fold = deal_folds(validation.y_true, validation.units, seed)
        called = np.zeros(validation.y_true.shape, bool)
        for held in range(FOLDS):
            inside = fold == held
            if inside.any():
                thresholds = decision.tune(validation.y_true[~inside], validation.y_score[~inside])
                called[inside] = validation.y_score[inside] >= thresholds
        deals.append(called)
    return deals


def _replicates(
    truth: Floats, called: npt.NDArray[np.bool_], samples: UnitDraws, names: tuple[str, ...]
) -> dict[str, Floats]:
    """Score name to float64 (1 + B,): the samples as they are, then each replicate; NaN where it is undefined."""
    positive, negative = truth == 1, truth == 0
    known = (positive | negative).all(axis=1, keepdims=True)
    right = known & (called == positive).all(axis=1, keepdims=True)
    outcomes = [positive & called, negative & called, positive & ~called]
    sums = samples.sums(np.concatenate([*outcomes, right, known], axis=1))
    labels = truth.shape[1]
    tp, fp, fn = (sums[:, start * labels : (start + 1) * labels] for start in range(3))
    f1 = _ratio(2 * tp, np.where(tp + fn > 0, 2 * tp + fp + fn, 0))
    found = {
        "macro_f1": average(f1, "macro"),
        "micro_f1": _ratio(2 * tp.sum(1), np.where((tp + fn).any(1), (2 * tp + fp + fn).sum(1), 0)),
        "weighted_f1": average(f1, "weighted", tp + fn),
        "exact_match": _ratio(sums[:, -2], sums[:, -1]),
    }
    return found | {f"f1:{name}": f1[:, place] for place, name in enumerate(names)}


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _notes(
    scores: dict[str, Score], limits: dict[str, float], contradictory: int, samples: int, *, tuned: bool, units: int
) -> list[str]:
    notes = []
    if np.isnan(scores["macro_f1"].value):
        return ["no label has a positive on validation, so no score can be expected"]
    if contradictory and limits["macro_f1"] < 1:
        notes.append(
            f"{contradictory:,} of {samples:,} scans of validation are identical images whose labels contradict: "
            f"whatever a model answers, macro F1 is at most {limits['macro_f1']:.3f} there"
        )
    if tuned and units < 2:
        notes.append("validation is one patient, so the thresholds are scored on the samples that they were tuned on")
    undefined = [name.removeprefix("f1:") for name, score in scores.items() if np.isnan(score.value)]
    if undefined:
        notes.append(f"no F1 is known for {', '.join(undefined)}: without a positive on validation")
    return notes
