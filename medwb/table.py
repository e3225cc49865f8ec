"""The per-architecture F1 table: recomputed from saved predictions, every score with its interval and its ceiling."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES, describe_layers, total_parameters
from medwb.audit.ceiling import ceiling
from medwb.audit.contradictions import contradictory_samples
from medwb.audit.sets import exact_sets
from medwb.config import changed_settings, input_shape, network_outputs
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError, unknown_name
from medwb.metrics import METRICS, average, collapsed_labels, evaluate, support
from medwb.runs import Predictions, Run, finished_runs
from medwb.statistics import DRAWS, Score, bootstrap_weights, interval, mean_over_seeds
from medwb.strict_json import nan_to_none

SCORE_TITLES = {"macro_f1": "Macro F1", "weighted_f1": "Weighted F1"} | {
    metric.name: metric.title for metric in METRICS if metric.name != "f1"
}
SCORES = tuple(SCORE_TITLES)
"""Scores of the table that are averaged over labels: macro, but for `weighted_f1`. Every metric is one."""

AGREEING = "agreeing_macro_f1"
"""Macro F1 on the samples that are in no set of identical images with contradictory labels."""
SCORE_TITLES[AGREEING] = "Macro F1, agreeing scans"


_BLOCK = 64  # weightings scored at a time


@dataclass(frozen=True)
class ScoreTable:
    """Scores of the finished runs of a dataset on one split.

    Attributes:
        dataset: Its name.
        split: What was scored.
        label_names: The labels.
        rows: One row an architecture and setting, the best macro F1 first. Columns: `architecture`, `title`,
            `settings` (what differs from the defaults), `runs` (number of seeds), `run_ids`; for each label
            `f1:<label>`, each of `SCORES` and `AGREEING` the mean over seeds, with `<name>_low` and `<name>_high`
            (95 %);
            `parameters` (NaN for baselines), `train_seconds` (mean), `reference_score` (NaN where the study
            reports none), `collapsed`.
        notes: What a reader must know: stale runs, labels whose scores are undefined, collapsed networks,
            contradictory samples.
        ceiling: For `f1:<label>` and `SCORES` the best that any function of the image can reach on the split, since
            identical images get one answer (`medwb.audit.ceiling`); NaN where it is undefined or not known. An
            interval may reach above it: its replicates draw other samples, which have other ceilings.
        bound: Columns whose ceiling is an upper bound that perhaps nothing reaches.
        contradictory: Samples of the split in a set of identical images whose labels contradict. Where it is 0,
            `AGREEING` equals macro F1 and is not shown.
    """

    dataset: str
    split: str
    label_names: tuple[str, ...]
    rows: pd.DataFrame
    notes: list[str]
    ceiling: dict[str, float] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    contradictory: int = 0

    @property
    def score_columns(self) -> list[str]:
        """Names of the columns that are shown and hold a score with an interval."""
        columns = [*(f"f1:{label}" for label in self.label_names), *SCORES]
        return [*columns, AGREEING] if self.contradictory else columns

    @property
    def capped(self) -> dict[str, float]:
        """The ceilings that are below 1."""
        return {column: value for column, value in self.ceiling.items() if value < 1}

    def ceiling_text(self, column: str) -> str:
        """The ceiling of a column, "0.825", with "≤ " before a bound; a dash where there is none."""
        return ("≤ " if column in self.bound else "") + _number(self.ceiling.get(column, math.nan), ".3f")

    def score(self, row: int, column: str) -> Score:
        """One cell with its interval."""
        cells = self.rows.iloc[row]
        return Score(cells[column], cells[f"{column}_low"], cells[f"{column}_high"])

    def to_json(self) -> dict[str, Any]:
        """The documented JSON: a score is {"value", "low", "high"}, a ceiling is a number, undefined is null."""
        rows = []
        for position, cells in enumerate(self.rows.to_dict("records")):
            row = {key: cells[key] for key in ("architecture", "settings", "runs", "run_ids", "collapsed")}
            row["f1"] = {label: self.score(position, f"f1:{label}")._asdict() for label in self.label_names}
            row |= {name: self.score(position, name)._asdict() for name in (*SCORES, AGREEING)}
            row |= {key: cells[key] for key in ("parameters", "train_seconds", "reference_score")}
            rows.append(row)
        ceiling: dict[str, Any] = {"f1": {label: self.ceiling.get(f"f1:{label}") for label in self.label_names}}
        ceiling |= {name: self.ceiling.get(name) for name in SCORES} | {"bound": list(self.bound)}
        facts = {"ceiling": ceiling, "contradictory_samples": self.contradictory, "notes": self.notes}
        table: dict[str, Any] = nan_to_none({"dataset": self.dataset, "split": self.split, "rows": rows, **facts})
        return table

    def to_csv(self) -> str:
        """All columns, one line a row of the table.

        Ceilings are columns, `<name>_ceiling`, with the same value on every line, so that each line is a run's.
        """
        ceilings = {f"{column}_ceiling": value for column, value in self.ceiling.items()}
        rows = self.rows.assign(run_ids=self.rows["run_ids"].map(" ".join), **ceilings)
        return str(rows.to_csv(index=False))

    def to_markdown(self) -> str:
        """A table for a README or a paper: value [low, high]; the last row has the ceiling where one is below 1."""
        titles = ["Architecture", "Settings", "Runs", *(f"F1 {label}" for label in self.label_names)]
        short = SCORE_TITLES | {"average_precision": "AP"}
        titles += [short[name] for name in self.score_columns[len(self.label_names) :]]
        titles += ["Parameters", "Training, s", "Reference F1"]
        lines = [_pipe(titles), _pipe("---" for _ in titles)]
        for position, cells in enumerate(self.rows.to_dict("records")):
            name = cells["title"] + (" (collapsed)" if cells["collapsed"] else "")
            facts = [name, cells["settings"] or "default", str(cells["runs"])]
            facts += [str(self.score(position, column)) for column in self.score_columns]
            facts += [_number(cells["parameters"], ",.0f"), _number(cells["train_seconds"], ".1f")]
            lines.append(_pipe([*facts, _number(cells["reference_score"], ".3f")]))
        if self.capped:
            values = map(self.ceiling_text, self.score_columns)
            lines.append(_pipe(["Ceiling (identical scans that contradict)", "", "", *values, "–", "–", "–"]))
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"


def f1_table(dataset: str | Dataset, split: str = "val", *, draws: int = DRAWS, threshold: float = 0.5) -> ScoreTable:
    """Score every finished run of a dataset.

    Runs of the same architecture and settings that differ by seed alone make one row: scores are means over them,
    and a bootstrap replicate draws samples (patients, where groups are known) and seeds. Every row sees the same
    replicates.

    Args:
        dataset: The dataset or its name.
        split: "train", "val" or "test".
        draws: Bootstrap replicates.
        threshold: A label is called where its score is at least this.

    Raises:
        RequestError: No such dataset or split, the split has no known labels, or no run is finished.
    """
    data = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if split not in data.known_label_splits():
        if split in data.splits:
            raise RequestError(f"no label of the split {split!r} of {data.name!r} is known, so it cannot be scored")
        raise unknown_name(f"split of {data.name}", split, data.splits)
    fresh, stale = finished_runs(data)
    notes = [f"{len(stale)} runs are left out: {data.name} has changed since they were trained"] if stale else []
    part = data.split(split)
    samples = part.samples
    identical = exact_sets(part)
    agreeing = ~contradictory_samples(part.labels, identical)
    drawn = bootstrap_weights(samples["group"].to_numpy(str), draws)
    weights = np.vstack([np.ones((1, len(samples)), np.uint16), drawn])
    order = pd.Index(samples["id"])

    def row_or_problem(runs: list[Run]) -> dict[str, Any] | RequestError:
        try:
            return _row(data, split, runs, order, weights, threshold, agreeing)
        except RequestError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(row_or_problem, _same_but_for_seed(fresh)))
    problems = [item for item in found if isinstance(item, RequestError)]
    rows = [item for item in found if not isinstance(item, RequestError)]
    if problems and not rows:
        raise problems[0]
    notes += [f"left out: {problem}" for problem in problems]
    if not rows:
        raise RequestError(
            f"no run on {data.name!r} is finished yet; start one: `medwb train {data.name} -a reference`"
        )
    table = pd.DataFrame(rows).sort_values("macro_f1", ascending=False, kind="stable", ignore_index=True)
    positives = (part.labels == 1).sum(0)
    for label, count in zip(data.label_names, positives, strict=True):
        if count == 0:
            notes.append(f"{label} has no positive in {split}: its F1, average precision and AUC are undefined")
    for title, settings in table.loc[table["collapsed"], ["title", "settings"]].itertuples(index=False):
        notes.append(
            f"{f'{title} {settings}'.strip()} has collapsed: it gives every image the same answer for a label"
        )
    titles = [f"{cells['title']} {cells['settings']}".strip() for cells in table.to_dict("records")]
    by_id = {run.id: run for run in fresh}
    notes += certificate_notes(
        {title: [by_id[name] for name in ids] for title, ids in zip(titles, table["run_ids"], strict=True)}
    )
    best = ceiling(part.labels, identical)
    limits = dict(zip((f"f1:{label}" for label in data.label_names), best["f1"].tolist(), strict=True))
    limits |= {name: best.get(name, math.nan) for name in SCORES}
    contradictory = int((~agreeing).sum())
    if contradictory:
        notes.append(
            f"{contradictory:,} of {len(part):,} samples of {split} are identical images whose labels contradict: "
            f"whatever a model answers, macro F1 is at most {limits['macro_f1']:.3f}; "
            f'"{SCORE_TITLES[AGREEING]}" leaves them out'
        )
    return ScoreTable(data.name, split, data.label_names, table, notes, limits, tuple(best["bound"]), contradictory)


def certificate_notes(rows: Mapping[str, Sequence[Run]]) -> list[str]:
    """What the leak certificates of a table's rows say: one note for all that say the same, with rows and hashes.

    Args:
        rows: What the table calls each row, to its runs.
    """
    notes: dict[str, dict[str, None]] = {}
    for title, runs in rows.items():
        for run in runs:
            said, stamp = _certified(run)
            notes.setdefault(said, {})[f"{title} ({stamp})" if stamp else title] = None
    return [f"{said}: {', '.join(titles)}" for said, titles in notes.items()]


def _certified(run: Run) -> tuple[str, str]:
    """What a run's certificate says, and the start of its hash."""
    try:
        certificate = run.certificate
    except RequestError as error:
        return str(error), ""
    if certificate is None:
        return "no leak certificate, since trained before there were any", ""
    near = "" if certificate.checked["near"] else ", near copies not looked at"
    return "; ".join(certificate.warnings or [f"certified to have no leak{near}"]), certificate.hash[:8]


