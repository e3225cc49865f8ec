"""Metrics of all labels together, float64 (B,): averages over labels, and means over samples of their label sets.

Means over samples take each sample's known labels, and leave out samples without one. NaN where nothing is defined.
"""

import numpy as np

from medwb.metrics.answers import Answers, Floats, sample_value
from medwb.metrics.by_label import f1
from medwb.metrics.entry import average, metric
from medwb.metrics.tally import Tally


@metric("macro_f1", title="Macro F1", kind="set")
def macro_f1(tally: Tally) -> Floats:
    """Mean F1 of the labels that have a positive."""
    return average(f1(tally), "macro")


@metric("weighted_f1", title="Weighted F1", kind="set")
def weighted_f1(tally: Tally) -> Floats:
    """Mean F1 of the labels, each weighted by its positives."""
    return average(f1(tally), "weighted", tally.positives)


@metric("micro_f1", title="Micro F1", kind="set")
def micro_f1(tally: Tally) -> Floats:
    """F1 of the counts of all labels together; undefined without any positive."""
    tp, fp, fn = (counts.sum(1) for counts in (tally.tp, tally.fp, tally.fn))
    return np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)


@sample_value
def _f1_of_samples(answers: Answers) -> Floats:
    called = answers.called & answers.known
    positive = answers.y_true == 1
    both, either = (called & positive).sum(1), called.sum(1) + positive.sum(1)
    return np.where(either > 0, 2 * both / np.maximum(either, 1), 1)


@metric("samples_f1", title="Samples F1", kind="set")
def samples_f1(tally: Tally) -> Floats:
    """Mean over samples of the F1 of their label sets; 1 where nothing is positive and nothing is called."""
    return tally.mean_over_samples(_f1_of_samples)


@sample_value
def _all_right(answers: Answers) -> Floats:
    right = (answers.called == (answers.y_true == 1)) | ~answers.known
    return right.all(1).astype(np.float64)


@metric("exact_match", title="Exact match", kind="set")
def exact_match(tally: Tally) -> Floats:
    """Share of samples whose known labels are all right: subset accuracy."""
    return tally.mean_over_samples(_all_right)


@sample_value
def _share_wrong(answers: Answers) -> Floats:
    wrong = (answers.called != (answers.y_true == 1)) & answers.known
    return wrong.sum(1) / np.maximum(answers.known.sum(1), 1)


@metric("hamming_loss", title="Hamming loss", kind="set", better="lower")
def hamming_loss(tally: Tally) -> Floats:
    """Mean over samples of the share of their known labels that is wrong."""
    return tally.mean_over_samples(_share_wrong)


@sample_value
def _share_of_pairs_wrong(answers: Answers) -> Floats:
    positive, negative = answers.y_true == 1, answers.y_true == 0
    wrong = np.zeros(len(positive))
    for label in range(answers.labels):  # a label at a time, so that memory stays that of the scores
        reached = (answers.y_score >= answers.y_score[:, label : label + 1]) & negative
        wrong += positive[:, label] * reached.sum(1)
    pairs = positive.sum(1) * negative.sum(1)
    return np.where(pairs > 0, wrong / np.maximum(pairs, 1), 0)


@metric("ranking_loss", title="Ranking loss", kind="set", better="lower", needs_threshold=False)
def ranking_loss(tally: Tally) -> Floats:
    """Mean over samples of the share of pairs of a positive and a negative label that score in the wrong order.

    Ties are wrong, and samples without both have a loss of 0, as in scikit-learn (Tsoumakas, Katakis and Vlahavas,
    "Mining multi-label data", 2010).
    """
    return tally.mean_over_samples(_share_of_pairs_wrong)
