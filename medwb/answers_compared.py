"""The answers that are compared: which runs make a row, and the samples that all of them have answered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES
from medwb.config import changed_settings
from medwb.errors import RequestError
from medwb.metrics import METRICS, average, evaluate
from medwb.replicates import ScoredSplit
from medwb.runs import Predictions, Run

Floats = npt.NDArray[np.float64]

_BLOCK = 256  # weightings scored at a time


@dataclass(frozen=True)
class Answers:
    """Answers of runs on the same samples.

    Attributes:
        label_names: The L labels.
        truth: float64 (N, L): 1, 0, NaN for unknown: what the dataset says now.
        scores: Run id to (N, L) in 0..1.
        units: int64 (N,): samples that are drawn together, 0.. without gaps.
        weights: uint16 (1+B, N): how often each sample is drawn; the first row is ones.
    """

    label_names: tuple[str, ...]
    truth: Floats
    scores: dict[str, npt.NDArray[np.floating]]
    units: npt.NDArray[np.int64]
    weights: npt.NDArray[np.uint16]

    def columns(self, metric: str) -> list[int]:
        """Places of the labels that a metric is of."""
        label = metric.removeprefix("f1:")
        return [self.label_names.index(label)] if label != metric else list(range(len(self.label_names)))


def compared_rows(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Name of each row to its runs: those alike but for the seed, the newest of each seed.

    Where all runs are alike, each is a row of its own.
    """
    by_setting: dict[tuple[str, str, str], dict[int, Run]] = {}
    for run in runs:
        alike = run.config.model_copy(update={"seed": 0}).model_dump_json()
        key = (alike, run.cleaning_digest, run.augmentation_digest)
        by_setting.setdefault(key, {})[run.config.seed] = run
    rows = [list(by_seed.values()) for by_seed in by_setting.values()]
    alone = len(rows) == 1
    if alone:
        rows = [[run] for run in runs]
    named: dict[str, list[Run]] = {}
    names = [_name(row[0], with_seed=alone) for row in rows]
    for name, row in zip(names, rows, strict=True):
        named[name if names.count(name) == 1 else f"{name} ({row[0].id})"] = row
    return named


def _name(run: Run, with_seed: bool) -> str:
    seed = f"seed {run.config.seed}" if with_seed else ""
    title = ARCHITECTURES.get(run.config.architecture).title
    return " ".join(filter(None, [title, changed_settings(run.config), seed]))


def answers_of(scored: ScoredSplit, runs: Sequence[Run]) -> tuple[Answers, list[str]]:
    """The answers of runs on the samples that all of them and the dataset have, and what a reader must know of that.

    Args:
        scored: The split as it is now.
        runs: Runs of that dataset; those from before it changed too.

    Raises:
        RequestError: Other labels, no shared sample or none with a known label, or damaged or missing predictions.
    """
    data, keep, notes = scored.dataset, np.ones(len(scored.order), bool), []
    given: dict[str, Predictions] = {}
    for run in runs:
        if run.label_names != data.label_names:
            raise RequestError(
                f"run {run.id} knows the labels {', '.join(run.label_names)}, the dataset {data.name!r} "
                f"{', '.join(data.label_names)}; train again"
            )
        given[run.id] = run.predictions(scored.name)
        keep &= np.isin(scored.order, given[run.id].ids)
    if not keep.any():
        raise RequestError(
            f"no sample of the split {scored.name!r} of {data.name!r} was answered by all of these runs; train again"
        )
    order = scored.order[keep]
    truth, units = scored.part.labels[keep].astype(np.float64), scored.units[keep]
    if np.isnan(truth).all():
        raise RequestError(
            f"no label of the {len(order):,} samples of the split {scored.name!r} that all of these runs answered is "
            "known, so they cannot be compared; train again"
        )
    scores, moved = {}, 0
    for run in runs:
        place = pd.Index(given[run.id].ids).get_indexer(order)
        scores[run.id] = given[run.id].y_score[place]
        then = given[run.id].y_true[place].astype(np.float64)
        moved = max(moved, int(((then != truth) & ~(np.isnan(then) & np.isnan(truth))).sum()))
    answered = max(len(answer.ids) for answer in given.values())
    if len(order) < max(len(scored.order), answered):
        notes.append(
            f"compared on the {len(order):,} samples that all runs answered and {data.name} still has in "
            f"{scored.name}, which has {len(scored.order):,}"
        )
    stale = [run.id for run in runs if run.fingerprint != data.fingerprint]
    if stale:
        notes.append(f"{data.name} has changed since these runs were trained: {', '.join(stale)}")
    if moved:
        notes.append(f"up to {moved:,} labels are others than when a run was trained; all are scored on those of now")
    if len(names := sorted({run.config.cleaning for run in runs})) > 1:
        notes.append(
            f"the runs learned under different cleanings: {', '.join(names)}; all are scored on the same labels"
        )
    units = np.unique(units, return_inverse=True)[1].astype(np.int64)
    weights = scored.weights if keep.all() else scored.weights[:, keep]
    return Answers(data.label_names, truth, scores, units, weights), notes


def row_scores(answers: Answers, runs: Sequence[Run], metric: str, threshold: float) -> Floats:
    """Score of each of a row's runs under each weighting of the samples.

    Args:
        answers: Their answers.
        runs: The row's runs.
        metric: A registered metric, of which the mean over labels is taken; "f1:<label>"; or "f1" for all labels.
        threshold: A label is called where its score is at least this.

    Returns:
        float64 (runs, 1+B), for "f1" (runs, 1+B, L).
    """
    columns = answers.columns(metric)
    entry = METRICS.get(metric.split(":")[0])
    truth, found = answers.truth[:, columns], []
    for run in runs:
        score = answers.scores[run.id][:, columns]
        blocks = [
            evaluate(entry.name, truth, score, threshold=threshold, weights=answers.weights[start : start + _BLOCK])
            for start in range(0, len(answers.weights), _BLOCK)
        ]
        values = np.concatenate(blocks)
        found.append(values if values.ndim == 1 or metric == "f1" else average(values, "macro"))
    return np.stack(found)
