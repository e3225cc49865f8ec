"""Shortcuts: properties of images, not of what they show, that alone predict a label."""

import posixpath
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset
from medwb.statistics import COVERAGE, Score, number_groups

FEWEST = 10
"""Positives, and negatives, that a label needs for a property to be judged by it."""

NOT_PROPERTIES = ("inverted", "outlyingness")  # of a frame among the others, and so of what it shows
MOST_CATEGORIES = 20  # of a property; with more it says nothing that could be acted on
SHORTCUT_COLUMNS = (
    "label", "property", "auc", "low", "high", "certain_low", "direction", "samples", "positive"
)  # fmt: skip

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


def shortcut_table(dataset: Dataset, frames: pd.DataFrame) -> pd.DataFrame:
    """How well each property of an image alone predicts each label.

    Properties are the numeric columns of `frames`, the height and width as found, and one yes-or-no property for each
    mode and each file extension ("mode=rgb8", "extension=.png"). Nothing is fitted, so nothing can be too good but by
    chance: `certain_low` allows for that, over all rows of the table and both directions (Bonferroni).

    Args:
        dataset: N samples.
        frames: N rows in the same order. Columns that are not numeric, and those that compare a frame with the others
            (`NOT_PROPERTIES`), are passed over. Infinite and missing values leave their sample out.

    Returns:
        One row a label and property, the strongest first. Constant properties, and labels with fewer than 10
        positives or negatives, are left out.

            label, property  str
            auc         float64, 0.5 to 1: area under the ROC curve, whichever way round
            low, high   float64: 95 % interval, with groups (patients) as the units
            certain_low float64: lower end of an interval that holds for all rows together
            direction   "higher" when the label goes with high values, else "lower"
            samples, positive  int64: with a known label and property, and with the label
    """
    labels = dataset.labels
    groups = dataset.samples["group"].to_numpy(object)
    units = number_groups(groups) if (groups != "").any() else None
    rows = []
    for name, values in _properties(dataset, frames):
        usable = np.isfinite(values)
        order = np.argsort(values, kind="stable")
        order = order[usable[order]]
        if not len(order) or values[order[0]] == values[order[-1]]:
            continue
        for label, column in zip(dataset.label_names, labels.T, strict=True):
            known = order[~np.isnan(column[order])]
            positive = column[known] == 1
            yes = int(positive.sum())
            if min(yes, len(known) - yes) < FEWEST or values[known[0]] == values[known[-1]]:
                continue
            figures = _area(values[known], positive, None if units is None else units[known])
            rows.append((label, name, *figures, len(known), yes))
    table = pd.DataFrame(rows, columns=["label", "property", "area", "error", "fewest", "samples", "positive"])
    area = table["area"].to_numpy(np.float64)
    table["auc"] = np.maximum(area, 1 - area)
    table["direction"] = np.where(area >= 0.5, "higher", "lower")
    error, fewest = table["error"].to_numpy(np.float64), table["fewest"].to_numpy(np.float64)
    auc = table["auc"].to_numpy(np.float64)
    table["low"], table["high"] = _interval(auc, error, fewest, COVERAGE)
    table["certain_low"] = _interval(auc, error, fewest, 1 - (1 - COVERAGE) / max(2 * len(table), 1))[0]
    table = table.astype({"label": object, "property": object, "samples": np.int64, "positive": np.int64})
    ordered = table.sort_values(["auc", "label", "property"], ascending=[False, True, True], ignore_index=True)
    return ordered[list(SHORTCUT_COLUMNS)]


def auc_interval(values: npt.ArrayLike, positive: npt.NDArray[np.bool_], units: Numbers | None = None) -> Score:
    """Area under the ROC curve with its 95 % interval; NaN without a positive or a negative.

    The variance is that of DeLong, DeLong and Clarke-Pearson (1988), and with units (patients) that of Obuchowski,
    "Nonparametric Analysis of Clustered ROC Curve Data" (1997); the interval is taken on the logit, so that it stays
    within 0 and 1. Where all pairs are in order the variance is 0 and says nothing: the bound is then Wilson's for as
    many right answers as there are units of the rarer answer.

    Args:
        values: (n,) finite, higher for positives.
        positive: bool (n,).
        units: int64 (n,): which samples are not independent; None when all are.
    """
    array = np.asarray(values, np.float64)
    if not positive.any() or positive.all():
        return Score(np.nan, np.nan, np.nan)
    order = np.argsort(array, kind="stable")
    area, error, fewest = _area(array[order], positive[order], None if units is None else units[order])
    low, high = _interval(np.array([area]), np.array([error]), np.array([fewest], np.float64), COVERAGE)
    return Score(area, float(low[0]), float(high[0]))


