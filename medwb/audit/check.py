"""Check: one question put to a dataset, whose answers are issues."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.registry import Registry

if TYPE_CHECKING:
    from medwb.audit.survey import Survey

Area = Literal["images", "copies", "splits", "labels"]
AREAS: tuple[Area, ...] = ("images", "copies", "splits", "labels")

ISSUE_COLUMNS = ("check", "id", "label", "score", "set", "evidence")
"""Columns of an issues table, one row an issue:

    check     name of the check (str)
    id        the sample (str); "" where the issue is of a label or of the whole dataset
    label     the label (str); "" where the issue is of no label
    score     float32 in 0..1: how grave or clear the case is among those of its check; not for comparing checks
    set       the duplicate set ("set-3", as in `groups.parquet`) or the group of the sample; "" for none
    evidence  what was seen, in words and figures (str)
"""

Texts = str | Sequence[str] | npt.NDArray[np.object_]
Find = Callable[["Survey"], pd.DataFrame]


@dataclass(frozen=True)
class Check:
    """A registered check.

    Attributes:
        name: Key in the issues table and in JSON.
        title: How a page writes it.
        area: What it looks at.
        summary: First line of the function's docstring: what an issue of it means.
        find: From what was measured of a dataset to issues.
    """

    name: str
    title: str
    area: Area
    summary: str
    find: Find


CHECKS: Registry[Check] = Registry("check", "medwb.audit.checks")


def check(name: str, *, title: str, area: Area) -> Callable[[Find], Find]:
    """Register the decorated function as a check; it returns what `issues` makes."""

    def register(find: Find) -> Find:
        CHECKS.add(name, Check(name, title, area, (find.__doc__ or "").split("\n")[0], find))
        return find

    return register


def issues(
    ids: Sequence[str] | npt.NDArray[np.object_] = (),
    *,
    score: float | npt.ArrayLike = 1.0,
    evidence: Texts = "",
    label: Texts = "",
    set: Texts = "",
) -> pd.DataFrame:
    """Make a table of issues; `run_audit` adds the check's name.

    Args:
        ids: One sample id an issue, "" for an issue of a label or the dataset.
        score: One for all, or one an issue; cut to 0..1.
        evidence: One for all, or one an issue.
        label: One for all, or one an issue.
        set: One for all, or one an issue.
    """
    table = pd.DataFrame({"id": np.asarray(ids, dtype=object)})
    table["label"] = label
    table["score"] = np.clip(np.broadcast_to(np.asarray(score, np.float32), len(table)), 0, 1)
    table["set"] = set
    table["evidence"] = evidence
    return table.astype(dict.fromkeys(("id", "label", "set", "evidence"), object))
