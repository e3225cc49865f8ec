"""Quick model: out-of-fold answers to every label, in seconds, for the search for label errors.

The features are those of Coates, Ng and Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning"
(2011): small patches of a thumbnail, each with its mean removed and its contrast levelled, whitened and compared with
patterns that k-means found among them; how well each pattern fits, above a threshold, is averaged over 4 x 4 places
of the frame. One ridge regression on them answers all labels at once, and Platt scaling (1999) makes its answers
probabilities. On slices with small findings this finds what a linear model on pixels cannot, at a hundredth of the
price of a network.

All splits are learnt from together. That would be wrong for measuring a network, but this model is not measured: each
sample is judged by a model that has seen neither it, nor a copy of it, nor its patient, and that is all that an
audit needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medwb.audit.contradictions import contradicted
from medwb.audit.patches import Patches
from medwb.audit.sets import DuplicateSets
from medwb.audit.shortcuts import auc_interval
from medwb.audit.workers import workers
from medwb.dataset import Dataset
from medwb.progress import Progress, no_progress
from medwb.statistics import Score, number_groups

FOLDS = 5
TRAIN_MOST = 24_000
"""Samples that are learnt from. More make the 2,048 weights hardly better and cost as much as the features."""

PENALTIES = (0.1, 1.0, 10.0)  # of the ridge, in units of samples; each label takes its best
FEWEST = 5
"""Positives, and negatives, that a label needs in the training part of a fold; with fewer its scores are NaN."""

_CALIBRATED = 200_000  # samples that two numbers of the calibration are fitted to, at most
_BLOCK = 256  # frames a task

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class QuickModel:
    """Out-of-fold answers.

    Attributes:
        scores: float32 (N, L): probability of each label, in the order of the dataset's samples and labels. NaN where
            there was too little to learn from.
        auc: Area under the ROC curve of each label on the samples whose label is known, with its interval: how far
            its suspicions deserve trust. NaN where it is not defined.
        fold: int64 (N,): the fold of each sample, 0..4. No group and no set of copies stands in two, but for sets so
            large that they must be placeholders, which no fold learns from.
        trained_on: Samples that were learnt from, all folds together.
    """

    scores: Floats
    auc: dict[str, Score]
    fold: Numbers
    trained_on: int


def fit_quick_model(dataset: Dataset, copies: DuplicateSets, progress: Progress = no_progress) -> QuickModel:
    """Answer every label of every sample by a model that has not seen the sample, its copies or its group.

    Unknown labels neither pull up nor down: the regression takes them as the mean. Copies count once, and not at all
    for a label that they disagree on. The same dataset gives the same answers.

    Args:
        dataset: N samples with L labels; either may be 0.
        copies: Sets of copies among its samples.
        progress: Called as frames are worked through.
    """
    labels = dataset.labels
    fold = split_folds(dataset, copies)
    answers = _unanimous(labels, copies)
    scores = np.full(labels.shape, np.nan, np.float32)
    chosen = _choose(answers, copies)
    if len(chosen) == 0 or len(np.unique(fold[chosen])) < 2:
        return QuickModel(scores, dict.fromkeys(dataset.label_names, Score(np.nan, np.nan, np.nan)), fold, 0)
    chosen = chosen[np.argsort(fold[chosen], kind="stable")]  # each fold is then one slice of the features
    rest = np.ones(len(dataset), bool)
    rest[chosen] = False
    others = np.flatnonzero(rest)

    patches = Patches.learn(dataset, chosen)
    ridge, scores[chosen] = _learn(
        dataset, chosen, patches, answers, fold, lambda done, _: progress(done, len(dataset))
    )

    def answer(start: int, rows: Numbers) -> None:
        scores[rows] = ridge.answer(patches.describe(dataset, rows), fold[rows])

    _each_block(answer, others, lambda done, _: progress(len(chosen) + done, len(dataset)))
    auc = {}
    for label, name in enumerate(dataset.label_names):
        sure = ~np.isnan(answers[:, label]) & ~np.isnan(scores[:, label])
        positive, score = answers[sure, label] == 1, scores[sure, label]
        scores[:, label] = _calibrated(scores[:, label], score, positive)
        auc[name] = auc_interval(score, positive)
    return QuickModel(scores, auc, fold, len(chosen))


def _learn(
    dataset: Dataset, chosen: Numbers, patches: Patches, answers: Floats, fold: Numbers, progress: Progress
) -> tuple["_Ridge", Floats]:
    """Fit the regressions to the chosen samples; their features are let go on return."""
    features = np.empty((len(chosen), patches.width), np.float32)

    def describe(start: int, rows: Numbers) -> None:
        features[start : start + len(rows)] = patches.describe(dataset, rows)

    _each_block(describe, chosen, progress)
    return _Ridge.fit(features, answers[chosen], fold[chosen])


def split_folds(dataset: Dataset, copies: DuplicateSets) -> Numbers:
    """The fold of each sample, int64 (N,) in 0..4, seeded. Groups and sets of copies stay whole; see `QuickModel`."""
    if not len(dataset):
        return np.zeros(0, np.int64)
    keys = number_groups(dataset.samples["group"].to_numpy(object))
    tied = DuplicateSets(np.where(copies.placeholders, -1, copies.of))
    units = DuplicateSets.from_keys(keys).joined(DuplicateSets.from_keys(tied.units)).units
    _, units, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    fold_of = np.empty(len(sizes), np.int64)
    fold_of[order] = np.minimum(middle * FOLDS / len(units), FOLDS - 1).astype(np.int64)
    return fold_of[units.ravel()]


def _unanimous(labels: Floats, copies: DuplicateSets) -> Floats:
    """The labels, float32 (N, L), unknown where the copies of a sample disagree, and for placeholders."""
    disputed = np.vstack([contradicted(labels, copies), np.zeros((1, labels.shape[1]), bool)])
    return np.where(disputed[copies.of] | copies.placeholders[:, None], np.float32(np.nan), labels)


def _choose(answers: Floats, copies: DuplicateSets) -> Numbers:
    """Positions to learn from: one of each set of copies; when there are too many, rare answers first."""
    first = copies.of < 0
    first[copies.representatives] = True
    known = ~np.isnan(answers)
    usable = np.flatnonzero(first & known.any(axis=1))
    if len(usable) <= TRAIN_MOST:
        return usable
    rng = np.random.default_rng(1)
    usable = rng.permutation(usable)
    share = TRAIN_MOST // (4 * answers.shape[1])
    rare = [usable[answers[usable, label] == value][:share] for label in range(answers.shape[1]) for value in (0, 1)]
    wanted = np.zeros(len(answers), bool)
    wanted[np.concatenate(rare)] = True
    left = usable[~wanted[usable]]
    return np.sort(np.concatenate([np.flatnonzero(wanted), left[: TRAIN_MOST - int(wanted.sum())]]))


def _each_block(work: Callable[[int, Numbers], None], positions: Numbers, progress: Progress) -> None:
    """Call work(start, positions[start:...]) on blocks of positions, in threads."""

    def block(start: int) -> int:
        rows = positions[start : start + _BLOCK]
        work(start, rows)
        return start + len(rows)

    with workers() as pool:
        for done in pool.map(block, range(0, len(positions), _BLOCK)):
            progress(done, len(positions))


@dataclass(frozen=True)
class _Ridge:
    """A ridge regression a fold.

    Attributes:
        mean, scale: float32 (width,): what features are standardised with.
        weights: float32 (FOLDS, width, L); NaN where a fold has too little of an answer.
        offset: float32 (L,).
    """

    mean: Floats
    scale: Floats
    weights: Floats
    offset: Floats

    @staticmethod
    def fit(features: Floats, answers: Floats, fold: Numbers) -> tuple["_Ridge", Floats]:
        """Fit, and answer the samples themselves out of fold: float32 (n, L). `features` is standardised in place."""
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        features -= mean
        scale = np.sqrt(np.einsum("nd,nd->d", features, features) / len(features))
        scale = 1 / np.maximum(scale, max(1e-3 * float(scale.max()), 1e-6))
        features *= scale
        known = ~np.isnan(answers)
        offset = (np.nansum(answers, axis=0) / np.maximum(known.sum(axis=0), 1)).astype(np.float32)
        target = np.where(known, answers - offset, np.float32(0))
        parts = [slice(a, b) for a, b in pairwise(np.searchsorted(fold, np.arange(FOLDS + 1)))]
        poor = [~_enough(answers, part) for part in parts]
        with workers() as pool:
            if len(features) < features.shape[1]:
                found = pool.map(
                    lambda part: _solve_few(np.delete(features, part, 0), np.delete(target, part, 0), len(features)),
                    parts,
                )
            else:
                products = list(pool.map(lambda part: features[part].T @ features[part], parts))
                moments = [features[part].T @ target[part] for part in parts]
                product, moment = sum(products), sum(moments)
                found = pool.map(
                    lambda own, part: _solve(product - own, moment - part, len(features)), products, moments
                )
            weights = np.stack(
                [np.where(none, np.float32(np.nan), w) for none, w in zip(poor, found, strict=True)], 1
            )
        raw = np.concatenate([features[part] @ weights[:, number] for number, part in enumerate(parts)], axis=1)
        every = np.arange(answers.shape[1])
        best = np.array(
            [_most_like(raw[:, known[:, label], label], target[known[:, label], label]) for label in every]
        )
        return _Ridge(mean, scale, weights[best, :, :, every].transpose(1, 2, 0), offset), raw[
            best, :, every
        ].T + offset

    def answer(self, features: Floats, fold: Numbers) -> Floats:
        """Answers for other samples, float32 (n, L), each by the model of its fold."""
        features = (features - self.mean) * self.scale
        answers = np.empty((len(features), len(self.offset)), np.float32)
        for number in range(FOLDS):
            mine = fold == number
            if mine.any():
                answers[mine] = features[mine] @ self.weights[number]
        return answers + self.offset


def _enough(answers: Floats, part: slice) -> npt.NDArray[np.bool_]:
    """Labels, bool (L,), of which enough of both answers are known outside this part."""
    counts = [(answers == value).sum(axis=0) - (answers[part] == value).sum(axis=0) for value in (0, 1)]
    return np.minimum(*counts) >= FEWEST


def _solve(gram: Floats, moment: Floats, samples: int) -> Floats:
    """Weights, float32 (PENALTIES, width, L), for features' products (width, width) and theirs with the answers.

    `gram` is overwritten.
    """
    from scipy.linalg import cho_factor, cho_solve

    weights = []
    for below, penalty in pairwise((0.0, *PENALTIES)):
        gram.flat[:: len(gram) + 1] += (penalty - below) * samples
        factor = cho_factor(gram.T, lower=True, check_finite=False)
        weights.append(cho_solve(factor, moment, check_finite=False))
    return np.stack(weights)


def _solve_few(features: Floats, target: Floats, samples: int) -> Floats:
    """The same from features (n, width) and answers (n, L) by the dual, which is quicker when n < width."""
    kernel = features @ features.T
    return np.einsum("nd,pnl->pdl", features, _solve(kernel, target, samples), optimize=True)


def _most_like(choices: Floats, target: Floats) -> int:
    """Which row of `choices` (C, n) goes with `target` (n,) best; correlation, since calibration sets the scale."""
    usable = ~np.isnan(choices[0])
    if not usable.any():
        return 0
    rows = choices[:, usable] - choices[:, usable].mean(axis=1, keepdims=True)
    return int(np.argmax(rows @ target[usable] / (np.linalg.norm(rows, axis=1) + 1e-12)))


def _calibrated(scores: Floats, sure: Floats, positive: npt.NDArray[np.bool_]) -> Floats:
    """Platt scaling of `scores` (N,), fitted to the scores `sure` (n,) of known answers; never turned round."""
    from scipy.optimize import minimize
    from scipy.special import expit

    if not len(sure):
        return np.full_like(scores, np.nan)
    step = -(-len(sure) // _CALIBRATED)
    sure, positive = sure[::step].astype(np.float64), positive[::step]
    yes, no = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (yes + 1) / (yes + 2), 1 / (no + 2))  # Platt's, so that clear cases stay finite
    centre, width = sure.mean(), max(float(sure.std()), 1e-9)
    points = (sure - centre) / width

    def loss(line: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logit = line[0] * points + line[1]
        error = expit(logit) - target
        return float((np.logaddexp(0, logit) - target * logit).mean()), np.array(
            [(error * points).mean(), error.mean()]
        )

    slope, shift = minimize(loss, (1.0, 0.0), jac=True, bounds=((0, None), (None, None)), method="L-BFGS-B").x
    return np.asarray(expit(slope * (scores.astype(np.float64) - centre) / width + shift), np.float32)
