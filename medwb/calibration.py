"""Calibration: scores that mean what they say, fitted on validation, and kept in the run's folder.

A calibrated score of 0.3 is right for samples of which 30 % have the label. A fit on validation looks best on
validation; so what it gains is judged by cross-fitting over units (patients, sets of copies), as thresholds are.

`calibration.json`:

    {"method", "split": "val",
     "parameters": {label: {"temperature": number}, {"scores": [...], "calibrated": [...]} (breakpoints, between which
     it is linear), or {} for scores as they are},
     "macro": {score: {"before", "after", "gain"}}, "labels": {label: {score: ...}}: each a value with "low" and
     "high", "notes": [...], "predictions": digest of the answers, "digest": of all of the above}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.calibration_methods import CALIBRATIONS, CLIP, WIDEST, Floats, Parameters, calibrated, known_samples
from medwb.errors import RequestError
from medwb.metrics import average
from medwb.runs import Run
from medwb.statistics import DRAWS, Score, mean_over_seeds, wilson_interval
from medwb.strict_json import nan_to_none
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
    "CALIBRATIONS", "Calibration", "cross_calibrated", "cross_fit_calibration", "open_calibration", "reliability",
    "remove_calibration", "save_calibration",
]  # fmt: skip

CALIBRATION_FILE = "calibration.json"
ECE_BINS = 15
RELIABILITY_BINS = 10
DEALS = 3
"""Deals into folds that a cross-fitted score is the mean of."""

SCORE_TITLES = {"brier": "Brier score", "calibration_error": "Calibration error"}
_SHARED = "temperature"  # what one label lacks, the others have

KINDS = ("before", "after", "gain")


@dataclass(frozen=True)
class Calibration:
    """How the scores of a run are calibrated, and what that gains.

    Attributes:
        method: Name of the method.
        label_names: The L labels.
        parameters: Of each label; {} leaves its scores as they are.
        scores: One row a label and score ("brier", "calibration_error"), then one for their mean (`label` is `MACRO`)
            a score: `before`, `after` (cross-fitted: on samples that the fit has not seen), `gain` (before - after;
            above 0 is better), each with `<name>_low` and `<name>_high` (95 %). NaN where undefined.
        notes: What a reader should know, a sentence each.
        predictions: Digest of the answers that it was fitted on (`medwb.validation.answers_digest`).
    """

    method: str
    label_names: tuple[str, ...]
    parameters: tuple[Parameters, ...]
    scores: pd.DataFrame
    notes: tuple[str, ...]
    predictions: str

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Calibrate scores.

        Args:
            scores: (N, L) in 0..1, as the run saves them; NaN stays NaN.

        Returns:
            float64 (N, L) in 0..1, in each label in the same order as before but for ties.

        Raises:
            RequestError: Another number of labels.
        """
        values = np.asarray(scores, np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.label_names):
            raise RequestError(
                f"scores are {values.shape}; the calibration is for (samples, {len(self.label_names)})"
            )
        return calibrated(self.parameters, values)

    def score(self, kind: str, score: str, label: str = MACRO) -> Score:
        """One figure with its interval: "before", "after" or "gain" of a score."""
        return find_score(self.scores, label, score, kind)

    def to_json(self) -> dict[str, Any]:
        """The documented JSON, without its digest."""
        facts: dict[str, Any] = nan_to_none(
            {
                "method": self.method,
                "split": SPLIT,
                "parameters": dict(zip(self.label_names, self.parameters, strict=True)),
                **scores_json(self.scores, self.label_names, KINDS),
                "notes": list(self.notes),
                "predictions": self.predictions,
            }
        )
        return facts


