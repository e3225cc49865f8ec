"""A submission file that fits the sample it was asked to fit."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError
from medwb.labels import need_column, read_table
from medwb.metrics import tune_thresholds
from medwb.paths import write_text
from medwb.runs import Run
from medwb.source import Source


class Submission(NamedTuple):
    """What was written: the table, the threshold of each label, and what a reader should know."""

    table: pd.DataFrame
    thresholds: dict[str, float]
    notes: list[str]


def write_submission(run: Run, sample: Path, out: Path) -> Submission:
    """Write 0 and 1 for every id of a sample submission: same ids, same order, same columns.

    The thresholds are those with the best F1 on the validation split.

    Args:
        run: A finished run whose predictions cover the sample's ids.
        sample: CSV with an id column and a column a label.
        out: Where to write; replaced in one step, and only when everything fits.

    Raises:
        RequestError: Other columns than the run's labels, ids that repeat or that the run has no answer for.
    """
    if not sample.is_file():
        raise RequestError(f"no such sample submission: {sample}")
    if out.is_dir():
        raise RequestError(f"{out} is a folder; name the file to write")
    if not out.resolve().parent.is_dir():
        raise RequestError(f"no such folder to write to: {out.resolve().parent}")
    table = read_table(Source(sample), sample.name)
    key = table.columns[0]
    for label in run.label_names:
        need_column(table, label, sample.name, "a label of the run")
    extra = [column for column in table.columns[1:] if column not in run.label_names]
    if extra:
        raise RequestError(f"{sample.name} has columns that run {run.id} does not predict: {', '.join(extra)}")
    if table.empty:
        raise RequestError(f"{sample.name} lists no ids")
    repeated = table[key].duplicated()
    if repeated.any():
        raise RequestError(f"{sample.name} lists {table.loc[repeated, key].iloc[0]!r} more than once")
    ids, scores = _all_scores(run)
    position = pd.Index(ids).get_indexer(pd.Index(table[key]))
    if (position < 0).any():
        unknown = table.loc[position < 0, key]
        raise RequestError(
            f"{sample.name}: run {run.id} has no answer for {len(unknown)} of {len(table)} ids, "
            f"such as {unknown.iloc[0]!r}; is this the sample of dataset {run.config.dataset!r}?"
        )
    thresholds = _thresholds(run)
    answers = pd.DataFrame((scores[position] >= thresholds).astype(int), columns=list(run.label_names))
    answers.insert(0, key, table[key].to_numpy())
    answers = answers[list(table.columns)]
    write_text(out, answers.to_csv(index=False))
    return Submission(
        answers, dict(zip(run.label_names, thresholds.tolist(), strict=True)), _notes(run, set(table[key]))
    )


def _thresholds(run: Run) -> npt.NDArray[np.float64]:
    tuning = run.predictions("val")
    return tune_thresholds(tuning.y_true, tuning.y_score)


def _all_scores(run: Run) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32]]:
    answers = [run.predictions(split) for split in run.predicted_splits() or ["val"]]  # raises where there is none
    return np.concatenate([a.ids for a in answers]), np.concatenate([a.y_score for a in answers])


def _notes(run: Run, asked: set[str]) -> list[str]:
    notes = [] if run.state == "finished" else [f"run {run.id} is {run.state}: these are not the answers of its end"]
    if "test" not in run.predicted_splits():
        return notes
    left = [str(image_id) for image_id in run.predictions("test").ids if image_id not in asked]
    if left:
        notes.append(f"{len(left)} scans of the test split are not in the sample, such as {left[0]!r}")
    return notes
