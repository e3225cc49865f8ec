"""Thresholds of a run: tuned on validation by a rule, with what tuning makes too good, and kept in the run's folder.

A threshold that was tuned on some samples scores better on these than on others. How much better, the optimism, is
estimated by cross-fitting: units (patients, sets of copies) are dealt into five folds; each fold is called with
thresholds that were tuned on the other four, and counts are summed over the folds before they become a score (Forman
and Scholz, "Apples-to-apples in cross-validation studies", SIGKDD Explorations 12, 2010). That is done for several
deals. Each tuning sees a fifth fewer samples than the threshold that is used, so that the estimate errs on the side
of too much optimism.

Thresholds are of the scores as a run saves them, never of calibrated ones.

`thresholds.json`:

    {"rule", "target" (null for a rule without one), "otherwise" (a rule or null), "split": "val",
     "thresholds": {label: number}, "rules": {label: the rule that chose it, "" for none},
     "macro": {score: {"tuned", "cross_fitted", "optimism"}}, "labels": {label: {score: ...}}: each a value with
     "low" and "high", "notes": [...], "predictions": digest of the answers, "digest": of all of the above}
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError
from medwb.metrics import average, tune_thresholds
from medwb.operating import Counts, OperatingCurve, candidates, operating_curve
from medwb.runs import Run
from medwb.statistics import DRAWS, Score, mean_over_seeds
from medwb.strict_json import nan_to_none
from medwb.threshold_rules import F1, FIXED, THRESHOLD_RULES, Aim, Policy, ThresholdRule, choose, threshold_rule
from medwb.validation import (
    FOLDS,
    MACRO,
    SPLIT,
    UnitDraws,
    Validation,
    deal_folds,
    difference,
    find_score,
    open_record,
    read_scores,
    remove_record,
    save_record,
    score_row,
    scores_json,
)

__all__ = [
    "THRESHOLD_RULES", "Counts", "OperatingCurve", "ThresholdRule", "Thresholds", "cross_fit_thresholds",
    "open_thresholds", "operating_curve", "remove_thresholds", "save_thresholds", "threshold_rule", "used_thresholds",
]  # fmt: skip

THRESHOLDS_FILE = "thresholds.json"
DEALS = 10
"""Deals into folds that a cross-fitted score is the mean of."""

_SAID = 3  # reasons that fit into a line

KINDS = ("tuned", "cross_fitted", "optimism")


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of all labels, and how good they look and are.

    Attributes:
        rule: Name of the rule.
        target: Its target; NaN for a rule without one.
        otherwise: Name of the rule for labels on which that one cannot be met; "" for none.
        label_names: The L labels.
        values: float64 (L,); NaN for a label on which the rule cannot be met.
        rules: The rule that chose each label's; "" where there was nothing to tune on, or nothing was reached.
        scores: One row a label and score, then one for their mean (`label` is `MACRO`) a score. `score` is "f1" or
            what the rule is after; `tuned`: on the samples that the threshold was tuned on, `cross_fitted`: on
            others, `optimism`: how much the first is too good (for a cost: too low), each with `<name>_low` and
            `<name>_high` (95 %). NaN where it is not known.
        notes: What a reader should know, a sentence each.
        predictions: Digest of the answers that they were tuned on (`medwb.validation.answers_digest`).
    """

    rule: str
    target: float
    otherwise: str
    label_names: tuple[str, ...]
    values: npt.NDArray[np.float64]
    rules: tuple[str, ...]
    scores: pd.DataFrame
    notes: tuple[str, ...]
    predictions: str

    @property
    def missing(self) -> tuple[str, ...]:
        """Labels on which the rule cannot be met."""
        return tuple(name for name, value in zip(self.label_names, self.values, strict=True) if np.isnan(value))

    @property
    def by_label(self) -> dict[str, float]:
        """Label to threshold."""
        return dict(zip(self.label_names, self.values.tolist(), strict=True))

    def score(self, kind: str, score: str = F1.name, label: str = MACRO) -> Score:
        """One figure with its interval: "tuned", "cross_fitted" or "optimism"; NaN where there is no such row."""
        return find_score(self.scores, label, score, kind)

    @property
    def sentence(self) -> str:
        """The macro F1 with and without the samples that the thresholds were tuned on."""
        tuned, cross, optimism = (self.score(kind) for kind in KINDS)
        if np.isnan(optimism.value):
            return "macro F1 cannot be cross-fitted"
        return (
            f"macro F1: tuned and scored on the same samples {tuned.value:.3f}; cross-fitted {cross}; "
            f"optimism {optimism}"
        )

    @property
    def by_hand(self) -> npt.NDArray[np.bool_]:
        """bool (L,): which labels somebody set, so that the rule did not choose them."""
        chosen = FIXED in (self.rule, self.otherwise)
        return np.array([rule == FIXED and not chosen for rule in self.rules])

    def to_json(self) -> dict[str, Any]:
        """The documented JSON, without its digest."""
        facts: dict[str, Any] = nan_to_none(
            {
                "rule": self.rule,
                "target": self.target,
                "otherwise": self.otherwise or None,
                "split": SPLIT,
                "thresholds": self.by_label,
                "rules": dict(zip(self.label_names, self.rules, strict=True)),
                **scores_json(self.scores, self.label_names, KINDS),
                "notes": list(self.notes),
                "predictions": self.predictions,
            }
        )
        return facts


