"""Checks of labels: unknown, rare and oddly combined ones, label errors, shifts between splits, shortcuts."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.check import check, issues
from medwb.audit.contradictions import contradictory_samples
from medwb.audit.label_facts import CERTAIN, combination_table, pair_table, prevalence_table, shift_table
from medwb.audit.shortcuts import shortcut_table
from medwb.audit.survey import Survey

RARE = 0.05
"""Share of the rarer answer below which a label is called imbalanced."""

SHIFT = 0.1
"""Cohen's h, half of what is called small: a lesser shift may be certain in a large dataset and still not matter."""

SHORTCUT = 0.7
"""AUC that a property alone certainly reaches when it is called a shortcut."""

TRUSTED = 0.8
"""AUC that the quick model certainly reaches on a label before its suspicions are reported."""

DOUBT = 0.05
"""Probability of the given answer above which a sample is not suspected."""

AGAINST = 20.0
"""How many times the image must speak against the given answer, as odds before to odds after seeing it: a positive
of a rare label is improbable before anything is seen, and that is no evidence."""

WHOLE = 200
"""Samples that know all labels, fewest at which a combination seen once says anything."""


ALONE = 0.25
"""Score of a combination seen once: among many labels some are bound to be."""


@check("unknown_labels", title="Unknown labels", area="labels")
def unknown_labels(survey: Survey) -> pd.DataFrame:
    """A label that is not known for every sample."""
    table = prevalence_table(survey.dataset)
    rows = table[(table["split"] == "all") & (table["unknown"] > 0)]
    by_split = table[table["split"] != "all"].groupby("label", sort=False)
    places = {
        str(label): ", ".join(f"{row.split} {row.unknown:,}" for row in _rows(part) if row.unknown)
        for label, part in by_split
    }
    return issues(
        [""] * len(rows),
        label=rows["label"].to_list(),
        score=rows["unknown_share"].to_numpy(),
        evidence=[f"{row.unknown:,} of {row.samples:,} unknown: {places[row.label]}" for row in _rows(rows)],
    )


@check("imbalance", title="Imbalance", area="labels")
def imbalance(survey: Survey) -> pd.DataFrame:
    """A label one of whose answers is rare, or missing in a split."""
    labels: list[str] = []
    scores: list[float] = []
    evidence: list[str] = []
    for label, part in prevalence_table(survey.dataset).groupby("label", sort=False):
        whole = next(_rows(part))
        known = whole.positive + whole.negative
        rarer, count = min(("positive", whole.positive), ("negative", whole.negative), key=lambda answer: answer[1])
        without = [
            row.split
            for row in _rows(part.iloc[1:])
            if row.positive + row.negative > 0 and min(row.positive, row.negative) == 0
        ]
        share = count / known if known else 1.0
        if share < RARE or (known and without):
            missing = f"; only one answer in {', '.join(without)}" if without else ""
            labels.append(str(label))
            scores.append(1 - 2 * share)
            evidence.append(f"{count:,} {rarer} of {known:,} known ({share:.1%}){missing}")
    return issues([""] * len(labels), label=labels, score=scores, evidence=evidence)


@check("label_relation", title="Related labels", area="labels")
def label_relation(survey: Survey) -> pd.DataFrame:
    """Labels of which one implies or excludes the other, but for a few samples."""
    dataset = survey.dataset
    pairs = _relations(dataset.label_names, pair_table(survey.dataset))
    known = dataset.labels[~np.isnan(dataset.labels).any(axis=1)]
    several = len(dataset.label_names) > 1
    if several and len(known) and bool(((known == 1).sum(axis=1) == 1).all()):
        return issues([""], evidence="every sample has exactly one label: these are classes, not findings")
    return issues(
        [""] * len(pairs),
        label=pairs["a"].to_list(),
        score=1 - pairs["broken"].to_numpy(np.float64) / np.maximum(pairs["chance"].to_numpy(np.float64), 1),
        evidence=[
            f"{row.a} {row.relation} {row.b}: {row.broken:,} samples say otherwise, {row.chance:,.0f} would by chance"
            for row in _rows(pairs)
        ],
    )


@check("rare_combination", title="Rare combinations", area="labels")
def rare_combination(survey: Survey) -> pd.DataFrame:
    """Labels that break a relation that nearly all samples keep, or a combination that no other sample has."""
    dataset = survey.dataset
    labels = dataset.labels
    why: dict[int, list[str]] = {}
    scores = np.zeros(len(dataset))
    place = {name: index for index, name in enumerate(dataset.label_names)}
    for row in _rows(_relations(dataset.label_names, pair_table(dataset))):
        other = 0 if row.relation == "implies" else 1
        breaking = np.flatnonzero((labels[:, place[row.a]] == 1) & (labels[:, place[row.b]] == other))
        joint = "without" if row.relation == "implies" else "with"
        for sample in breaking:
            why.setdefault(int(sample), []).append(f"{row.a} {joint} {row.b}: {row.broken:,} of {row.count_a:,}")
        scores[breaking] = np.maximum(scores[breaking], 1 - row.broken / row.chance)
    combinations = combination_table(dataset)
    total = int(combinations["samples"].sum())
    if total >= WHOLE:
        for row in _rows(combinations[combinations["samples"] == 1]):
            why.setdefault(int(row.first), []).append(f"the only one of {total:,} with {row.combination}")
            scores[row.first] = max(scores[row.first], ALONE)
    found = np.array(sorted(why), np.int64)
    return issues(
        dataset.samples["id"].to_numpy(object)[found],
        score=scores[found],
        evidence=["; ".join(why[sample]) for sample in found.tolist()],
    )


