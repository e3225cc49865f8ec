"""Writing a submission that fits the sample it was asked to fit, each thing checked and said."""

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset, open_dataset
from medwb.decisions import Choice, Decision, decide
from medwb.errors import RequestError, short
from medwb.labels import need_column, read_table
from medwb.paths import write_text
from medwb.runs import Run
from medwb.source import Source
from medwb.submission.expected import Expected, expected_score
from medwb.submission.kept import KeptSubmission, keep_submission

CHECKS = ("Run", "Predictions", "Sample", "Columns", "Ids", "Answers", "Values", "Read back")
"""What is checked, in this order; a check that fails ends the checking."""

Floats = npt.NDArray[np.floating]


class CheckResult(NamedTuple):
    """One thing that was checked.

    Attributes:
        name: One of `CHECKS`.
        passed: None where an earlier check failed, so that this one was not made.
        detail: What was found, or what is wrong and the way out.
    """

    name: str
    passed: bool | None
    detail: str


@dataclass
class Draft:
    """A submission that is not written yet.

    Attributes:
        run: Whose answers.
        checks: What was checked, one of each of `CHECKS`.
        problem: What a check found wrong; None when it can be written.
        dataset: What the run was trained on; None when that check failed.
        decision: The thresholds; None when that check failed.
        table: The sample's ids and columns with the run's answers, 0 or 1; empty when a check failed.
        content: The CSV; "" when a check failed.
        sample: Name of the sample, and its SHA-256.
        notes: What a reader should know.
    """

    run: Run
    checks: list[CheckResult] = field(default_factory=list)
    problem: RequestError | None = None
    dataset: Dataset | None = None
    decision: Decision | None = None
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    content: str = ""
    sample: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Submission(NamedTuple):
    """What was written.

    Attributes:
        table: The answers: the sample's ids and columns.
        thresholds: Label to threshold.
        notes: What a reader should know.
        rule: How the thresholds were chosen.
        checks: What was checked.
        expected: What validation says it will score.
        kept: The copy below MEDWB_HOME; None where none could be written.
    """

    table: pd.DataFrame
    thresholds: dict[str, float]
    notes: list[str]
    rule: str
    checks: list[CheckResult]
    expected: Expected
    kept: KeptSubmission | None


def draft_submission(run: Run, sample: Path, *, thresholds: Choice = None) -> Draft:
    """Make a submission and check it, without writing anything. Nothing is raised: `problem` says what is wrong.

    Args:
        run: The run that answers.
        sample: CSV with an id column first and a column a label.
        thresholds: As `medwb.decisions.decide` takes them.
    """
    draft = Draft(run)
    steps: tuple[Callable[[], str], ...]
    worked = _Work(draft, sample, thresholds)
    steps = (
        worked.run_fits,
        worked.predictions,
        worked.read_sample,
        worked.columns,
        worked.ids,
        worked.answers,
        worked.values,
        worked.read_back,
    )
    for name, step in zip(CHECKS, steps, strict=True):
        if draft.problem is not None:
            draft.checks.append(CheckResult(name, None, "not checked: see above"))
            continue
        try:
            draft.checks.append(CheckResult(name, True, step()))
        except RequestError as error:
            draft.problem = error
            draft.checks.append(CheckResult(name, False, str(error)))
            draft.table, draft.content = pd.DataFrame(), ""
    return draft


def write_submission(run: Run, sample: Path, out: Path | None, *, thresholds: Choice = None) -> Submission:
    """Write 0 and 1 for every id of a sample submission: same ids, same order, same columns.

    A copy with what it was made of is kept below `MEDWB_HOME/submissions/<dataset>/`.

    Args:
        run: A run whose predictions cover the sample's ids, on the dataset as it is now.
        sample: CSV with an id column and a column a label.
        out: Where to write; replaced in one step, and only when every check has passed. None keeps the copy alone.
        thresholds: One for all labels, or label to threshold; what is not named has the run's saved threshold, or
            else that with the best F1 on validation.

    Raises:
        RequestError: Other columns than the run's labels, ids that repeat or that the run has no answer for, a run
            that is stale, thresholds outside 0..1, or a place that cannot be written to.
    """
    if out is not None:
        check_out(out, sample)
    draft = draft_submission(run, sample, thresholds=thresholds)
    if draft.problem is not None:
        raise draft.problem
    return finish_submission(draft, out)


