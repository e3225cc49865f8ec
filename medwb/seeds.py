"""Mean scores over few seeds: intervals and differences that cover what other samples and other seeds would give."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.statistics import COVERAGE, p_value


class Seeds(NamedTuple):
    """What seeds add to the variance of a row's mean score.

    Attributes:
        added: Variance of the mean that is due to its few seeds, beyond what other samples would change.
        estimate: The variance of the mean that `added` was made from, with what samples add to it.
        degrees: Degrees of freedom of `estimate`; 0 where seeds are not covered.
    """

    added: float
    estimate: float
    degrees: float


class Difference(NamedTuple):
    """How much better one row is than another.

    Attributes:
        value: The difference of the mean scores.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p-value of there being none.
        seed_share: How much of its variance is due to seeds, 0..1.
    """

    value: float
    low: float
    high: float
    p: float
    seed_share: float


def mean_score(
    scores: npt.NDArray[np.float64],
    units: int,
    bounds: tuple[float | npt.NDArray[np.float64], float | npt.NDArray[np.float64]] = (0.0, 1.0),
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean score of runs that differ by seed alone, with a 95 % interval over samples and seeds.

    The standard interval with the bootstrap's standard error (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 12), taken on the logit, so that it is longer towards the middle and no end lies outside
    of the bounds; of the ways that were simulated, it was nearest to 95 % for few samples and rare labels. The
    variance of the runs' scores, over their number, is added, with Satterthwaite's degrees of freedom ("An
    approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946); that the runs err on
    different samples is in both, so that it is rather too wide than too narrow. One seed adds nothing: the interval
    then covers other samples alone. `benchmarks/coverage.py` measures how often it holds the truth.

    Args:
        scores: float (runs, B, ...): each run's score on the samples as they are, then in each bootstrap replicate.
        units: What was drawn: patients, or samples.
        bounds: Lowest and highest value that the score can take, each a number or float (...).

    Returns:
        Value, low and high, each float64 (...); NaN where the score is undefined.
    """
    from scipy.special import expit, logit

    runs, (lowest, highest) = len(scores), bounds
    mean = (scores.mean(axis=0) - lowest) / (highest - lowest)
    value, samples = np.clip(mean[0], 1e-9, 1 - 1e-9), _variance(mean[1:])
    seeds = np.zeros_like(samples)
    if runs > 1:
        seeds = scores[:, 0].var(axis=0, ddof=1) / runs / (highest - lowest) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = samples**2 / max(units - 1, 1) + seeds**2 / max(runs - 1, 1)
        half = _t_quantile((samples + seeds) ** 2 / parts) * np.sqrt(samples + seeds) / (value * (1 - value))
        low, high = expit(logit(value) - half), expit(logit(value) + half)
    sure = samples + seeds < 1e-18  # the same whatever is drawn, but for rounding
    ends = (lowest + (highest - lowest) * np.where(sure, mean[0], end) for end in (low, high))
    return scores[:, 0].mean(axis=0), *ends