def cross_fit_calibration(
    answers: Validation, method: str = "temperature", *, deals: int = DEALS, draws: int = DRAWS
) -> Calibration:
    """Fit a calibration on validation, and estimate by cross-fitting what it gains on other samples.

    Intervals are of the cluster bootstrap over units and deals, with the calibrations as they were fitted. The
    expected calibration error of few samples is too large, before and after alike.

    Args:
        answers: What was answered on validation.
        method: A registered method.
        deals: Deals into folds.
        draws: Bootstrap replicates.

    Raises:
        RequestError: No such method.
    """
    entry = CALIBRATIONS.get(method)
    parameters = tuple(entry.fit(answers.y_true, answers.y_score))
    held = [answers.y_score, *(cross_calibrated(answers, method, deal) for deal in range(deals))]
    drawn, rows, notes = UnitDraws(answers.units, draws), [], tuple(_notes(answers, parameters, method))
    for name, measure in (("brier", _brier), ("calibration_error", _ece)):
        before, after = np.full((2, 1 + draws, len(answers.label_names)), np.nan)
        for label in range(len(answers.label_names)):
            scores = np.stack([values[:, label] for values in held], axis=1)
            found = measure(answers.y_true[:, label], scores, drawn)  # (1 + draws, 1 + deals)
            before[:, label], after[:, label] = found[:, 0], mean_over_seeds(found[:, 1:].T)
        mean = [average(values, "macro") for values in (before, after)]
        columns = (np.vstack([values.T, macro]) for values, macro in zip((before, after), mean, strict=True))
        for where, old, new in zip([*answers.label_names, MACRO], *columns, strict=True):
            rows.append(score_row(where, name, dict(zip(KINDS, (old, new, difference(old, new)), strict=True))))
    return Calibration(
        method,
        answers.label_names,
        parameters,
        pd.DataFrame(rows),
        notes,
        answers.digest,
    )


def cross_calibrated(answers: Validation, method: str, deal: int = 0) -> Floats:
    """Calibrated scores (N, L), each by a fit on folds that its sample is not in; `deal` is the seed of the folds."""
    fit, values = CALIBRATIONS.get(method).fit, answers.y_score.copy()
    fold = deal_folds(answers.y_true, answers.units, deal)
    for number in np.unique(fold):
        out = fold == number
        if not out.all():
            fitted = tuple(fit(answers.y_true[~out], answers.y_score[~out]))
            values[out] = calibrated(fitted, answers.y_score[out])
    return values


def save_calibration(run: Run, calibration: Calibration) -> None:
    """Keep a calibration as the one that a run is used with: `calibration.json`, replaced in one step.

    Raises:
        RequestError: The folder cannot be written to.
    """
    save_record(run, CALIBRATION_FILE, calibration.to_json())