def finish_submission(draft: Draft, out: Path | None, expected: Expected | None = None) -> Submission:
    """Write what was drafted.

    Args:
        draft: One without a problem.
        out: As for `write_submission`.
        expected: What validation says, where it is known already.

    Raises:
        RequestError: The place cannot be written to.
    """
    if draft.problem is not None:
        raise draft.problem
    run, dataset, decision = draft.run, draft.dataset, draft.decision
    assert dataset is not None and decision is not None  # noqa: PT018  there is no problem
    found = expected or expected_score(run, dataset, decision)
    if out is not None:
        try:
            write_text(out, draft.content)
        except OSError as error:
            raise RequestError(
                f"{out} cannot be written ({error.strerror or error}); choose another --out"
            ) from error
    notes = [*draft.notes, *found.notes]
    record = {
        "run": run.id,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "out": "" if out is None else str(out.absolute()),
        "rows": len(draft.table),
        "positives": {label: int(draft.table[label].sum()) for label in run.label_names},
        "thresholds": decision.thresholds,
        "rule": decision.rule,
        "sample": draft.sample,
        "expected": found.to_json(),
        "notes": notes,
    }
    kept = None
    try:
        kept = keep_submission(draft.content, record)
    except OSError as error:
        notes.append(f"no copy is kept below MEDWB_HOME ({error.strerror or error})")
    return Submission(draft.table, decision.thresholds, notes, decision.rule, draft.checks, found, kept)


def check_out(out: Path, sample: Path) -> None:
    """Raise RequestError where a submission cannot be written to, before anything is computed.

    Args:
        out: The file to write.
        sample: The sample, which must not be overwritten.
    """
    try:
        if out.is_dir():
            raise RequestError(f"{out} is a folder; name the file to write")
        if not out.resolve().parent.is_dir():
            raise RequestError(f"no such folder to write to: {out.resolve().parent}")
        if out.exists() and not out.is_file():
            raise RequestError(f"{out} is no regular file; name a file to write")
        if out.exists() and sample.exists() and out.samefile(sample):
            raise RequestError(f"{out} is the sample itself; name another file to write")
    except OSError as error:  # a name that is too long
        raise RequestError(f"{out} cannot be written ({error.strerror or error}); choose another --out") from error


