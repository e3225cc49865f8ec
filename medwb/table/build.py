"""The table of a dataset's runs: recomputed from saved predictions, every score with its interval and its ceiling."""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.architectures import ARCHITECTURES, LayerFacts, describe_layers, total_multiply_adds, total_parameters
from medwb.audit.ceiling import ceiling
from medwb.config import changed_settings, input_shape, network_outputs
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.looks import count_looks, record_look
from medwb.metrics import average, collapsed_labels
from medwb.replicates import (
    AGREEING,
    Replicates,
    ScoredSplit,
    aligned_predictions,
    predictions_stamp,
    score_runs,
    score_split,
    threads,
)
from medwb.runs import Run, finished_runs
from medwb.seeds import mean_score
from medwb.statistics import DRAWS
from medwb.table.columns import LABEL_METRICS, SCORE_TITLES, SCORES, bounds, label_columns
from medwb.table.score_table import ScoreTable

SPEED_KEY = "predict_images_per_second"
"""Where a run's status.json says how fast it answered."""

_AT_ONCE = 40 * 3000 * 14  # answers scored at a time, over runs: what follows from each takes some 80 bytes
_ROWS_KEPT = 4096  # a few kilobytes each


def f1_table(dataset: str | Dataset, split: str = "val", *, draws: int = DRAWS, threshold: float = 0.5) -> ScoreTable:
    """Score every finished run of a dataset.

    Runs of the same architecture and settings that differ by seed alone make one row: scores are means over them,
    with an interval over samples and seeds (`medwb.seeds.mean_score`). A bootstrap replicate draws patients and sets
    of copies whole (`medwb.units`), and every row sees the same. Rows are kept in memory until a run's predictions
    change. Scores on the test split are counted as a look at it (`medwb.looks`).

    Args:
        dataset: The dataset or its name.
        split: "train", "val" or "test".
        draws: Bootstrap replicates.
        threshold: A label is called where its score is at least this.

    Raises:
        RequestError: No such dataset or split, the split has no known labels, or no run is finished.
    """
    scored = score_split(dataset, split, draws)
    data, part = scored.dataset, scored.part
    fresh, stale = finished_runs(data)
    groups = runs_by_setting(fresh)
    found, problems = _score_rows(groups, scored, threshold)
    if not found:
        raise next(iter(problems), None) or RequestError(
            f"no run on {data.name!r} is finished yet; start one: `medwb train {data.name} -a reference`"
        )
    if split == "test":
        record_look([run for row in found for run in row.runs], "table")
    notes = [f"{len(stale)} runs are left out: {data.name} has changed since they were trained"] if stale else []
    notes += [f"left out: {problem}" for problem in problems]
    rows = _frame(data, found, notes)
    notes += _notes(scored, rows, {run.id: run for run in fresh})
    best = ceiling(part.labels, scored.identical)
    limits = dict(zip((f"f1:{label}" for label in data.label_names), best["f1"].tolist(), strict=True))
    limits |= {name: best.get(name, math.nan) for name in SCORES}
    contradictory = int((~scored.agreeing).sum())
    if contradictory:
        notes.append(
            f"{contradictory:,} of {len(part):,} samples of {split} are identical images whose labels contradict: "
            f"whatever a model answers, macro F1 is at most {limits['macro_f1']:.3f}; "
            f'"{SCORE_TITLES[AGREEING]}" leaves them out'
        )
    bound, drawn = tuple(best["bound"]), what_is_drawn(scored)
    return ScoreTable(data.name, split, data.label_names, rows, notes, limits, bound, contradictory, drawn)