def _area(values: Floats, positive: npt.NDArray[np.bool_], units: Numbers | None) -> tuple[float, float, int]:
    """Area, its standard error and the units of the rarer answer, of values in rising order."""
    run = np.cumsum(np.append(False, values[1:] != values[:-1]))  # equal values share a run
    size = np.bincount(run)
    yes = np.bincount(run, weights=positive).astype(np.float64)
    no: Floats = size - yes
    total_yes, total_no = yes.sum(), no.sum()
    below = (np.cumsum(no) - no / 2) / total_no  # share of the negatives below a positive in this run
    above = (total_yes - np.cumsum(yes) + yes / 2) / total_yes
    area = float((yes * below).sum() / total_yes)
    if units is None:
        variance = _spread(yes, below - area) + _spread(no, above - area)
        return area, float(np.sqrt(variance)), int(min(total_yes, total_no))
    of = np.unique(units, return_inverse=True)[1].ravel()
    has_yes = np.bincount(of, weights=positive)
    has_no = np.bincount(of, weights=~positive)
    of_yes = np.bincount(of, weights=np.where(positive, (below - area)[run], 0)) / total_yes
    of_no = np.bincount(of, weights=np.where(positive, 0, (above - area)[run])) / total_no
    count_yes, count_no, count = int((has_yes > 0).sum()), int((has_no > 0).sum()), len(has_yes)
    variance = (
        count_yes / max(count_yes - 1, 1) * (of_yes**2).sum()
        + count_no / max(count_no - 1, 1) * (of_no**2).sum()
        + 2 * count / max(count - 1, 1) * (of_yes * of_no).sum()
    )
    return area, float(np.sqrt(max(variance, 0.0))), min(count_yes, count_no)


def _spread(weight: Floats, deviation: Floats) -> float:
    """Variance of a mean of weighted values whose deviations are given."""
    total = weight.sum()
    return float((weight * deviation**2).sum() / max(total - 1, 1) / total)


def _interval(area: Floats, error: Floats, fewest: Floats, coverage: float) -> tuple[Floats, Floats]:
    """Lower and upper ends, each (n,), of intervals of that coverage."""
    from scipy.special import expit, logit
    from scipy.stats import norm

    z = float(norm.ppf((1 + coverage) / 2))
    inner = np.clip(area, 1e-9, 1 - 1e-9)
    half = z * error / (inner * (1 - inner))
    low, high = expit(logit(inner) - half), expit(logit(inner) + half)
    bound = fewest / (fewest + z**2)
    flat = error <= 1e-9
    low = np.where(flat, np.minimum(area, bound * area), low)
    high = np.where(flat, np.maximum(area, 1 - bound * (1 - area)), high)
    return np.where(area >= 1 - 1e-9, np.minimum(low, bound), low), np.where(
        area <= 1e-9, np.maximum(high, 1 - bound), high
    )


def _properties(dataset: Dataset, frames: pd.DataFrame) -> Iterator[tuple[str, Floats]]:
    """Name and value (float64 (N,)) of each property."""
    for column in frames.columns:
        if column not in NOT_PROPERTIES and pd.api.types.is_numeric_dtype(frames[column]):
            yield str(column), frames[column].to_numpy(np.float64)
    samples = dataset.samples
    for column in ("height", "width"):
        if column not in frames.columns:
            yield column, samples[column].to_numpy(np.float64)
    suffixes = {path: posixpath.splitext(path)[1].lower() for path in samples["path"].unique()}
    for name, kind in (("mode", samples["mode"]), ("extension", samples["path"].map(suffixes))):
        counts = kind.value_counts()
        common = sorted(counts.index[counts >= FEWEST])
        if len(counts) >= 2 and len(common) <= MOST_CATEGORIES:
            both = len(counts) == 2 and len(common) == 2  # the second of two says what the first says
            for value in common[: 1 if both else None]:
                yield f"{name}={value or 'none'}", (kind == value).to_numpy(np.float64)