class _Work:
    """The checks of one draft; each returns what it found, or raises RequestError."""

    def __init__(self, draft: Draft, path: Path, thresholds: Choice) -> None:
        self.draft, self.path, self.thresholds = draft, path, thresholds
        self.table = pd.DataFrame()
        self.delimiter = ","
        self.scores: Floats = np.zeros((0, 0))

    @property
    def key(self) -> str:
        """The sample's id column."""
        return str(self.table.columns[0])

    def run_fits(self) -> str:
        """The dataset is the one that the run learned from."""
        run = self.draft.run
        dataset = open_dataset(run.config.dataset)
        if dataset.fingerprint != run.fingerprint:
            raise RequestError(
                f"run {run.id} is stale: dataset {dataset.name!r} has changed since it was trained "
                f"({run.fingerprint} then, {dataset.fingerprint} now); train again, or choose another run"
            )
        self.draft.dataset = dataset
        if run.state != "finished":
            self.draft.notes.append(f"run {run.id} is {run.state}: these are not the answers of its end")
        self.draft.notes += run.warnings
        return f"{run.id} learned from {dataset.name} as it is now ({dataset.fingerprint})"

    def predictions(self) -> str:
        """There are answers, and thresholds."""
        run = self.draft.run
        splits = run.predicted_splits() or ["val"]  # raises where there is none
        self.draft.decision = decision = decide(run, self.thresholds)
        count = sum(len(run.predictions(split).ids) for split in splits)
        return f"answers for {count:,} scans of {', '.join(splits)}; thresholds: {decision.rule}"

    def read_sample(self) -> str:
        """It is a table with rows."""
        path = self.path
        try:
            if not path.is_file():
                raise RequestError(f"no such sample submission: {path}")
            source = Source(path)
            self.table = read_table(source, path.name)
            content = source.read(path.name)
        except OSError as error:
            raise RequestError(f"{path} cannot be read ({error.strerror or error})") from error
        first = re.sub(r'"[^"]*"', "", content.decode("utf-8-sig").split("\n", 1)[0])
        self.delimiter = max(",;\t", key=first.count)
        self.draft.sample = {"name": path.name, "sha256": hashlib.sha256(content).hexdigest()}
        if self.table.empty:
            raise RequestError(f"{path.name} lists no ids")
        return f"{path.name}: {len(self.table):,} rows, {len(self.table.columns)} columns"

    def columns(self) -> str:
        """An id column first, then the run's labels and nothing else."""
        run, name = self.draft.run, self.path.name
        for label in run.label_names:
            need_column(self.table, label, name, "a label of the run")
        if self.key in run.label_names:
            raise RequestError(f"{name}: the first column is the label {self.key!r}; the ids must come first")
        extra = [column for column in self.table.columns[1:] if column not in run.label_names]
        if extra:
            raise RequestError(f"{name} has columns that run {run.id} does not predict: {', '.join(extra)}")
        return f"{self.key!r} for the ids, and the {len(run.label_names)} labels of the run"

    def ids(self) -> str:
        """None is empty, none stands twice."""
        cells, name = self.table[self.key], self.path.name
        if (cells == "").any():
            line = int(cells.index[(cells == "").to_numpy()][0]) + 2
            raise RequestError(f"{name}:{line}: the id is empty; {int((cells == '').sum())} of {len(cells)} are")
        repeated = cells.duplicated()
        if repeated.any():
            raise RequestError(f"{name} lists {cells[repeated].iloc[0]!r} more than once")
        return f"{len(cells):,} ids, none empty, none twice"

    def answers(self) -> str:
        """The run has answered each of them."""
        run, name, asked = self.draft.run, self.path.name, self.table[self.key]
        splits = run.predicted_splits()
        found = {split: run.predictions(split) for split in splits}
        ids = np.concatenate([answer.ids for answer in found.values()])
        position = pd.Index(ids).get_indexer(pd.Index(asked))
        if (position < 0).any():
            unknown = asked[position < 0]
            raise RequestError(
                f"{name}: run {run.id} has no answer for {len(unknown)} of {len(asked)} ids, "
                f"such as {unknown.iloc[0]!r}; is this the sample of dataset {run.config.dataset!r}?"
            )
        self.scores = np.concatenate([answer.y_score for answer in found.values()])[position]
        owner = np.repeat(splits, [len(answer.ids) for answer in found.values()])[position]
        counts = {split: int((owner == split).sum()) for split in splits}
        self._note_splits(counts, found["test"].ids if "test" in found else np.array([], str), set(asked))
        where = ", ".join(f"{count:,} in {split}" for split, count in counts.items() if count)
        return f"the run has an answer for every id: {where}"

    def _note_splits(self, counts: dict[str, int], test: npt.NDArray[np.str_], asked: set[str]) -> None:
        if learned := counts.get("train", 0) + counts.get("val", 0):
            self.draft.notes.append(
                f"{learned:,} ids of the sample are in train or val, which the run learned from or was tuned on"
            )
        left = [str(image_id) for image_id in test if image_id not in asked]
        if left:
            self.draft.notes.append(f"{len(left)} scans of the test split are not in the sample, such as {left[0]!r}")

    def values(self) -> str:
        """Every cell is 0 or 1."""
        run, decision = self.draft.run, self.draft.decision
        assert decision is not None
        answers = pd.DataFrame((self.scores >= decision.values).astype(np.int64), columns=list(run.label_names))
        answers.insert(0, self.key, self.table[self.key].to_numpy())
        self.draft.table = answers[list(self.table.columns)]
        cells = self.draft.table[list(run.label_names)].to_numpy()
        if self.scores.shape != cells.shape or not np.isfinite(self.scores).all():
            raise RequestError(f"run {run.id} has scores that are no number; train again")
        self._note_sample_values()
        for label, share in zip(run.label_names, (self.scores >= decision.values).mean(axis=0), strict=True):
            if share in (0, 1):
                self.draft.notes.append(f"{label} is called on {'no' if share == 0 else 'every'} id")
        return f"{cells.size:,} cells, each 0 or 1, none empty; {int(cells.sum()):,} are 1"

    def _note_sample_values(self) -> None:
        """Whether the sample's own cells say that something else than 0 and 1 is asked for."""
        cells = self.table[list(self.draft.run.label_names)].to_numpy(object).ravel()
        others = sorted({cell for cell in cells.tolist() if cell not in ("", "0", "1", "0.0", "1.0")})
        if others:
            self.draft.notes.append(
                f"the sample has cells such as {short(others[0])}: perhaps other values than 0 and 1 are asked for"
            )

    def read_back(self) -> str:
        """The text to write, read again, has the sample's ids, columns and order."""
        draft = self.draft
        draft.content = draft.table.to_csv(index=False, sep=self.delimiter)
        again = pd.read_csv(
            io.StringIO(draft.content), sep=self.delimiter, dtype=str, keep_default_na=False, na_filter=False
        )
        if list(again.columns) != list(self.table.columns):
            raise RequestError(f"the file would have the columns {', '.join(again.columns)}, not those of the sample")
        if again[self.key].tolist() != self.table[self.key].tolist():
            raise RequestError(f"the file would have other ids than {self.path.name}, or another order")
        if not again[list(draft.run.label_names)].isin(["0", "1"]).to_numpy().all():
            raise RequestError("the file would have cells that are neither 0 nor 1")
        return f"{len(again):,} rows with the sample's ids in its order, under its columns"
