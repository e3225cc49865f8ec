"""Paired comparison: which rows of a table differ, which cannot be told apart, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.answers_compared import Answers, answers_of, compared_rows, row_scores
from medwb.architectures import ARCHITECTURES
from medwb.comparison_words import sentence
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError, unknown_name
from medwb.metrics import METRICS
from medwb.permutation import COUNT_SCORES, PERMUTATIONS, CountScore, UnitCounts, swap_p_value, unit_counts
from medwb.replicates import score_split
from medwb.runs import Run, finished_runs
from medwb.seeds import Difference, Seeds, mean_difference, mean_score, seed_components
from medwb.statistics import DRAWS, Score, holm, mcnemar, tie_groups
from medwb.strict_json import nan_to_none

ALPHA = 0.05
"""Of families of comparisons without a difference, at most this share shows one."""

_MANY_PAIRS, _FEWER_PERMUTATIONS = 50, 500  # p-values below what these show follow from the normal distribution

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Rows of a table, compared pair by pair on the same samples.

    Attributes:
        dataset: Its name.
        split: What was scored.
        metric: The score that is compared: a registered metric (its mean over labels), or "f1:<label>".
        title: How the metric is written.
        better: Whether "higher" or "lower" is better.
        samples: That were scored.
        units: Patients, or samples that stand alone, and sets of copies: what was drawn and swapped.
        rows: One row a row of the table, the best first: `name`, `run_ids`, `runs`, `score`, `score_low`,
            `score_high` (95 %).
        pairs: One row a pair of rows, `a` being the better: positions `a` and `b`, `difference` of the scores (a - b)
            with `difference_low` and `difference_high` (95 %), `seed_share` (of its variance, 0..1), `p_bootstrap`,
            `p_permutation` (NaN for scores of ranks), `p` (the larger of the two), `p_holm` (for all pairs together),
            `verdict` ("better", "tie" or "unknown").
        labels: For two rows: of each `label` the `difference` of F1 with its ends, `a_alone` and `b_alone` (known
            samples on which only that run is right; NaN for rows of several runs), `p` of both being right equally
            often, `method`, `p_holm` (for all labels together). Otherwise empty.
        groups: Positions of the rows of each largest group of which no two are told apart.
        notes: What a reader must know.
    """

    dataset: str
    split: str
    metric: str
    title: str
    better: str
    samples: int
    units: int
    rows: pd.DataFrame
    pairs: pd.DataFrame
    labels: pd.DataFrame
    groups: list[tuple[int, ...]]
    notes: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What the comparison shows, in words."""
        return sentence(self.rows, self.pairs, self.title)

    @property
    def best(self) -> pd.DataFrame:
        """The pairs of the best row with each other one, in the order of the rows."""
        return self.pairs[self.pairs["a"] == 0]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON: a score and a difference is {"value", "low", "high"}, undefined is null."""
        names = self.rows["name"].tolist()
        pairs = [
            _with_score(cells, "difference") | {"a": names[cells["a"]], "b": names[cells["b"]]}
            for cells in self.pairs.to_dict("records")
        ]
        facts: dict[str, Any] = {
            key: getattr(self, key) for key in ("dataset", "split", "metric", "better", "samples", "units")
        }
        facts |= {
            "answer": self.sentence,
            "rows": [_with_score(cells, "score") for cells in self.rows.to_dict("records")],
            "pairs": pairs,
            "labels": [_with_score(cells, "difference") for cells in self.labels.to_dict("records")],
            "groups": [[names[place] for place in group] for group in self.groups],
            "notes": self.notes,
        }
        answer: dict[str, Any] = nan_to_none(facts)
        return answer

    def to_csv(self) -> str:
        """The pairs, one a line, with the names of both rows."""
        names = self.rows["name"].to_numpy(object)
        pairs = self.pairs.assign(a=names[self.pairs["a"]], b=names[self.pairs["b"]])
        return str(pairs.to_csv(index=False))


def _with_score(cells: dict[Any, Any], name: str) -> dict[str, Any]:
    """A row's cells with the value and its ends as one score."""
    ends = {"value": cells[name], "low": cells[f"{name}_low"], "high": cells[f"{name}_high"]}
    return {key: value for key, value in cells.items() if not str(key).startswith(name)} | {name: ends}


