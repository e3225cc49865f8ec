"""Thresholds from validation samples, and labels that get one answer."""

import numpy as np
import numpy.typing as npt

COLLAPSE_RANGE = 0.01  # scores of a label that span less than this share of their mean are one answer


def collapsed_labels(y_score: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Which labels, (L,), get the same answer for every image.

    Their scores span less than 1 % of their mean (or of one minus it): a rare label's scores may all be small and
    still tell images apart.
    """
    mean = y_score.mean(axis=0)
    return np.ptp(y_score, axis=0) <= COLLAPSE_RANGE * np.minimum(mean, 1 - mean) + 1e-7


def tune_thresholds(y_true: npt.ArrayLike, y_score: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The threshold of each label, (L,), that gives the best F1 on these samples; 0.5 where F1 is undefined.

    It lies halfway between two neighbouring scores, so that equal scores stay on one side. Use it on validation
    samples only: on the samples that it was tuned on, F1 is too good.
    """
    truth, score = np.asarray(y_true, np.float64), np.asarray(y_score, np.float64)
    thresholds = np.full(truth.shape[1], 0.5)
    for label in range(truth.shape[1]):
        known = ~np.isnan(truth[:, label])
        order = np.argsort(-score[known, label], kind="stable")
        ranked, hits = score[known, label][order], truth[known, label][order]
        if not hits.any():
            continue
        last = np.append(ranked[1:] < ranked[:-1], True)  # the last of a run of equal scores
        called = np.arange(1, len(hits) + 1)
        f1 = np.where(last, 2 * np.cumsum(hits) / (called + hits.sum()), -1)
        best = int(np.argmax(f1))
        below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
        thresholds[label] = (ranked[best] + below) / 2
    return thresholds
