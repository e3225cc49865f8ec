"""Policy: one named way to deal with what an audit found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medwb.audit.contradictions import contradicted, expected_labels
from medwb.audit.leaks import Kind, Leaks, find_leaks
from medwb.audit.sets import DuplicateSets
from medwb.dataset import SPLITS, Dataset
from medwb.registry import Registry

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Disputes:
    """Sets of copies in one split that contradict themselves, as far as the samples have not left yet.

    Attributes:
        members: One int64 array a set: positions of its samples in the dataset's table, the first one first.
        disputed: bool (sets, L): the labels on which the copies disagree.
        share: float32 (sets, L): the share of the known votes that say yes; NaN where none is known.
        reasons: A text a set: how many copies of which set disagree on what.
    """

    members: list[Positions]
    disputed: npt.NDArray[np.bool_]
    share: npt.NDArray[np.float32]
    reasons: list[str]


class Draft:
    """A dataset while policies act on it, one after the other.

    Args:
        dataset: What is cleaned; it is left as it is.
        copies: Its sets of exact and near copies.
        splits: The splits that policies may act on, where they do not name their own.

    Attributes:
        keep: bool (N,): the samples that have not left.
        labels: float32 (N, L): labels as they are by now.
        reasons: object (N,): why each sample left or changed last; "" for neither.
        policies: object (N,): the policy that did it.
        policy: Name of the policy that is at work.
    """

    def __init__(self, dataset: Dataset, copies: DuplicateSets, splits: Sequence[str]) -> None:
        self.dataset = dataset
        self.copies = copies
        self.splits = tuple(splits)
        self.keep = np.ones(len(dataset), bool)
        self.labels = dataset.labels.copy()
        self.reasons = np.full(len(dataset), "", object)
        self.policies = np.full(len(dataset), "", object)
        self.policy = ""
        self._split = dataset.samples["split"].to_numpy(object)

    def disputes(self) -> Iterator[Disputes]:
        """The contradictions of each split that policies may act on.

        Each split is looked at by itself: the labels of val never decide those of train.
        """
        names = np.array(self.dataset.label_names, object)
        for split in self.splits:
            here = self.keep & (self._split == split)
            positions, labels, sets = np.flatnonzero(here), self.labels[here], self.copies.restricted(here)
            disputed = contradicted(labels, sets)
            some = np.flatnonzero(disputed.any(axis=1))
            members = [positions[member] for member in sets.members()]
            reasons = [
                f"one of {len(members[number]):,} copies in {split} (set-{self.copies.of[members[number][0]]}) that "
                f"disagree on {', '.join(names[disputed[number]])}"
                for number in some
            ]
            yield Disputes(
                [members[number] for number in some],
                disputed[some],
                expected_labels(labels, sets)[some],
                reasons,
            )

    def exclude(self, positions: Positions, reasons: str | Sequence[str]) -> None:
        """Let samples leave; one reason for all, or one a sample."""
        self.keep[positions] = False
        self._note(positions, reasons)

    def relabel(self, positions: Positions, labels: npt.NDArray[np.float32], reasons: str | Sequence[str]) -> None:
        """Give samples new labels, float32 (positions, L); one reason for all, or one a sample."""
        self.labels[positions] = labels
        self._note(positions, reasons)

    def exclude_leaking(self, split: str, others: Sequence[str], kinds: Sequence[Kind]) -> None:
        """Let the samples of a split leave that meet one of the others, through copies, groups or either."""
        positions = np.flatnonzero(self.keep)
        leaks = self.leaks()
        columns = [SPLITS.index(other) for other in others]
        for kind in kinds:
            meets = leaks.meets[kind][:, columns].any(axis=1) & (leaks.split_of == SPLITS.index(split))
            self.exclude(positions[meets], leaks.evidence(kind, np.flatnonzero(meets)))

    def leaks(self) -> Leaks:
        """Leaks among the samples that have not left, in their order."""
        return find_leaks(self.dataset.subset(self.keep), self.copies.restricted(self.keep))

    def _note(self, positions: Positions, reasons: str | Sequence[str]) -> None:
        self.reasons[positions] = reasons
        self.policies[positions] = self.policy


Act = Callable[[Draft], None]


@dataclass(frozen=True)
class Policy:
    """A registered policy.

    Attributes:
        name: What the command line and files call it.
        title: How a page writes it.
        summary: First line of the function's docstring: what it does.
        splits: The splits that it acts on, whatever was asked for; None: those asked for.
        act: Changes a draft.
    """

    name: str
    title: str
    summary: str
    splits: tuple[str, ...] | None
    act: Act


POLICIES: Registry[Policy] = Registry("policy", "medwb.audit.cleaning")


def policy(name: str, *, title: str, splits: Sequence[str] | None = None) -> Callable[[Act], Act]:
    """Register the decorated function, which changes a `Draft`, as a policy."""

    def register(act: Act) -> Act:
        summary = (act.__doc__ or "").strip().split("\n")[0]
        POLICIES.add(name, Policy(name, title, summary, tuple(splits) if splits else None, act))
        return act

    return register