def seed_variance(scores: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How much the scores of runs scatter, and how much of it the samples alone make.

    Args:
        scores: float (runs, B, ...), two runs or more: on the samples as they are, then in each replicate.

    Returns:
        Two float64 (...): variance of the runs' scores, and what it would be if their seeds did not matter and they
        merely erred on different samples.
    """
    moved = scores[:, 1:] - scores[:, :1]
    moved = moved - moved.mean(axis=0)
    within = _mean((moved**2).sum(axis=0)) / (len(scores) - 1)
    return scores[:, 0].var(axis=0, ddof=1), within


def seed_components(rows: Sequence[npt.NDArray[np.float64]], fixed: Sequence[bool]) -> tuple[list[Seeds], float]:
    """What seeds add to each of the rows of a table, each learning from the others how much seeds scatter.

    Two or three seeds say little of a row's scatter. As the rows' scatter is alike, more or less, each estimate is
    drawn up to what they have in common, the more the more alike they are: after the moderated variances of Smyth,
    "Linear models and empirical Bayes methods for assessing differential expression" (2004). A row with one seed
    takes what the others have in common.

    Args:
        rows: Each float (runs, B): the scores of a row's runs, on the samples as they are, then in each replicate.
        fixed: Whether a row's score does not depend on a seed at all.

    Returns:
        One `Seeds` a row, and the degrees of freedom of all rows' seeds together.
    """
    several = [number for number, scores in enumerate(rows) if len(scores) > 1]
    found = {number: seed_variance(rows[number]) for number in several}
    several = [number for number in several if np.isfinite(found[number]).all()]
    runs = np.array([len(scores) for scores in rows])
    pooled = float((runs[several] - 1).sum())
    observed = np.array([float(found[number][0]) for number in several])
    variance, degrees, common, prior = moderated(observed, (runs[several] - 1).astype(np.float64))
    usual = float(np.mean([found[number][1] for number in several])) if several else 0.0
    seeds = []
    for number, count in enumerate(runs.tolist()):
        if number in several:
            place = several.index(number)
            spread, within, freedom = float(variance[place]), float(found[number][1]), float(degrees[place])
        elif not fixed[number] and prior:
            spread, within, freedom = common, usual, prior
        else:
            spread, within, freedom = 0.0, 0.0, 0.0
        seeds.append(Seeds(max(spread - within, 0.0) / count, spread / count, freedom))
    return seeds, pooled


def moderated(
    variance: npt.NDArray[np.float64], degrees: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float, float]:
    """Variances that learn from one another (Smyth 2004, section 6.2), upwards only.

    Smyth draws large ones down as well. Where rows scatter very differently, that would make differences of the
    unsteady ones; so here a variance above what is common stays, with its own degrees of freedom.

    Args:
        variance: (M,), each from normal values.
        degrees: (M,): their degrees of freedom.

    Returns:
        The variances, their degrees of freedom (at most those of all together), the variance that they have in
        common and its degrees of freedom; 0 for fewer than two.
    """
    if len(variance) < 2 or not variance.any():
        return variance, degrees, 0.0, 0.0
    from scipy.special import digamma, polygamma

    floored = np.maximum(variance, 1e-5 * np.median(variance[variance > 0]))
    logs = np.log(floored) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, degrees / 2).mean())
    pooled = float(degrees.sum())
    if excess > 0:
        halves = np.exp(np.linspace(np.log(1e-2), np.log(1e4), 2000))  # trigamma falls from 1e4 to 1e-4
        half = float(np.interp(-excess, -polygamma(1, halves), halves))
        prior, common = min(2 * half, pooled), float(np.exp(logs.mean() + digamma(half) - np.log(half)))
    else:
        prior, common = pooled, float((variance * degrees).sum() / pooled)
    drawn = (prior * common + degrees * variance) / (prior + degrees)
    raised = drawn > variance
    return (
        np.where(raised, drawn, variance),
        np.where(raised, np.minimum(prior + degrees, pooled), degrees),
        common,
        prior,
    )


def mean_difference(
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    units: int,
    seeds: tuple[Seeds, Seeds],
    pooled: float,
) -> Difference:
    """How much better one row is than another, with a 95 % interval over samples and seeds, and a p-value.

    Samples are paired: the difference is taken inside each replicate. Seeds are not: that two networks were given the
    number 0 says nothing. Student's t with the bootstrap's standard error and Satterthwaite's degrees of freedom, so
    that interval and p-value agree and p-values can be small enough for a large family.

    Args:
        a: float (B,): mean score over the seeds, on the samples as they are, then in each replicate.
        b: float (B,): the same of the other, from the same replicates.
        units: What was drawn: patients, or samples.
        seeds: What seeds add to each of them (`seed_components`).
        pooled: Degrees of freedom of all rows' seeds together.
    """
    difference = a - b
    value, replicates = float(difference[0]), difference[1:]
    samples, added = float(_variance(replicates)), sum(one.added for one in seeds)
    if np.isnan(value) or np.isnan(samples):
        return Difference(value, np.nan, np.nan, np.nan, np.nan)
    variance = samples + added
    if variance <= 0:  # the same difference whatever is drawn
        return Difference(value, value, value, p_value(replicates), 0.0)
    parts = samples**2 / max(units - 1, 1)
    if added > 0:
        counted = [one for one in seeds if one.added > 0]
        estimate = sum(one.estimate for one in counted)
        spread = sum(one.estimate**2 / one.degrees for one in counted)
        parts += max(spread, estimate**2 / max(pooled, 1))
    from scipy.special import stdtr

    degrees, error = variance**2 / parts, float(np.sqrt(variance))
    half = float(_t_quantile(np.array(degrees))) * error
    p = 2 * float(stdtr(degrees, -abs(value) / error))
    return Difference(value, value - half, value + half, p, added / variance)


def _t_quantile(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Upper 2.5 % point of Student's t; with less than one degree of freedom that of one."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(degrees, 1.0), (1 + COVERAGE) / 2), np.float64)


def _mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the first axis of what is defined; NaN for nothing."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def _variance(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Variance over the first axis of what is defined; NaN for nothing."""
    return _mean((values - _mean(values)) ** 2)
