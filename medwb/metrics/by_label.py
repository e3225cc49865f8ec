"""Metrics of each label, float64 (B, L). scikit-learn computes the same but for what is undefined, which is NaN here.

A label without a positive has no F1, precision, recall or average precision; one without a negative no specificity;
one without both no ROC AUC or Matthews correlation; one without a known sample has nothing.
"""

import numpy as np

from medwb.metrics.answers import Floats
from medwb.metrics.entry import metric
from medwb.metrics.tally import Tally


@metric("f1", title="F1")
def f1(tally: Tally) -> Floats:
    """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall."""
    return np.where(tally.positives > 0, 2 * tally.tp / (2 * tally.tp + tally.fp + tally.fn), np.nan)


@metric("average_precision", title="Average precision", needs_threshold=False)
def average_precision(tally: Tally) -> Floats:
    """Sum of precision at each score times the recall it adds; the area under a precision-recall curve of steps."""
    return tally.precision_at_hits / tally.positives


@metric("roc_auc", title="ROC AUC", needs_threshold=False)
def roc_auc(tally: Tally) -> Floats:
    """Chance that a positive scores above a negative, ties one half."""
    return tally.ordered_pairs / (tally.positives * tally.negatives)


@metric("accuracy", title="Accuracy")
def accuracy(tally: Tally) -> Floats:
    """Share of right answers."""
    return (tally.tp + tally.tn) / (tally.positives + tally.negatives)


@metric("precision", title="Precision")
def precision(tally: Tally) -> Floats:
    """TP / (TP + FP), share of the called that are positive; 0 where there are positives and none is called."""
    called = tally.tp + tally.fp
    values = np.where(called > 0, tally.tp / called, 0)
    return np.where(tally.positives > 0, values, np.nan)


@metric("recall", title="Recall")
def recall(tally: Tally) -> Floats:
    """TP / (TP + FN), share of the positives that are called: sensitivity."""
    return tally.tp / tally.positives


@metric("specificity", title="Specificity")
def specificity(tally: Tally) -> Floats:
    """TN / (TN + FP), share of the negatives that are not called."""
    return tally.tn / tally.negatives


@metric("mcc", title="MCC")
def mcc(tally: Tally) -> Floats:
    """Matthews correlation of answers and truth, -1 to 1; 0 where all answers are the same."""
    called, rest = tally.tp + tally.fp, tally.fn + tally.tn
    # Of square roots, since a product of four counts of a large split may be more than a double holds exactly.
    spread = np.sqrt(called) * np.sqrt(rest) * np.sqrt(tally.positives) * np.sqrt(tally.negatives)
    values = np.where(called * rest > 0, (tally.tp * tally.tn - tally.fp * tally.fn) / spread, 0)
    values = np.clip(values, -1, 1)  # roots are rounded
    return np.where(tally.positives * tally.negatives > 0, values, np.nan)


@metric("brier", title="Brier score", better="lower", needs_threshold=False)
def brier(tally: Tally) -> Floats:
    """Mean of (score - truth)^2 (Brier, Monthly Weather Review 78, 1950)."""
    return tally.squared_errors / (tally.positives + tally.negatives)


@metric("calibration_error", title="Calibration error", better="lower", needs_threshold=False)
def calibration_error(tally: Tally) -> Floats:
    """Expected calibration error: mean gap between mean score and share of positives over 15 bins of equal width.

    The bins hold the scores in (k/15, (k+1)/15], 0 in the first, and count by their samples (Guo et al., "On
    calibration of modern neural networks", ICML 2017, there for the probability of the predicted class).
    """
    return tally.miscalibration / (tally.positives + tally.negatives)