def open_calibration(run: Run) -> Calibration | None:
    """The calibration that was saved for a run; None where there is none.

    Raises:
        RequestError: It is damaged, was changed by hand, or was fitted on other answers than the run has now.
    """
    way_out = f"medwb calibrate {run.id} --method temperature"
    facts = open_record(run, CALIBRATION_FILE, way_out)
    if facts is None:
        return None
    try:
        names = run.label_names
        parameters = tuple(_read_parameters(facts["parameters"][name]) for name in names)
        rows, notes = read_scores(facts, names, KINDS), tuple(str(note) for note in facts["notes"])
        return Calibration(str(facts["method"]), names, parameters, rows, notes, str(facts["predictions"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(
            f"run {run.id}: {CALIBRATION_FILE} is damaged ({error}); write it anew: `{way_out}`"
        ) from error


def remove_calibration(run: Run) -> bool:
    """Go back to scores as they are; False where nothing was saved. Raises RequestError where it cannot be."""
    return remove_record(run, CALIBRATION_FILE)


def reliability(
    y_true: npt.ArrayLike, y_score: npt.ArrayLike, units: npt.ArrayLike | None = None, bins: int = RELIABILITY_BINS
) -> pd.DataFrame:
    """What a reliability diagram shows: mean score and share of positives in bins of equally many samples.

    Equal scores stay in one bin, so that there may be fewer. The intervals are Wilson's ("Probable inference", JASA
    1927) with units counted instead of samples, which is at least as wide as it should be.

    Args:
        y_true: (N,): 1, 0 or NaN for unknown; unknown samples do not count.
        y_score: (N,) in 0..1.
        units: (N,): numbers of sampling units; None takes each sample for one.
        bins: At most so many.

    Returns:
        One row a bin, scores ascending: `low`, `high` (the least and the greatest score), `count`, `units`,
        `positives` (int), `score` (mean), `share` (of positives), `share_low`, `share_high` (95 %).
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    unit = np.arange(len(truth)) if units is None else np.asarray(units)
    known = np.flatnonzero(known_samples(truth))
    order = known[np.argsort(score[known], kind="stable")]
    truth, score, unit = truth[order], score[order], unit[order]
    wanted = np.arange(1, bins + 1) * len(score) // bins
    ends = np.unique(np.searchsorted(score, score[wanted[wanted > 0] - 1], side="right"))
    rows = []
    for start, end in zip(np.append(0, ends)[: len(ends)], ends, strict=True):
        part = slice(start, end)
        positives, members = int(truth[part].sum()), len(np.unique(unit[part]))
        share = positives / (end - start)
        low, high = wilson_interval(share * members, members)
        rows.append(
            {
                "low": score[start], "high": score[end - 1], "count": int(end - start), "units": members,
                "positives": positives, "score": float(score[part].mean()), "share": share,
                "share_low": float(low), "share_high": float(high),
            }
        )  # fmt: skip
    names = ["low", "high", "count", "units", "positives", "score", "share", "share_low", "share_high"]
    return pd.DataFrame(rows, columns=names)


def _brier(truth: Floats, scores: Floats, drawn: UnitDraws) -> Floats:
    """Mean squared error of scores (N, C): (1 + B, C)."""
    known = known_samples(truth)
    error = np.where(known[:, None], (scores - np.where(known, truth, 0)[:, None]) ** 2, 0)
    sums = drawn.sums(np.column_stack([known, error]))
    return _over(sums[:, 1:], sums[:, :1])


def _ece(truth: Floats, scores: Floats, drawn: UnitDraws) -> Floats:
    """Expected calibration error of scores (N, C) in 15 bins of equal width (Guo et al., ICML 2017): (1 + B, C).

    A bootstrap replicate scatters once more about its bins' means, and its error is greater than that of the samples
    by as much as theirs is too great. So replicates are moved to have the samples' error as their median.
    """
    known = known_samples(truth)
    rows = np.flatnonzero(known)
    found = []
    for column in scores.T:
        place = np.clip(np.ceil(column[rows] * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)  # (low, high]
        gaps = np.zeros((len(truth), ECE_BINS))
        gaps[rows, place] = truth[rows] - column[rows]
        found.append(np.abs(drawn.sums(gaps[:, np.unique(place)])).sum(axis=1))
    errors = _over(np.stack(found, axis=1), drawn.sums(known[:, None]))
    if len(rows):
        errors[1:] = np.maximum(0, errors[1:] - (np.nanmedian(errors[1:], axis=0) - errors[0]))
    return errors


def _over(sums: Floats, total: Floats) -> Floats:
    return np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)


def _notes(answers: Validation, parameters: tuple[Parameters, ...], method: str) -> Iterator[str]:
    for name, truth, score, fitted in zip(
        answers.label_names, answers.y_true.T, answers.y_score.T, parameters, strict=True
    ):
        known = known_samples(truth)
        positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
        if not fitted:
            lack = "positive" if not positives else "negative"
            yield f"{name}: no {lack} on validation to fit on, so its scores stay as they are"
            continue
        if not positives:
            yield f"{name}: no positive on validation; its scores are calibrated as those of the other labels"
        elif min(positives, negatives) < FOLDS and method != _SHARED:
            few = "positive" if positives < negatives else "negative"
            yield f"{name}: too few {few}s on validation to rely on what is fitted ({min(positives, negatives)})"
        if known.any() and np.ptp(score[known]) == 0:
            yield f"{name}: every score is the same, and so is every calibrated one"
        at = fitted.get("temperature", 1.0)
        if not 1.001 / WIDEST < at < WIDEST / 1.001:
            yield f"{name}: its temperature {at:.3g} is at the end of what is tried: the scores do not fit the labels"
    if any("temperature" in fitted for fitted in parameters):
        outside = int(((answers.y_score < CLIP) | (answers.y_score > 1 - CLIP)).sum())
        if outside:
            yield f"{outside:,} of {answers.y_score.size:,} scores are nearer to 0 or 1 than {CLIP:g} and are clipped"


def _read_parameters(record: Any) -> Parameters:
    if set(record) == {"temperature"} and float(record["temperature"]) > 0:
        return {"temperature": float(record["temperature"])}
    if set(record) == {"scores", "calibrated"} and len(record["scores"]) == len(record["calibrated"]) > 0:
        return {key: [float(value) for value in record[key]] for key in ("scores", "calibrated")}
    if record:
        raise ValueError(f"parameters {sorted(record)}")
    return {}
