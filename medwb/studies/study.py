"""Study: a grid of runs that answers one question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.dataset import Dataset
from medwb.registry import Registry

SPLIT = "val"
"""What studies are scored on: nothing is selected on the test split."""


@dataclass(frozen=True)
class Variant:
    """One way to train in a study.

    Attributes:
        title: How the table names it.
        settings: What it sets, fields of `RunConfig`.
        facts: What else the table says of it, in a few words.
        architecture: What it trains, by its registered name, where that is what the study varies; "" elsewhere.
    """

    title: str
    settings: Mapping[str, Any]
    facts: str = ""
    architecture: str = ""


@dataclass(frozen=True)
class Plan:
    """What a study trains on a dataset, and where it is scored.

    Attributes:
        variants: What is compared; each with the first.
        scored: bool (validation samples,): those that the comparison is made on; None for all.
        notes: What a reader must know.
    """

    variants: Sequence[Variant]
    scored: npt.NDArray[np.bool_] | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Study:
    """A registered study.

    Attributes:
        name: Key on the command line.
        title: How a page writes it.
        summary: First line of the function's docstring: the question.
        plan: From a dataset to what is trained. Raises RequestError when the question does not arise there.
        finding: What the reference study found, one sentence.
    """

    name: str
    title: str
    summary: str
    plan: Callable[[Dataset], Plan]
    finding: str = ""


STUDIES: Registry[Study] = Registry("study", "medwb.studies")


def study(name: str, *, title: str, finding: str) -> Callable[[Callable[[Dataset], Plan]], Callable[[Dataset], Plan]]:
    """Register the decorated function as a study.

    Args:
        name: Key on the command line.
        title: How a page writes it.
        finding: What the reference study found, one sentence; it stands beside each answer.
    """

    def register(plan: Callable[[Dataset], Plan]) -> Callable[[Dataset], Plan]:
        STUDIES.add(name, Study(name, title, (plan.__doc__ or "").split("\n")[0], plan, finding))
        return plan

    return register