def compare_runs(
    runs: Sequence[Run],
    split: str = "val",
    metric: str = "macro_f1",
    *,
    threshold: float = 0.5,
    draws: int = DRAWS,
    permutations: int | None = None,
) -> Comparison:
    """Compare runs of one dataset, each pair on the same samples.

    Runs that are alike but for the seed are one row, unless there is no other. A difference has an interval and a
    p-value by the paired bootstrap over units, with what seeds add (`mean_difference`), and a p-value by swapping
    both rows' answers (`swap_p_value`). Each guards where the other is weak: swaps where samples are few, the
    bootstrap where seeds matter. So the larger of the two counts, corrected for all pairs together (`holm`), which
    also covers that the best row was chosen by its score.

    Args:
        runs: Two finished runs or more.
        split: "train", "val" or "test"; a look at "test" is recorded in the runs.
        metric: A registered metric, or "f1:<label>".
        threshold: A label is called where its score is at least this.
        draws: Bootstrap replicates.
        permutations: Random swaps; None for 2,000, and for 500 where more than 50 pairs are compared.

    Raises:
        RequestError: Fewer than two runs or one of them twice, runs of different datasets or labels, no such split or
            metric, predictions that are missing or damaged, or no sample that all runs have answered.
    """
    twice = {run.id for run in runs if sum(other.id == run.id for other in runs) > 1}
    if twice:
        raise RequestError(f"run {min(twice)} is named twice; a run does not differ from itself")
    if len(runs) < 2:
        raise RequestError(f"{len(runs)} run is nothing to compare; name two or more, or --dataset for a whole table")
    datasets = {run.config.dataset: run for run in runs}
    if len(datasets) > 1:
        named = " and ".join(f"{run.id} of {name!r}" for name, run in list(datasets.items())[:2])
        raise RequestError(f"runs of different datasets cannot be compared: {named}; choose runs of one dataset")
    data = open_dataset(runs[0].config.dataset)
    return _compare(data, compared_rows(runs), split, metric, threshold, draws, permutations, [])


def compare_table(
    dataset: str | Dataset,
    split: str = "val",
    metric: str = "macro_f1",
    *,
    threshold: float = 0.5,
    draws: int = DRAWS,
    permutations: int | None = None,
) -> Comparison:
    """Compare all rows of a dataset's table, as `compare_runs` does; runs without usable predictions are left out.

    Raises:
        RequestError: As `compare_runs`; fewer than two runs are finished.
    """
    data = open_dataset(dataset) if isinstance(dataset, str) else dataset
    fresh, stale = finished_runs(data)
    notes = [f"{len(stale)} runs are left out: {data.name} has changed since they were trained"] if stale else []
    usable = []
    for run in fresh:
        try:
            answer = run.predictions(split)
            if set(answer.ids.tolist()) != set(data.split(split).samples["id"]):
                raise RequestError(f"run {run.id} answered other samples than the split {split!r} has; train again")
            usable.append(run)
        except RequestError as error:
            notes.append(f"left out: {error}")
    if len(usable) < 2:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise RequestError(f"{len(usable)} finished runs on {data.name!r} are nothing to compare{why}; train more")
    return _compare(data, compared_rows(usable), split, metric, threshold, draws, permutations, notes)