def cross_fit_thresholds(
    answers: Validation,
    rule: str = "best-f1",
    target: float | None = None,
    otherwise: str | None = None,
    *,
    deals: int = DEALS,
    draws: int = DRAWS,
) -> Thresholds:
    """Tune a threshold a label on validation, and estimate by cross-fitting how good it is on other samples.

    Intervals are of the cluster bootstrap over units and deals, with the thresholds as they were tuned: they do not
    cover that other samples would have given other thresholds. Simulated 200 times with four labels (2 to 38 %
    positive) and units of two samples, the macro F1 that best-f1's thresholds reach among further samples lay in the
    cross-fitted interval in 96, 94 and 94 % of cases at 100, 600 and 3,000 samples, and the cross-fitted value was
    too good by 0.008, 0.006 and -0.001; that on the same samples by 0.124, 0.054 and 0.018. At 100 samples, cases
    with fewer than two positives of a label are left out.

    Args:
        answers: What was answered on validation.
        rule: A registered rule.
        target: Its target; None for its default.
        otherwise: The rule for labels on which that one cannot be met, with its default target; None leaves them
            without a threshold (NaN).
        deals: Deals into folds.
        draws: Bootstrap replicates.

    Raises:
        RequestError: No such rule, or the target is out of range.
    """
    policy = Policy.named(rule, target, otherwise)
    aims = [F1] if policy.rule.aim is F1 else [F1, policy.rule.aim]
    drawn = UnitDraws(answers.units, draws)
    shape = (len(aims), 1 + draws, len(answers.label_names))
    tuned, cross = np.full(shape, np.nan), np.full(shape, np.nan)
    choices, notes = [], []
    for place, name in enumerate(answers.label_names):
        label = _Label.of(answers, place)
        choice = choose(candidates(label.scores, label.hits), policy)
        choices.append(choice)
        if choice.reason:
            notes.append(f"{name}: {choice.reason}")
        if np.isnan(choice.threshold):
            continue
        problem = label.problem(policy) if choice.rule else choice.reason
        calls = [label.scores >= choice.threshold]
        if problem and choice.rule:
            notes.append(f"{name}: {problem}, so it cannot be cross-fitted; means leave it out")
        else:
            held, unreached = label.cross_calls(answers, policy, deals)
            calls += held
            if unreached:
                notes.append(f"{name}: not reached in {unreached} of {deals * FOLDS} fits, which then call nothing")
        counts = _counts(label, calls, drawn)
        for number, aim in enumerate(aims):
            values = aim.measure(counts, policy.target)  # (1 + draws, calls)
            tuned[number, :, place] = values[:, 0]
            if not problem:
                cross[number, :, place] = mean_over_seeds(values[:, 1:].T)
    rows = [
        row
        for number, aim in enumerate(aims)
        for row in _rows(aim, answers.label_names, tuned[number], cross[number])
    ]
    return Thresholds(
        rule,
        policy.target,
        otherwise or "",
        answers.label_names,
        np.array([choice.threshold for choice in choices]),
        tuple(choice.rule for choice in choices),
        pd.DataFrame(rows),
        tuple(notes),
        answers.digest,
    )


def save_thresholds(run: Run, thresholds: Thresholds) -> None:
    """Keep thresholds as those that a run is used with: `thresholds.json`, replaced in one step.

    Raises:
        RequestError: A label has none, they are of other answers than the run's, or the folder cannot be written to.
    """
    if thresholds.missing:
        starts = tuple(f"{name}: " for name in thresholds.missing)
        said = [note for note in thresholds.notes if note.startswith(starts)]
        reasons = "; ".join([*said[:_SAID], *(["..."] if len(said) > _SAID else [])])
        raise RequestError(
            f"rule {thresholds.rule!r} gives no threshold for {', '.join(thresholds.missing)} ({reasons}); "
            "choose another target, or a rule for these labels (`--otherwise best-f1`)"
        )
    save_record(run, THRESHOLDS_FILE, thresholds.to_json())


