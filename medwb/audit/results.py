"""Audit: what the checks found, kept in `audits/<dataset>/`."""

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import medwb
from medwb.audit.ceiling import split_ceilings
from medwb.audit.check import CHECKS, ISSUE_COLUMNS
from medwb.audit.contradictions import contradicted
from medwb.audit.sets import DuplicateSets
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.paths import audits_dir, replacing, write_text
from medwb.progress import Progress, no_progress
from medwb.strict_json import dump_json

if TYPE_CHECKING:
    from medwb.audit.survey import Survey


@dataclass(frozen=True)
class Audit:
    """What an audit of a dataset found.

    Attributes:
        dataset: What was audited.
        issues: One row an issue, columns `ISSUE_COLUMNS`.
        groups: One row a sample that has copies: `id`; `set` ("set-3": copies of one picture, exact or near);
            `exact` ("exact-2": those with the same pixels; "" for none); `representative` (bool: stands for its set).
        pairs: Candidate pairs of near copies: `a`, `b` (ids), `distance`, `similarity`, `copy` (see `NearCopies`).
        frames: One row a sample: `id` and the columns of `measure_frames`.
        summary: The documented JSON of `medwb audit`.
    """

    dataset: Dataset
    issues: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame
    frames: pd.DataFrame
    summary: dict[str, Any]

    @cached_property
    def copies(self) -> DuplicateSets:
        """Exact and near copies, in the order of the dataset's samples."""
        return self._sets("set")

    @cached_property
    def exact(self) -> DuplicateSets:
        """Samples with the same pixels."""
        return self._sets("exact")

    def _sets(self, column: str) -> DuplicateSets:
        named = self.groups[self.groups[column] != ""]
        position = pd.Index(self.dataset.samples["id"]).get_indexer(pd.Index(named["id"]))
        if (position < 0).any():
            raise RequestError(f"the audit of {self.dataset.name!r} names samples that are not there; audit it again")
        of = np.full(len(self.dataset), -1, np.int64)
        of[position] = [int(name.rpartition("-")[2]) for name in named[column]]
        return DuplicateSets(of)


def run_audit(
    dataset: Dataset,
    *,
    radius: float | None = None,
    similarity: float | None = None,
    mirrored: bool = False,
    progress: Progress = no_progress,
) -> Audit:
    """Ask every check and keep the answers in `audits/<dataset>/`, in the place of an older audit.

    Args:
        dataset: What to look at.
        radius: How far apart the signatures of near copies may lie, 0..2; None takes the default.
        similarity: How alike the details of near copies must be, 0..1; None takes the default.
        mirrored: Whether mirror images count as near copies.
        progress: Called as work goes on.
    """
    from medwb.audit.survey import Survey  # loads OpenCV, which those who read an audit need not

    survey = Survey(dataset, radius=radius, similarity=similarity, mirrored=mirrored, progress=progress)
    survey.measure()
    found = {}
    for done, check in enumerate(CHECKS):
        survey.checked(done, len(CHECKS.names()))
        found[check.name] = check.find(survey).assign(check=check.name)
    table = pd.concat(found.values(), ignore_index=True)[list(ISSUE_COLUMNS)]
    audit = Audit(dataset, table, _groups(survey), _pairs(survey), _frames(survey), _summary(survey, found))
    audit = replace(audit, summary=_save(audit))
    survey.checked(1, 1)
    return audit


def open_audit(dataset: Dataset) -> Audit:
    """Read a dataset's audit.

    Raises:
        RequestError: There is none, it is damaged, or the dataset has changed since.
    """
    folder = audits_dir() / dataset.name
    again = f"run `medwb audit {dataset.name}`"
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        if summary["fingerprint"] != dataset.fingerprint:
            raise RequestError(f"dataset {dataset.name!r} has changed since it was audited; {again}")
        tables = {}
        for name in _TABLES:
            content = (folder / f"{name}.parquet").read_bytes()
            if digest(content) != summary["tables"][name]:
                raise ValueError(f"{name}.parquet is not the one that summary.json was written for")
            tables[name] = pd.read_parquet(BytesIO(content))
        return Audit(dataset, summary=summary, **tables)
    except RequestError:
        raise
    except FileNotFoundError:
        raise RequestError(f"dataset {dataset.name!r} has not been audited yet; {again}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"the audit in {folder} is damaged ({error}); {again}") from error


_TABLES = ("issues", "groups", "pairs", "frames")


def _save(audit: Audit) -> dict[str, Any]:
    """Write the tables, let them take the place of older ones, then `summary.json`, which makes them valid.

    Returns:
        The summary, with the digest of each table's file under `tables`: a table of another audit is not believed.
    """
    folder = audits_dir() / audit.dataset.name
    summary: dict[str, Any] = {**audit.summary, "tables": {}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as tables:
            for name in _TABLES:
                temporary = tables.enter_context(replacing(folder / f"{name}.parquet"))
                getattr(audit, name).to_parquet(temporary, index=False)
                summary["tables"][name] = digest(temporary.read_bytes())
            (folder / "summary.json").unlink(missing_ok=True)  # old and new tables never pass for one audit
        write_text(folder / "summary.json", dump_json(summary) + "\n")
    except OSError as error:
        raise RequestError(f"cannot write to {folder} ({error.strerror}); free space, or set MEDWB_HOME") from error
    return summary


def digest(content: bytes) -> str:
    """32 hex digits: 128 bits of BLAKE2b."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _summary(survey: "Survey", found: dict[str, pd.DataFrame]) -> dict[str, Any]:
    dataset = survey.dataset
    disputed = contradicted(dataset.labels, survey.copies).any(axis=1)
    return {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "version": medwb.__version__,
        "checks": {name: len(rows) for name, rows in found.items()},
        "exact": {"sets": len(survey.exact), "samples": survey.exact.samples},
        "near": {
            "sets": len(survey.near.sets),
            "samples": survey.near.sets.samples,
            "radius": survey.near.radius,
            "similarity": survey.near.similarity,
            "mirrored": survey.mirrored,
        },
        "constant": len(found["constant"]),
        "contradictions": {
            "sets": int(disputed.sum()),
            "samples": int(survey.copies.sizes[disputed].sum()),
        },
        "leaks": survey.leaks.summary(),
        "ceiling": split_ceilings(dataset, survey.exact),
    }


def _groups(survey: "Survey") -> pd.DataFrame:
    copies, exact = survey.copies, survey.exact
    member = np.flatnonzero(copies.of >= 0)
    representative = np.zeros(len(copies.of), bool)
    representative[copies.representatives] = True
    return pd.DataFrame(
        {
            "id": survey.dataset.samples["id"].to_numpy(object)[member],
            "set": survey.set_names[member],
            "exact": [f"exact-{number}" if number >= 0 else "" for number in exact.of[member]],
            "representative": representative[member],
        }
    )


def _pairs(survey: "Survey") -> pd.DataFrame:
    ids = survey.dataset.samples["id"].to_numpy(object)
    pairs = survey.near.pairs
    return pairs.assign(a=ids[pairs["a"]], b=ids[pairs["b"]])


def _frames(survey: "Survey") -> pd.DataFrame:
    ids = survey.dataset.samples["id"].to_numpy(object)
    return survey.frames.reset_index(drop=True).assign(id=ids)[["id", *survey.frames.columns]]