def _compare(
    data: Dataset,
    members: dict[str, list[Run]],
    split: str,
    metric: str,
    threshold: float,
    draws: int,
    permutations: int | None,
    notes: list[str],
) -> Comparison:
    metric = "macro_f1" if metric == "f1" else metric
    title, better = metric_facts(metric, data.label_names)
    runs = [run for row in members.values() for run in row]
    answers, said = answers_of(score_split(data, split, draws), runs)
    if split == "test":
        from medwb.looks import record_look

        record_look(runs, "compare")
    names, units = list(members), len(np.unique(answers.units))
    if permutations is None:
        permutations = PERMUTATIONS if len(names) * (len(names) - 1) / 2 <= _MANY_PAIRS else _FEWER_PERMUTATIONS
    scores = [row_scores(answers, members[name], metric, threshold) for name in names]
    rows = _rows(members, scores, units)
    rank = rows["score"].to_numpy(np.float64) * (1 if better == "lower" else -1)
    order = np.argsort(np.where(np.isnan(rank), np.inf, rank), kind="stable")
    rows = rows.iloc[order].reset_index(drop=True)
    names, scores = [names[place] for place in order], [scores[place] for place in order]
    fixed = [not ARCHITECTURES.get(members[name][0].config.architecture).is_network for name in names]
    seeds, pooled = seed_components(scores, fixed)
    counts = _counts(answers, [members[name] for name in names], metric, threshold)
    count_score = COUNT_SCORES.get(metric, COUNT_SCORES["macro_f1"])  # of the one label for "f1:<label>"
    pairs = compare_pairs(scores, seeds, pooled, units, counts, count_score, permutations)
    apart = np.zeros((len(names), len(names)), bool)
    for a, b in pairs.loc[pairs["verdict"] == "better", ["a", "b"]].to_numpy():
        apart[a, b] = apart[b, a] = True
    labels = pd.DataFrame()
    if len(names) == 2:
        labels = _labels(answers, [members[name] for name in names], fixed, units, threshold, permutations)
    method = _method(rows, pairs, labels, fixed, seeds, draws, permutations, counts is not None)
    notes = [*notes, *said, *method]
    facts = (data.name, split, metric, title, better, len(answers.truth), units)
    return Comparison(*facts, rows, pairs, labels, tie_groups(apart), notes)


def metric_facts(metric: str, label_names: Sequence[str]) -> tuple[str, str]:
    """How a metric is written, and whether "higher" or "lower" is better. Raises RequestError for an unknown one."""
    known = [*METRICS.names(), *(f"f1:{label}" for label in label_names)]
    if metric not in known:
        raise unknown_name("metric", metric, known)
    if metric.startswith("f1:"):
        return f"F1 {metric.removeprefix('f1:')}", "higher"
    entry = METRICS.get(metric)
    title = entry.title if entry.kind == "set" else f"macro {entry.title}"
    return title[:1].lower() + title[1:] if title[1:2].islower() else title, entry.better


def _rows(members: dict[str, list[Run]], scores: list[Floats], units: int) -> pd.DataFrame:
    rows = []
    bounds = (-1, 1) if any((found < 0).any() for found in scores) else (0, 1)
    for (name, runs), found in zip(members.items(), scores, strict=True):
        value, low, high = mean_score(found, units, bounds)
        facts = {"name": name, "runs": len(runs), "run_ids": [run.id for run in runs]}
        rows.append(facts | {"score": float(value), "score_low": float(low), "score_high": float(high)})
    return pd.DataFrame(rows)


def _counts(answers: Answers, rows: list[list[Run]], metric: str, threshold: float) -> list[UnitCounts] | None:
    """What each row's runs answered, for a metric that follows from counts; the one label's for "f1:<label>"."""
    if metric not in COUNT_SCORES and not metric.startswith("f1:"):
        return None
    columns = answers.columns(metric)
    truth = answers.truth[:, columns]
    return [
        unit_counts(truth, [answers.scores[run.id][:, columns] for run in runs], answers.units, threshold)
        for runs in rows
    ]


def compare_pairs(
    scores: list[Floats],
    seeds: list[Seeds],
    pooled: float,
    units: int,
    counts: list[UnitCounts] | None,
    score: CountScore,
    permutations: int = PERMUTATIONS,
) -> pd.DataFrame:
    """Every pair of rows: `Comparison.pairs`.

    Args:
        scores: Of each row, the best first, float64 (runs, 1+B).
        seeds: What seeds add to each row's mean, and `pooled`: as `seed_components` gives them.
        pooled: Degrees of freedom of all rows' seeds together.
        units: What was drawn.
        counts: What each row's runs answered; None for a score that does not follow from counts.
        score: The score of such counts.
        permutations: Random swaps.
    """
    means, pairs = [found.mean(axis=0) for found in scores], []
    for a, b in combinations(range(len(scores)), 2):
        found = mean_difference(means[a], means[b], units, (seeds[a], seeds[b]), pooled)
        swapped = np.nan
        if counts is not None and not np.isnan(found.value):
            swapped = swap_p_value(counts[a], counts[b], score, permutations)
        pairs.append({"a": a, "b": b, **_difference(found), "p_bootstrap": found.p, "p_permutation": swapped})
    table = pd.DataFrame(pairs)
    both = table[["p_bootstrap", "p_permutation"]].to_numpy(np.float64)
    table["p"] = np.where(np.isnan(both[:, 0]), np.nan, np.fmax(both[:, 0], both[:, 1]))
    table["p_holm"] = holm(table["p"].to_numpy(np.float64))
    table["verdict"] = np.select([table["p_holm"].isna(), table["p_holm"] <= ALPHA], ["unknown", "better"], "tie")
    return table