@check("prevalence_shift", title="Shifts between splits", area="labels")
def prevalence_shift(survey: Survey) -> pd.DataFrame:
    """A label that is more or less common in one split than in another."""
    table = shift_table(survey.dataset)
    rows = table[(table["p_adjusted"] < CERTAIN) & (table["effect"] >= SHIFT)]
    return issues(
        [""] * len(rows),
        label=rows["label"].to_list(),
        score=rows["effect"].to_numpy() / 0.8,  # what Cohen calls a large effect
        evidence=[
            f"{row.prevalence:.1%} in {row.split}, {row.reference_prevalence:.1%} in {row.reference}"
            f" (adjusted p {row.p_adjusted:.2g})"
            for row in _rows(rows)
        ],
    )


@check("label_error", title="Suspected label errors", area="labels")
def label_error(survey: Survey) -> pd.DataFrame:
    """A label that a quick model, which has not seen the sample, is confident is wrong.

    Confident learning (Northcutt, Jiang and Chuang 2021), a label at a time; of its suspects those remain whose given
    answer has a probability of at most 5 %, and that the image makes 20 times less likely than it was without. Labels
    that the model cannot tell well are passed over, and so are constant frames and copies that contradict one
    another, which have checks of their own.
    """
    dataset, model = survey.dataset, survey.model
    ids = dataset.samples["id"].to_numpy(object)
    content = survey.frames["constant"].to_numpy() == 0
    content &= ~contradictory_samples(dataset.labels, survey.copies)
    parts = []
    for index, label in enumerate(dataset.label_names):
        if not model.auc[label].low >= TRUSTED:
            continue
        given, probability = dataset.labels[:, index], model.scores[:, index]
        usable = np.flatnonzero(content & ~np.isnan(given) & ~np.isnan(probability))
        answers = given[usable].astype(np.int64)
        agreement = np.where(answers == 1, probability[usable], 1 - probability[usable])
        suspect = suspects(answers, probability[usable])
        share = answers.mean() if len(answers) else 0.0
        rows = usable[suspect]
        parts.append(
            issues(
                ids[rows],
                label=label,
                score=1 - agreement[suspect],
                set=survey.set_names[rows].tolist(),
                evidence=[
                    f"labelled {value}, quick model says {says:.3f}; {share:.1%} are labelled 1"
                    for value, says in zip(answers[suspect], probability[rows], strict=True)
                ],
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else issues()


@check("shortcut", title="Shortcuts", area="labels")
def shortcut(survey: Survey) -> pd.DataFrame:
    """A property of the image, not of what it shows, that alone predicts a label; a network will find it."""
    table = shortcut_table(survey.dataset, survey.frames)
    rows = table[table["certain_low"] > SHORTCUT]
    return issues(
        [""] * len(rows),
        label=rows["label"].to_list(),
        score=2 * rows["auc"].to_numpy() - 1,
        evidence=[
            f"{row.property} alone has AUC {row.auc:.3f} [{row.low:.3f}, {row.high:.3f}]: positives have"
            f" {row.direction} values"
            for row in _rows(rows)
        ],
    )


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Rows whose columns are attributes."""
    return iter(table.itertuples())


def _relations(names: tuple[str, ...], pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs with a relation, and by chance how many would break it; what goes both ways is listed once."""
    related = pairs[pairs["relation"] != ""]
    place = {name: index for index, name in enumerate(names)}
    once = (related["relation"] == "implies") | (related["a"].map(place) < related["b"].map(place))
    related = related[once.astype(bool)]
    chance = related["expected"].where(related["relation"] == "excludes", related["count_a"] - related["expected"])
    return related.assign(chance=chance)


def suspects(answers: npt.NDArray[np.int64], probability: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Answers that are probably wrong, bool (n,): see `label_error`.

    Args:
        answers: int64 (n,): 0 or 1.
        probability: float32 (n,): of 1, out of fold.
    """
    agreement = np.where(answers == 1, probability, 1 - probability)
    certain = (agreement <= DOUBT) & (_against(answers, agreement) >= AGAINST)
    return _confident_learning(answers, probability) & certain


def _against(answers: npt.NDArray[np.int64], agreement: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """How many times less likely the given answer is with the image than without, as odds; (n,)."""
    positive = np.clip(answers.mean() if len(answers) else 0.5, 1e-6, 1 - 1e-6)
    before = np.where(answers == 1, positive, 1 - positive)
    after = np.clip(agreement.astype(np.float64), 1e-9, 1 - 1e-9)
    return before / (1 - before) * (1 - after) / after


def _confident_learning(
    answers: npt.NDArray[np.int64], probability: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Suspects, bool (n,), among answers 0 or 1 (n,) with the probability of 1 (n,)."""
    if len(answers) == 0 or answers.min() == answers.max():
        return np.zeros(len(answers), bool)
    from cleanlab.filter import find_label_issues

    yes = probability.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class has few examples; `TRUSTED` answers for that
        return np.asarray(
            find_label_issues(answers, np.stack([1 - yes, yes], axis=1), filter_by="confident_learning", n_jobs=1),
            bool,
        )
