"""Every submission that was written, kept with what it was made of; and what changed from one to another."""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from medwb.errors import RequestError, unknown_name
from medwb.labels import read_table
from medwb.paths import check_name, home, write_text
from medwb.source import Source
from medwb.strict_json import dump_json

_MOST_OF_ONE_SECOND = 1000


def submissions_dir(dataset: str) -> Path:
    """`<when>-<run>.csv` and `.json` of a dataset stand here. Raises RequestError for a name that is not allowed."""
    return home() / "submissions" / check_name(dataset, "dataset")


@dataclass(frozen=True)
class KeptSubmission:
    """A submission that was written.

    Attributes:
        path: The CSV, as it was handed in.
        record: `run`, `dataset`, `fingerprint`, `when` (seconds since 1970), `out`, `rows`, `positives` {label: n},
            `thresholds` {label: value}, `rule`, `sample` {"name", "sha256"}, `sha256` of the CSV, `expected` (as
            `Expected.to_json`) and `notes`.
    """

    path: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """`<when>-<run>`, by which it is found again."""
        return self.path.stem

    @property
    def expected_macro_f1(self) -> dict[str, float | None]:
        """`value`, `low` and `high`, None where they were not known."""
        score = ((self.record.get("expected") or {}).get("scores") or {}).get("macro_f1") or {}
        return {key: score.get(key) for key in ("value", "low", "high")}

    @cached_property
    def table(self) -> pd.DataFrame:
        """The answers: the id column, str, then a column a label, int64 0 or 1.

        Raises:
            RequestError: The file is gone, damaged, or was changed since it was written.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise RequestError(f"{self.path} cannot be read ({error.strerror or error})") from error
        if hashlib.sha256(content).hexdigest() != self.record["sha256"]:
            raise RequestError(f"{self.path} was changed after it was written; remove it, or write it anew")
        table = read_table(Source(self.path), self.path.name)
        return table.astype(dict.fromkeys(table.columns[1:], "int64"))


@dataclass(frozen=True)
class Changes:
    """How one submission differs from an earlier one, on the ids that both answer.

    Attributes:
        labels: One row a label that both have: `label`, `to_positive` and `to_negative` (ids whose answer changed
            so), `share` (of the ids that both answer, 0..1).
        ids: Ids that both answer.
        changed: Ids with at least one changed label.
        only_new: Ids that only the new one answers.
        only_earlier: Ids that only the earlier one answers.
    """

    labels: pd.DataFrame
    ids: int
    changed: int
    only_new: int
    only_earlier: int

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        rows = [{str(key): value for key, value in row.items()} for row in self.labels.to_dict("records")]
        counts = {key: getattr(self, key) for key in ("ids", "changed", "only_new", "only_earlier")}
        return {**counts, "labels": rows}

    def __str__(self) -> str:
        if not self.ids:
            return "no id in common"
        if not self.changed:
            return f"the same answers for all {self.ids:,} ids in common"
        return f"{self.changed:,} of {self.ids:,} ids answered otherwise"


def changes(new: pd.DataFrame, earlier: pd.DataFrame) -> Changes:
    """Compare two tables of answers.

    Args:
        new: An id column first, then a column of 0 and 1 a label.
        earlier: The same; its ids, their order and its labels may differ.
    """
    after, before = new.set_index(new.columns[0]), earlier.set_index(earlier.columns[0])
    common = after.index[after.index.isin(before.index)]
    labels = [label for label in after.columns if label in before.columns]
    now, then = after.loc[common, labels].to_numpy(), before.loc[common, labels].to_numpy()
    rows = pd.DataFrame(
        {
            "label": pd.Series(labels, dtype=object),
            "to_positive": ((now == 1) & (then == 0)).sum(axis=0),
            "to_negative": ((now == 0) & (then == 1)).sum(axis=0),
            "share": (now != then).sum(axis=0) / max(len(common), 1),
        }
    )
    changed = int((now != then).any(axis=1).sum())
    return Changes(rows, len(common), changed, len(after) - len(common), len(before) - len(common))


def keep_submission(content: str, record: dict[str, Any]) -> KeptSubmission:
    """Keep a submission and what it was made of; it is listed only when both files are there.

    Args:
        content: The CSV.
        record: As `KeptSubmission.record`, with `dataset` and `run`; `when` and `sha256` are filled in.

    Raises:
        OSError: It cannot be written.
    """
    folder = submissions_dir(record["dataset"])
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    stem = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{record['run']}"
    path = _reserve(folder, stem)
    record = {**record, "when": now, "sha256": hashlib.sha256(content.encode("utf-8")).hexdigest()}
    try:
        write_text(path, content)
        write_text(path.with_suffix(".json"), dump_json(record) + "\n")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return KeptSubmission(path, record)


def _reserve(folder: Path, stem: str) -> Path:
    """A file of that name, or with a number behind it, that nobody else has; it is there, and empty."""
    for number in range(1, _MOST_OF_ONE_SECOND):
        path = folder / f"{stem}.csv" if number == 1 else folder / f"{stem}-{number}.csv"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise OSError(f"{folder} has a thousand submissions of one second")


def list_submissions(dataset: str) -> tuple[list[KeptSubmission], list[str]]:
    """The submissions of a dataset, the newest first, and a line for each that cannot be read."""
    found, problems = list[KeptSubmission](), list[str]()
    for path in sorted(submissions_dir(dataset).glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            for key, kind in (("run", str), ("sha256", str), ("thresholds", dict), ("rows", int), ("sample", dict)):
                if not isinstance(record[key], kind):
                    raise TypeError(f"{key} is {record[key]!r}")
            record["when"] = float(record["when"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append(str(RequestError(f"{path} is damaged ({error}); remove it")))
            continue
        found.append(KeptSubmission(path.with_suffix(".csv"), record))
    return sorted(found, key=lambda one: (one.record["when"], one.name), reverse=True), problems


def open_submission(dataset: str, name: str) -> KeptSubmission:
    """A kept submission by its name. Raises RequestError when there is none."""
    found, _ = list_submissions(dataset)
    for one in found:
        if one.name == name:
            return one
    raise unknown_name(f"submission of {dataset}", name, [one.name for one in found])