def _difference(found: Difference) -> dict[str, float]:
    ends = {"difference": found.value, "difference_low": found.low, "difference_high": found.high}
    return ends | {"seed_share": found.seed_share}


def _labels(
    answers: Answers, rows: list[list[Run]], fixed: list[bool], units: int, threshold: float, permutations: int
) -> pd.DataFrame:
    """Each label of two rows: the difference of F1, and whether both are right equally often."""
    f1 = [row_scores(answers, runs, "f1", threshold) for runs in rows]  # (runs, B, L)
    alone, table = max(map(len, rows)) == 1, []
    for place, label in enumerate(answers.label_names):
        mine = [found[..., place] for found in f1]
        seeds, pooled = seed_components(mine, fixed)
        found = mean_difference(mine[0].mean(axis=0), mine[1].mean(axis=0), units, (seeds[0], seeds[1]), pooled)
        known = ~np.isnan(answers.truth[:, place])
        cells: dict[str, Any] = {"label": label, **_difference(found), "a_alone": np.nan, "b_alone": np.nan}
        if alone:
            called = [answers.scores[runs[0].id][:, place] >= threshold for runs in rows]
            right = [(one == (answers.truth[:, place] == 1)) & known for one in called]
            cells["a_alone"], cells["b_alone"] = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
        if alone and len(np.unique(answers.units[known])) == known.sum():
            cells["p"], cells["method"] = mcnemar(cells["a_alone"], cells["b_alone"]), "McNemar"
        elif known.any():
            truth = answers.truth[:, [place]]
            swapped = [
                unit_counts(truth, [answers.scores[run.id][:, [place]] for run in runs], answers.units, threshold)
                for runs in rows
            ]
            cells["p"] = swap_p_value(swapped[0], swapped[1], COUNT_SCORES["accuracy"], permutations)
            cells["method"] = "swaps of units"
        else:
            cells["p"], cells["method"] = np.nan, "unknown"
        table.append(cells)
    labels = pd.DataFrame(table)
    labels["p_holm"] = holm(labels["p"].to_numpy(np.float64))
    return labels


def _method(
    rows: pd.DataFrame,
    pairs: pd.DataFrame,
    labels: pd.DataFrame,
    fixed: list[bool],
    seeds: list[Seeds],
    draws: int,
    permutations: int,
    counted: bool,
) -> list[str]:
    """How intervals, p-values and verdicts were made, and what they do not cover."""
    notes = [
        f"95 % intervals by {draws:,} paired bootstrap replicates over units (patients, sets of copies) and seeds"
    ]
    if counted:
        notes.append(
            f"p is the larger of the bootstrap's and that of {permutations:,} swaps of both answers, unit by unit"
        )
    else:
        notes.append("p is the bootstrap's alone: swaps are for scores that follow from counts")
    if len(pairs) > 1:
        notes.append(
            f"verdicts hold for all {len(pairs)} pairs together (Holm's correction at 5 %); each interval for one"
        )
    for alone, text in ((0, "how much the seed matters is not covered"), (1, "its seeds' scatter is the others'")):
        bare = [
            name
            for name, count, steady, one in zip(rows["name"], rows["runs"], fixed, seeds, strict=True)
            if count == 1 and not steady and (one.degrees > 0) == bool(alone)
        ]
        if bare:
            notes.append(f"one seed, so that {text}: {', '.join(bare)}")
    if len(labels) and (labels["method"] == "swaps of units").any():
        notes.append(
            "labels: p by swaps of units, since McNemar's test is for one run each and takes samples for independent"
        )
    elif len(labels):
        notes.append("labels: p by McNemar's exact test")
    return notes


def difference_score(cells: Mapping[str, Any]) -> Score:
    """The difference of a record of `Comparison.pairs` or `.labels` with its interval."""
    return Score(*(float(cells[name]) for name in ("difference", "difference_low", "difference_high")))