def runs_by_setting(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that are alike but for the seed, one list a row of the table; of two with one seed the newer.

    Runs whose cleaning or augmentation has changed since under its name are not alike.

    Args:
        runs: The oldest first.
    """
    groups: dict[tuple[str, str, str], dict[int, Run]] = {}
    for run in runs:
        settings = run.config.model_copy(update={"seed": 0}).model_dump_json()
        key = (settings, run.cleaning_digest, run.augmentation_digest)
        groups.setdefault(key, {})[run.config.seed] = run
    return [list(by_seed.values()) for by_seed in groups.values()]


def what_is_drawn(scored: ScoredSplit) -> str:
    """What a bootstrap replicate of a split draws, in words."""
    named = bool(scored.part.samples["group"].any())
    units = len(np.unique(scored.units))
    groups = len(scored.part) if not named else scored.part.samples["group"].replace("", pd.NA).nunique()
    alone = int((scored.part.samples["group"] == "").sum()) if named else 0
    copies = units < groups + alone
    return ("patients" if named else "samples") + (" and sets of copies" if copies else "")


class _Row:
    """The scores of runs that are alike but for the seed.

    Attributes:
        runs: Those whose predictions can be used.
        columns: (3, K): mean, low and high of `label_columns`, `SCORES` and `AGREEING`.
        collapsed: Whether a run gives every image the same answer for a label.
    """

    def __init__(self, runs: list[Run], columns: npt.NDArray[np.float64], collapsed: bool) -> None:
        self.runs, self.columns, self.collapsed = runs, columns, collapsed


_KEPT: OrderedDict[tuple[object, ...], _Row] = OrderedDict()
_LOCK = threading.Lock()


def _score_rows(
    groups: list[list[Run]], scored: ScoredSplit, threshold: float
) -> tuple[list[_Row], list[RequestError]]:
    """A row a group that has a run with usable predictions, and what is wrong with runs that have none."""
    stamps = [tuple((str(run.path), predictions_stamp(run)) for run in group) for group in groups]
    keys: list[tuple[object, ...]] = [(scored.digest, threshold, *stamp) for stamp in stamps]
    rows: dict[int, _Row] = {}
    problems: list[RequestError] = []
    with _LOCK:
        for place, key in enumerate(keys):
            if key in _KEPT:
                _KEPT.move_to_end(key)
                rows[place] = _KEPT[key]
    missing = [place for place in range(len(groups)) if place not in rows]
    while missing:
        some, missing = _take(missing, groups, max(1, _AT_ONCE // max(scored.part.labels.size, 1)))
        members = [run for place in some for run in groups[place]]
        answers = iter(score_runs(members, scored, threshold))
        scores = {place: [(run, next(answers)) for run in groups[place]] for place in some}
        usable = {place: _usable(found) for place, found in scores.items()}
        problems += [found for pairs in scores.values() for _, found in pairs if isinstance(found, RequestError)]
        with threads() as pool:
            fresh = pool.map(lambda found: _make_row(found, scored), [found for found in usable.values() if found])
            for place, row in zip([place for place, found in usable.items() if found], fresh, strict=True):
                rows[place] = row
                if len(usable[place]) == len(groups[place]):
                    _keep(keys[place], row)
    return [rows[place] for place in sorted(rows)], problems


def _usable(scores: list[tuple[Run, Replicates | RequestError]]) -> list[tuple[Run, Replicates]]:
    return [(run, found) for run, found in scores if not isinstance(found, RequestError)]


def _make_row(usable: list[tuple[Run, Replicates]], scored: ScoredSplit) -> _Row:
    runs = [run for run, _ in usable]
    return _Row(runs, _summary([found for _, found in usable], scored), _collapsed(runs, scored))


def _keep(key: tuple[object, ...], row: _Row) -> None:
    with _LOCK:
        _KEPT[key] = row
        while len(_KEPT) > _ROWS_KEPT:
            _KEPT.popitem(last=False)


def _take(places: list[int], groups: list[list[Run]], most: int) -> tuple[list[int], list[int]]:
    """The first groups, one at least, with so many runs at most, and the rest."""
    taken, runs = 0, 0
    while taken < len(places) and (not runs or runs + len(groups[places[taken]]) <= most):
        runs += len(groups[places[taken]])
        taken += 1
    return places[:taken], places[taken:]


def _summary(replicates: list[Replicates], scored: ScoredSplit) -> npt.NDArray[np.float64]:
    """Mean over seeds with its interval, (3, K)."""
    columns = [*label_columns(scored.dataset.label_names), *SCORES, AGREEING]
    lowest, highest = np.array([bounds(column) for column in columns]).T
    runs = np.stack([_flat(found) for found in replicates])
    return np.stack(mean_score(runs, int(scored.units.max()) + 1, (lowest, highest)))


def _flat(replicates: Replicates) -> npt.NDArray[np.float64]:
    """All columns of a run side by side, (1+B, K)."""
    parts = [replicates[name] for name in LABEL_METRICS]
    for name in (*SCORES, AGREEING):
        values = replicates[name]
        parts.append((average(values, "macro") if values.ndim == 2 else values)[:, None])
    return np.concatenate(parts, axis=1)


def _collapsed(runs: list[Run], scored: ScoredSplit) -> bool:
    """Whether a label that has both answers in truth got one and the same for every image."""
    if ARCHITECTURES.get(runs[0].config.architecture).constant:
        return False
    for run in runs:
        answer = aligned_predictions(run, scored.name, scored.order)
        told_apart = (answer.y_true == 1).any(0) & (answer.y_true == 0).any(0)
        if (collapsed_labels(answer.y_score) & told_apart).any():
            return True
    return False


def _frame(data: Dataset, found: list[_Row], notes: list[str]) -> pd.DataFrame:
    """The rows with their facts, the best macro F1 first; what cannot be read is added to the notes."""
    facts = [_facts(data, row, notes) for row in found]
    columns = [*label_columns(data.label_names), *SCORES, AGREEING]
    names = [f"{column}{end}" for column in columns for end in ("", "_low", "_high")]
    scores = np.stack([row.columns for row in found]).transpose(0, 2, 1).reshape(len(found), -1)
    rows = pd.concat([pd.DataFrame(facts), pd.DataFrame(scores, columns=pd.Index(names))], axis=1)
    return rows.sort_values("macro_f1", ascending=False, kind="stable", ignore_index=True)


def _facts(data: Dataset, row: _Row, notes: list[str]) -> dict[str, Any]:
    first, entry = row.runs[0], ARCHITECTURES.get(row.runs[0].config.architecture)
    layers, networks = _layers(first, data)
    statuses = [run.status() for run in row.runs]
    looks = []
    for run in row.runs:
        try:
            looks.append(count_looks(run))
        except RequestError as error:
            notes.append(str(error))
    return {
        "architecture": entry.name,
        "title": entry.title,
        "settings": changed_settings(first.config),
        "runs": len(row.runs),
        "run_ids": [run.id for run in row.runs],
        "collapsed": row.collapsed,
        "parameters": float(networks * total_parameters(layers)) if layers else math.nan,
        "flops": float(networks * 2 * total_multiply_adds(layers)) if layers else math.nan,
        "train_seconds": float(np.mean([status.get("train_seconds", math.nan) for status in statuses])),
        "images_per_second": float(np.mean([status.get(SPEED_KEY, math.nan) for status in statuses])),
        "looks": float(max(looks)) if looks else math.nan,
        "reference_score": math.nan if entry.reference_score is None else entry.reference_score,
    }


def _layers(run: Run, dataset: Dataset) -> tuple[list[LayerFacts], int]:
    """The layers of one of a run's networks, none for a baseline, and how many networks it has."""
    labels = len(dataset.label_names)
    outputs = network_outputs(run.config, labels)
    layers = describe_layers(ARCHITECTURES.get(run.config.architecture), input_shape(run.config, dataset), outputs)
    return layers, 1 if run.config.heads == "shared" else labels


def _notes(scored: ScoredSplit, rows: pd.DataFrame, runs: Mapping[str, Run]) -> list[str]:
    """What a reader of the rows must know of labels, networks, cleanings and leaks."""
    notes, labels = [], scored.part.labels
    counts = zip(scored.dataset.label_names, (labels == 1).sum(0), (labels == 0).sum(0), strict=True)
    for label, positives, negatives in counts:
        if positives == 0:
            notes.append(f"{label} has no positive in {scored.name}: its F1, average precision and AUC are undefined")
        elif positives == 1:
            notes.append(f"{label} has one positive in {scored.name}: its intervals say little")
        elif negatives == 0:
            notes.append(f"{label} has no negative in {scored.name}: its specificity and AUC are undefined")
    titles = [f"{title} {settings}".strip() for title, settings in zip(rows["title"], rows["settings"], strict=True)]
    for title, collapsed in zip(titles, rows["collapsed"], strict=True):
        if collapsed:
            notes.append(f"{title} has collapsed: it gives every image the same answer for a label")
    members = {title: [runs[name] for name in ids] for title, ids in zip(titles, rows["run_ids"], strict=True)}
    return [*notes, *_cleaning_notes(members, scored), *certificate_notes(members)]


def _cleaning_notes(rows: Mapping[str, Sequence[Run]], scored: ScoredSplit) -> list[str]:
    """Which rows watched other samples or labels than they are scored on, since their cleaning reaches the split."""
    reached: dict[str, list[str]] = {}
    for title, runs in rows.items():
        record = runs[0].record.get("cleaning") or {}
        left, changed = (record.get(key, {}).get(scored.name, 0) for key in ("excluded", "labels"))
        if left or changed:
            parts = [f"leaves out {left:,} samples"] if left else []
            parts += [f"changes {changed:,} labels"] if changed else []
            said = f"the cleaning {record.get('name', '')!r} {' and '.join(parts)} of {scored.name}"
            reached.setdefault(said, []).append(title)
    return [
        f"{said}: {', '.join(titles)}; all rows are scored on all {len(scored.part):,} samples with the labels of "
        "the dataset"
        for said, titles in reached.items()
    ]


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
