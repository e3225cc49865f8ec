"""Keeping one threshold that somebody chose by hand beside the others of a run."""

import math
from dataclasses import replace

import numpy as np

from medwb.errors import RequestError, unknown_name
from medwb.runs import Run
from medwb.threshold_rules import FIXED
from medwb.thresholds import Thresholds, cross_fit_thresholds, open_thresholds, save_thresholds
from medwb.validation import MACRO, validation_of


def keep_threshold(run: Run, label: str, threshold: float) -> Thresholds:
    """Use a run with this threshold for one label from now on; its other labels keep theirs.

    A threshold that was chosen while looking at validation cannot be cross-fitted, so that the scores of the label,
    and the means over labels, are no longer known; a note says so.

    Args:
        run: A run with answers on validation.
        label: One of its labels.
        threshold: 0..1.

    Returns:
        What was saved.

    Raises:
        RequestError: No such label, the threshold is outside 0..1, or the run's folder cannot be written to.
    """
    if label not in run.label_names:
        raise unknown_name(f"label of run {run.id}", label, run.label_names)
    if not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise RequestError(f"threshold {label}={threshold!r} is outside 0..1, where scores lie; choose one inside")
    base = open_thresholds(run) or cross_fit_thresholds(validation_of(run))
    place = run.label_names.index(label)
    values, rules = base.values.copy(), list(base.rules)
    values[place], rules[place] = threshold, FIXED
    scores = base.scores.copy()
    figures = scores.columns.difference(["label", "score"])
    scores.loc[scores["label"].isin([label, MACRO]), figures] = np.nan
    notes = [note for note in base.notes if not note.startswith(f"{label}: ")]
    notes.append(f"{label}: set to {threshold:g} by hand, so it cannot be cross-fitted, nor can means over labels")
    kept = replace(base, values=values, rules=tuple(rules), scores=scores, notes=tuple(notes))
    save_thresholds(run, kept)
    return kept