def open_thresholds(run: Run) -> Thresholds | None:
    """The thresholds that were saved for a run; None where there are none.

    Raises:
        RequestError: They are damaged, were changed by hand, or were tuned on other answers than the run has now.
    """
    way_out = f"medwb thresholds {run.id} --rule best-f1 --save"
    facts = open_record(run, THRESHOLDS_FILE, way_out)
    if facts is None:
        return None
    try:
        names = run.label_names
        values = np.array([float(facts["thresholds"][name]) for name in names])
        if len(facts["thresholds"]) != len(names) or not np.isfinite(values).all():
            raise ValueError("other labels than the run's")
        return Thresholds(
            str(facts["rule"]),
            np.nan if facts["target"] is None else float(facts["target"]),
            facts["otherwise"] or "",
            names,
            values,
            tuple(str(facts["rules"][name]) for name in names),
            read_scores(facts, names, KINDS),
            tuple(facts["notes"]),
            str(facts["predictions"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(
            f"run {run.id}: {THRESHOLDS_FILE} is damaged ({error}); write it anew: `{way_out}`"
        ) from error


def remove_thresholds(run: Run) -> bool:
    """Go back to the best F1 on validation; False where nothing was saved. Raises RequestError where it cannot be."""
    return remove_record(run, THRESHOLDS_FILE)


def used_thresholds(run: Run) -> tuple[npt.NDArray[np.float64], str]:
    """The thresholds that a run is used with, float64 (L,), and where they come from, in words.

    Those that were saved, otherwise the best F1 on validation.

    Raises:
        RequestError: As `open_thresholds`, or the run has no answers on validation.
    """
    saved = open_thresholds(run)
    if saved is None:
        answer = run.predictions(SPLIT)
        return tune_thresholds(answer.y_true, answer.y_score), "best F1 on validation"
    entry = THRESHOLD_RULES.get(saved.rule)
    target = "" if entry.param is None else f" {saved.target:g}"
    by_hand = f", {saved.by_hand.sum()} by hand" if saved.by_hand.any() else ""
    return saved.values, f"{entry.title}{target} on validation, as saved{by_hand}"


@dataclass(frozen=True)
class _Label:
    """The known samples of one label, the highest score first.

    Attributes:
        rows: int64 (K,): their places among all samples.
        scores: float64 (K,), descending.
        hits: bool (K,).
        place: The label's place.
    """

    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    hits: npt.NDArray[np.bool_]
    place: int
    units: npt.NDArray[np.int64]

    @classmethod
    def of(cls, answers: Validation, place: int) -> "_Label":
        truth, score = answers.y_true[:, place], answers.y_score[:, place]
        known = np.flatnonzero((truth == 1) | (truth == 0))
        rows = known[np.argsort(-score[known], kind="stable")]
        return cls(rows, score[rows], truth[rows] == 1, place, answers.units[rows])

    def problem(self, policy: Policy) -> str:
        """Why it cannot be cross-fitted; "" where it can."""
        sides = {"positive": self.hits, "negative": ~self.hits}
        for answer in policy.rule.needs:
            units = len(np.unique(self.units[sides[answer]]))
            if units < 2:
                return f"its {answer}s are all of one patient or set of copies"
        return ""

    def cross_calls(self, answers: Validation, policy: Policy, deals: int) -> tuple[list[npt.NDArray[np.bool_]], int]:
        """What is called, bool (K,) a deal, by thresholds tuned on other folds; and how many of these are NaN."""
        found, unreached = [], 0
        for deal in range(deals):
            fold = deal_folds(answers.y_true[:, [self.place]], answers.units, deal)[self.rows]
            called = np.zeros(len(self.rows), bool)
            for number in range(FOLDS):
                held = fold == number
                choice = choose(candidates(self.scores[~held], self.hits[~held]), policy)
                unreached += int(np.isnan(choice.threshold))
                called[held] = self.scores[held] >= choice.threshold
            found.append(called)
        return found, unreached


def _counts(label: _Label, calls: Sequence[npt.NDArray[np.bool_]], drawn: UnitDraws) -> Counts:
    """Counts of several ways to call, each (1 + draws, ways)."""
    ways = len(calls)
    called = np.stack(calls, axis=1)
    columns = np.zeros((len(drawn.units), 2 + 2 * ways))
    hits = label.hits[:, None]
    columns[label.rows] = np.concatenate([hits, ~hits, hits & called, ~hits & called], axis=1)
    sums = drawn.sums(columns)
    tp, fp = sums[:, 2 : 2 + ways], sums[:, 2 + ways :]
    return Counts(tp, fp, sums[:, :1] - tp, sums[:, 1:2] - fp)


def _rows(
    aim: Aim, names: Sequence[str], tuned: npt.NDArray[np.float64], cross: npt.NDArray[np.float64]
) -> Iterator[dict[str, Any]]:
    """Rows of `Thresholds.scores` from replicates (1 + draws, L)."""
    both = np.isnan(tuned) | np.isnan(cross)  # a mean over other labels would not be comparable
    mean = [average(np.where(both, np.nan, values), "macro") for values in (tuned, cross)]
    columns = (np.vstack([values.T, macro]) for values, macro in zip((tuned, cross), mean, strict=True))
    for label, same, other in zip([*names, MACRO], *columns, strict=True):
        yield score_row(label, aim.name, dict(zip(KINDS, (same, other, difference(same, other)), strict=True)))