def parameter_count(run: Run, dataset: Dataset) -> float:
    """Weights of a run's network or networks; NaN for a baseline."""
    labels = len(dataset.label_names)
    outputs = network_outputs(run.config, labels)
    layers = describe_layers(ARCHITECTURES.get(run.config.architecture), input_shape(run.config, dataset), outputs)
    networks = 1 if run.config.heads == "shared" else labels
    return float(networks * total_parameters(layers)) if layers else math.nan


def _same_but_for_seed(runs: list[Run]) -> Iterable[list[Run]]:
    groups: dict[tuple[str, str, str], dict[int, Run]] = {}
    for run in runs:  # the oldest first, so that of two runs with one seed the newer stays
        settings = run.config.model_copy(update={"seed": 0}).model_dump_json()
        key = (settings, run.cleaning_digest, run.augmentation_digest)
        groups.setdefault(key, {})[run.config.seed] = run
    return [list(by_seed.values()) for by_seed in groups.values()]


def _row(
    dataset: Dataset,
    split: str,
    runs: list[Run],
    order: pd.Index,
    weights: npt.NDArray[np.uint16],
    threshold: float,
    agreeing: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    entry = ARCHITECTURES.get(runs[0].config.architecture)
    answers = [aligned_predictions(run, split, order) for run in runs]
    columns = _mean_over_seeds(
        [_scores(answer, weights, threshold, agreeing) for answer in answers], dataset.label_names
    )
    row: dict[str, Any] = {
        "architecture": entry.name,
        "title": entry.title,
        "settings": changed_settings(runs[0].config),
        "runs": len(runs),
        "run_ids": [run.id for run in runs],
    }
    for name, replicates in columns.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = interval(replicates[0], replicates[1:])
    row["parameters"] = parameter_count(runs[0], dataset)
    row["train_seconds"] = float(np.mean([run.status().get("train_seconds", math.nan) for run in runs]))
    row["reference_score"] = math.nan if entry.reference_score is None else entry.reference_score
    row["collapsed"] = not entry.constant and any(_collapsed(answer) for answer in answers)
    return row


def _collapsed(answer: Predictions) -> bool:
    """Whether a label that has both answers in truth got one and the same for every image."""
    told_apart = (answer.y_true == 1).any(0) & (answer.y_true == 0).any(0)
    return bool((collapsed_labels(answer.y_score) & told_apart).any())


def aligned_predictions(run: Run, split: str, order: pd.Index) -> Predictions:
    """A run's answers in the dataset's order. Raises RequestError when they are for other samples."""
    answer = run.predictions(split)
    position = pd.Index(answer.ids).get_indexer(order)
    if len(answer.ids) != len(order) or (position < 0).any():
        raise RequestError(f"run {run.id} answered other samples than the split {split!r} has; train again")
    return Predictions(answer.ids[position], answer.y_true[position], answer.y_score[position])


def _scores(
    answer: Predictions, weights: npt.NDArray[np.uint16], threshold: float, agreeing: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.float64]]:
    """Each score under each weighting: "f1" (B, L), and (B,) for those that are averaged over labels.

    Weightings are taken in blocks that fit into a processor's cache: it is faster, and a web server stays small.
    """
    blocks = [
        _block_scores(answer, weights[start : start + _BLOCK], threshold, agreeing)
        for start in range(0, len(weights), _BLOCK)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _block_scores(
    answer: Predictions, weights: npt.NDArray[np.uint16], threshold: float, agreeing: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.float64]]:
    values = {
        name: evaluate(name, answer.y_true, answer.y_score, threshold=threshold, weights=weights)
        for name in METRICS.names()
    }
    scores = {"f1": values["f1"], "macro_f1": average(values["f1"], "macro")}
    scores["weighted_f1"] = average(values["f1"], "weighted", support(answer.y_true, weights))
    scores[AGREEING] = scores["macro_f1"]
    if not agreeing.all():  # the same replicates, without the samples that contradict
        truth, score = answer.y_true[agreeing], answer.y_score[agreeing]
        f1 = evaluate("f1", truth, score, threshold=threshold, weights=weights[:, agreeing])
        scores[AGREEING] = average(f1, "macro")
    return scores | {name: average(values[name], "macro") for name in values if name != "f1"}


def _mean_over_seeds(
    runs: list[dict[str, npt.NDArray[np.float64]]], label_names: tuple[str, ...]
) -> dict[str, npt.NDArray[np.float64]]:
    """Column name to (B,): row 0 averages all seeds, each further replicate the seeds that it drew."""
    means = {name: mean_over_seeds(np.stack([scores[name] for scores in runs])) for name in runs[0]}
    per_label = means.pop("f1")
    return {f"f1:{label}": per_label[:, index] for index, label in enumerate(label_names)} | means


def _pipe(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float, spec: str) -> str:
    return "–" if math.isnan(value) else format(value, spec)
