"""Runs whose true scores are known: labels and scores from a latent model, for `coverage.py`.

Samples come in pairs (patients with two scans), alike in labels and in how hard they are. A label is a latent normal
above a limit; a run's score of a sample is `skill` where the label is true, plus noise that it shares with all runs
(what is hard for one is hard for all) and noise of its own. Each seed has its own skill. A score of the population
then is an integral over one normal.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]

PREVALENCE = np.array([0.5, 0.3, 0.1])
LIMITS = np.array([1.0, 1.25, 1.75])
"""A label is called where the latent score is at least this: about where F1 is best."""
SKILL = 2.0
PER_UNIT = 2
LABELS_ALIKE = 0.5  # share of a label's variance that the scans of a patient share
SHARED = (0.3, 0.4)  # of the noise: of the patient, and of the scan, both alike for all runs


@dataclass(frozen=True)
class Drawn:
    """Data sets that were drawn.

    Attributes:
        truth: bool (trials, n, L).
        latent: float32 (trials, rows, seeds, n, L): latent scores, called where at least `LIMITS`.
        skill: float64 (trials, rows, seeds): how far each run tells positives from negatives.
        units: int64 (n,).
    """

    truth: npt.NDArray[np.bool_]
    latent: npt.NDArray[np.float32]
    skill: Floats
    units: npt.NDArray[np.int64]


def draw(rng: np.random.Generator, trials: int, n: int, rows: Floats, seeds: int, scatter: float) -> Drawn:
    """Draw data sets.

    Args:
        rng: Where numbers come from.
        trials: How many.
        n: Samples of each; even.
        rows: (R,) mean skill of each row.
        seeds: Runs a row.
        scatter: Standard deviation of the skill of a row's seeds.
    """
    labels, units = len(PREVALENCE), n // PER_UNIT

    def normal(*shape: int) -> npt.NDArray[np.float32]:
        return rng.standard_normal((trials, *shape, labels), dtype=np.float32)

    def of_units() -> npt.NDArray[np.float32]:
        return np.repeat(normal(units), PER_UNIT, axis=-2)

    latent_label = np.sqrt(LABELS_ALIKE) * of_units() + np.sqrt(1 - LABELS_ALIKE) * normal(n)
    truth = latent_label < ndtri(PREVALENCE)
    shared = np.sqrt(SHARED[0]) * of_units() + np.sqrt(SHARED[1]) * normal(n)
    own = np.float32(np.sqrt(1 - sum(SHARED))) * normal(len(rows), seeds, n)
    skill = rows[None, :, None] + scatter * rng.standard_normal((trials, len(rows), seeds))
    latent = own + shared[:, None, None] + (skill[..., None, None] * truth[:, None, None]).astype(np.float32)
    return Drawn(truth, latent.astype(np.float32), skill, np.repeat(np.arange(units), PER_UNIT))


def true_scores(skill: Floats) -> dict[str, Floats]:
    """What runs of these skills (...) score in the population: F1, AUC and average precision, each (..., L)."""
    d = np.asarray(skill, np.float64)[..., None]
    hit, false = ndtr(d - LIMITS), ndtr(-LIMITS)
    positives = PREVALENCE * hit
    f1 = 2 * positives / (positives + (1 - PREVALENCE) * false + PREVALENCE)
    auc = np.broadcast_to(ndtr(d / np.sqrt(2)), f1.shape)
    recall = (np.arange(2000) + 0.5) / 2000
    at = d[..., None] + ndtri(1 - recall)  # the limit that gives this recall
    called = PREVALENCE[:, None] * recall
    precision = called / (called + (1 - PREVALENCE)[:, None] * ndtr(-at))
    return {"f1": f1, "roc_auc": auc, "average_precision": precision.mean(-1)}


def expected_scores(mean: float, scatter: float) -> dict[str, Floats]:
    """The mean of `true_scores` over all seeds of a row, (L,)."""
    points, weights = np.polynomial.hermite_e.hermegauss(21)
    found = true_scores(mean + scatter * points)
    return {name: weights @ values / weights.sum() for name, values in found.items()}


def unit_counts(drawn: Drawn) -> npt.NDArray[np.float32]:
    """Of each unit: samples that are called and true, called, true; float32 (units, trials, rows, seeds, L, 3)."""
    called = drawn.latent >= LIMITS.astype(np.float32)
    true = np.broadcast_to(drawn.truth[:, None, None], called.shape)
    of_samples = np.stack([called & true, called, true], axis=-1)
    trials, rows, seeds, n, labels, kinds = of_samples.shape
    summed = of_samples.reshape(trials, rows, seeds, n // PER_UNIT, PER_UNIT, labels, kinds).sum(4, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(summed, 3, 0))
