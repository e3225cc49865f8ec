"""Label facts: how often labels occur, alone, together and in each split."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset
from medwb.statistics import COVERAGE, holm, number_groups, wilson_interval

CERTAIN = 1 - COVERAGE
"""Adjusted p-values below this count as found."""

NEARLY = 0.05
"""A relation of two labels holds when it is broken at most this often, of what independent labels would break it."""

EXPECTED = 5.0
"""Fewest expected breaks at which their absence means something, and fewest for the chi-squared approximation."""

Floats = npt.NDArray[np.float64]


def prevalence_table(dataset: Dataset) -> pd.DataFrame:
    """How often each label is positive, in each split and in all of them.

    Returns:
        One row a label and split, the split "all" first:

            label, split  str
            samples, positive, negative, unknown  int64
            unknown_share float64 0..1
            prevalence    float64 0..1: positives of those known; NaN where none is
            low, high     float64: 95 % interval (Wilson 1927); samples are taken as independent
            imbalance     float64 >= 1: the commoner answer over the rarer; inf where only one occurs, NaN without any
    """
    parts = [("all", dataset.labels), *((split, dataset.split(split).labels) for split in dataset.splits)]
    rows = [
        (label, split, len(column), int((column == 1).sum()), int((column == 0).sum()))
        for index, label in enumerate(dataset.label_names)
        for split, labels in parts
        for column in [labels[:, index]]
    ]
    table = _table(rows, {"label": object, "split": object, "samples": int, "positive": int, "negative": int})
    positive, negative = table["positive"].to_numpy(np.float64), table["negative"].to_numpy(np.float64)
    known = positive + negative
    table["unknown"] = table["samples"] - table["positive"] - table["negative"]
    table["unknown_share"] = _ratio(table["unknown"].to_numpy(np.float64), table["samples"].to_numpy(np.float64))
    table["prevalence"] = _ratio(positive, known)
    table["low"], table["high"] = wilson_interval(positive, known)
    rarer, commoner = np.minimum(positive, negative), np.maximum(positive, negative)
    table["imbalance"] = np.where(commoner > 0, _ratio(commoner, rarer, np.inf), np.nan)
    return table


def pair_table(dataset: Dataset) -> pd.DataFrame:
    """How each two labels go together, among the samples that know both.

    Returns:
        One row an ordered pair of labels:

            a, b        str
            samples     int64: that know both
            count_a, count_b, together  int64: positives of a, of b, of both
            expected    float64: of `together`, were the labels independent
            p_b_given_a float64 0..1: share of the positives of a that are positives of b; NaN without a
            lift        float64: together / expected; NaN where nothing is expected
            p_value     float64: that the labels are independent; chi-squared, or Fisher's exact test where a cell
                        expects fewer than 5; NaN where a label is constant
            p_adjusted  float64: the same, adjusted over all pairs (Holm 1979)
            relation    str: "implies" (a positive of a is one of b), "excludes" (never together), or "". It holds
                        when independent labels would break it at least 5 times, it is broken at most 5 % as often,
                        and the adjusted p-value is below 0.05
            broken      int64: samples that break the relation; 0 without one
    """
    names = dataset.label_names
    positive, negative = (dataset.labels == 1).astype(np.float32), (dataset.labels == 0).astype(np.float32)
    cells = [
        _products(one, other) for one, other in ((positive, positive), (positive, negative), (negative, negative))
    ]
    both, only, neither = cells
    p_of: dict[tuple[int, int], float] = {
        (a, b): _independence(both[a, b], only[a, b], only[b, a], neither[a, b])
        for a, b in combinations(range(len(names)), 2)
    }
    adjusted = dict(zip(p_of, holm(p_of.values()), strict=True))
    rows = []
    for a in range(len(names)):
        for b in range(len(names)):
            if a == b:
                continue
            pair = (min(a, b), max(a, b))
            together, count_a, count_b = both[a, b], both[a, b] + only[a, b], both[a, b] + only[b, a]
            samples = count_a + only[b, a] + neither[a, b]
            expected = count_a * count_b / samples if samples else 0.0
            relation, broken = "", 0.0
            if adjusted[pair] < CERTAIN:
                for name, breaks, by_chance in (
                    ("implies", only[a, b], count_a - expected),
                    ("excludes", together, expected),
                ):
                    if by_chance >= EXPECTED and breaks <= NEARLY * by_chance:
                        relation, broken = name, breaks
            given_a = together / count_a if count_a else np.nan
            lift = together / expected if expected else np.nan
            counts = (samples, count_a, count_b, together, expected)
            rows.append((names[a], names[b], *counts, given_a, lift, p_of[pair], adjusted[pair], relation, broken))
    kinds = {"a": object, "b": object, "samples": int, "count_a": int, "count_b": int, "together": int}
    kinds |= dict.fromkeys(("expected", "p_b_given_a", "lift", "p_value", "p_adjusted"), float)
    return _table(rows, kinds | {"relation": object, "broken": int})


def combination_table(dataset: Dataset) -> pd.DataFrame:
    """Which labels occur together in one sample, among the samples that know all of them.

    Returns:
        One row a combination that occurs, the commonest first:

            combination  str: its positive labels joined by " + "; "none"
            labels       int64: how many they are
            samples      int64
            share        float64 0..1: of the samples that know all labels
            expected     float64: samples, were the labels independent
            first        int64: position of the first sample that has it
    """
    labels = dataset.labels
    kinds = {"combination": object, "labels": int, "samples": int, "share": float, "expected": float, "first": int}
    known = np.flatnonzero(~np.isnan(labels).any(axis=1))
    if not len(known) or not labels.shape[1]:
        return _table([], kinds)
    answers = labels[known] == 1
    packed = np.ascontiguousarray(np.packbits(answers, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    prevalence = answers.mean(axis=0)
    names = np.array(dataset.label_names, object)
    rows = []
    for place, count in zip(first, counts, strict=True):
        has = answers[place]
        chance = float(np.where(has, prevalence, 1 - prevalence).prod())
        text = " + ".join(names[has]) or "none"
        rows.append((text, has.sum(), count, count / len(known), chance * len(known), known[place]))
    return _table(rows, kinds).sort_values(["samples", "combination"], ascending=[False, True], ignore_index=True)


def shift_table(dataset: Dataset) -> pd.DataFrame:
    """Whether a label is as common in the other splits as in the first one that there is (train).

    Samples of one patient are alike, which makes differences look surer than they are. Where groups are known, the
    chi-squared statistic is divided by the design effect, how much larger the variance of the two prevalences is
    between groups than between independent samples, but not by less than 1 (Rao and Scott 1981, their first-order
    correction).

    Returns:
        One row a label and later split, for labels known in both:

            label, split, reference  str
            prevalence, reference_prevalence, difference  float64
            effect       float64 >= 0: Cohen's h, the difference on the arcsine scale: 0.2 is small, 0.5 medium
            design_effect float64 >= 1
            p_value      float64: chi-squared; Fisher's exact test where a cell expects fewer than 5 and there are no
                         groups; NaN where the label is constant in both
            p_adjusted   float64: the same, adjusted over all rows (Holm 1979)
    """
    rows = []
    splits = dataset.splits
    parts = {split: dataset.split(split) for split in splits}
    grouped = {split: number_groups(part.samples["group"].to_numpy(object)) for split, part in parts.items()}
    for index, label in enumerate(dataset.label_names):
        usable = [split for split in splits if not np.isnan(parts[split].labels[:, index]).all()]
        summary = {split: _cluster_summary(parts[split].labels[:, index], grouped[split]) for split in usable}
        for split in usable[1:]:
            yes, total, variance = summary[split]
            base_yes, base_total, base_variance = summary[usable[0]]
            rate, base = yes / total, base_yes / base_total
            pooled = (yes + base_yes) / (total + base_total)
            plain = pooled * (1 - pooled) * (1 / total + 1 / base_total)
            effect = max(1.0, (variance + base_variance) / plain) if plain > 0 else 1.0
            p = _independence(yes, base_yes, total - yes, base_total - base_yes, effect)
            h = abs(2 * np.arcsin(np.sqrt(rate)) - 2 * np.arcsin(np.sqrt(base)))
            rows.append((label, split, usable[0], rate, base, rate - base, h, effect, p))
    kinds: dict[str, type] = dict.fromkeys(("label", "split", "reference"), object)
    kinds |= dict.fromkeys(
        ("prevalence", "reference_prevalence", "difference", "effect", "design_effect", "p_value"), float
    )
    table = _table(rows, kinds)
    table["p_adjusted"] = holm(table["p_value"])
    return table


def _products(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> Floats:
    """How often a column of the one and a column of the other are 1 together, (L, L); blocks keep float32 exact."""
    total = np.zeros((one.shape[1], other.shape[1]))
    for start in range(0, len(one), 1 << 20):
        total += one[start : start + (1 << 20)].T @ other[start : start + (1 << 20)]
    return total


def _independence(both: float, one: float, other: float, neither: float, effect: float = 1.0) -> float:
    """p-value of a 2 x 2 table against independence; NaN where a margin is empty."""
    from scipy.stats import chi2, fisher_exact

    table = np.array([[both, one], [other, neither]])
    total = table.sum()
    margins = np.outer(table.sum(axis=1), table.sum(axis=0))
    if (margins == 0).any():
        return float("nan")
    expected = margins / total
    if effect == 1.0 and expected.min() < EXPECTED:
        return float(fisher_exact(table.astype(np.int64))[1])
    return float(chi2.sf(((table - expected) ** 2 / expected).sum() / effect, 1))


def _cluster_summary(column: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """Positives, known samples, and the variance of the prevalence between groups (0 for fewer than 2)."""
    known = ~np.isnan(column)
    answers, of = column[known].astype(np.float64), groups[known]
    yes, total = float(answers.sum()), float(len(answers))
    residual = np.bincount(np.unique(of, return_inverse=True)[1].ravel(), weights=answers - yes / total)
    count = len(residual)
    variance = float((residual**2).sum()) / total**2 * count / (count - 1) if count > 1 else 0.0
    return yes, total, variance if count < total else 0.0


def _ratio(top: Floats, bottom: Floats, otherwise: float = np.nan) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), otherwise, np.float64), where=bottom > 0)


def _table(rows: Sequence[tuple[object, ...]], kinds: Mapping[str, type]) -> pd.DataFrame:
    """Rows as a table with these columns and types, also without a row."""
    return pd.DataFrame(rows, columns=list(kinds)).astype(
        {name: {int: np.int64, float: np.float64}.get(kind, kind) for name, kind in kinds.items()}
    )
