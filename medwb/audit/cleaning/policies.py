"""The policies."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from medwb.audit.cleaning.policy import Draft, policy
from medwb.audit.leaks import constant_frames


@policy("keep-all", title="Keep everything")
def keep_all(draft: Draft) -> None:
    """Nothing leaves and nothing changes."""


@policy("drop-contradictions", title="Drop contradictory copies")
def drop_contradictions(draft: Draft) -> None:
    """Every set of copies whose labels contradict one another leaves."""
    for found in draft.disputes():
        for members, reason in zip(found.members, found.reasons, strict=True):
            draft.exclude(members, reason)


@policy("keep-one-negative", title="Keep one, all labels 0")
def keep_one_negative(draft: Draft) -> None:
    """Of each contradictory set one sample stays, all its labels 0 but those that no copy knows."""
    _keep_one(draft, lambda share: np.where(np.isnan(share), share, 0), "all labels 0")


@policy("keep-one-positive", title="Keep one, all labels 1")
def keep_one_positive(draft: Draft) -> None:
    """Of each contradictory set one sample stays, all its labels 1 but those that no copy knows."""
    _keep_one(draft, lambda share: np.where(np.isnan(share), share, 1), "all labels 1")


@policy("keep-one-majority", title="Keep one, labels of the majority")
def keep_one_majority(draft: Draft) -> None:
    """Of each contradictory set one sample stays with the labels of the majority; a tie is unknown."""
    _keep_one(draft, lambda share: np.where(share == 0.5, np.nan, np.round(share)), "labels of the majority")


@policy("keep-one-soft", title="Keep one, labels as shares")
def keep_one_soft(draft: Draft) -> None:
    """Of each contradictory set one sample stays; its labels are the shares of votes, which the loss takes."""
    _keep_one(draft, lambda share: share, "labels are the shares of their votes")


@policy("contradictions-unknown", title="Make contradictory labels unknown")
def contradictions_unknown(draft: Draft) -> None:
    """All samples stay; the labels on which copies disagree become unknown."""
    for found in draft.disputes():
        for members, disputed, reason in zip(found.members, found.disputed, found.reasons, strict=True):
            draft.relabel(members, np.where(disputed, np.float32(np.nan), draft.labels[members]), reason)


@policy("drop-constant", title="Drop frames of one value")
def drop_constant(draft: Draft) -> None:
    """Frames that are one value everywhere, such as black ones, leave: there is nothing to learn from."""
    positions = np.flatnonzero(draft.keep & draft.dataset.samples["split"].isin(draft.splits).to_numpy())
    draft.exclude(positions[constant_frames(draft.dataset, positions)], "one value everywhere")


@policy("drop-train-copies", title="Drop train samples with copies in val or test", splits=("train",))
def drop_train_copies(draft: Draft) -> None:
    """Train samples leave that have a copy in val or test; frames of one value stay."""
    draft.exclude_leaking("train", ("val", "test"), ("copies",))


@policy("drop-leaking-train", title="Drop train samples that leak", splits=("train",))
def drop_leaking_train(draft: Draft) -> None:
    """Train samples leave that share copies or a group with val or test; what val and test share stays."""
    draft.exclude_leaking("train", ("val", "test"), ("copies", "groups"))


@policy("drop-leaking-eval", title="Drop val and test samples that leak", splits=("val", "test"))
def drop_leaking_eval(draft: Draft) -> None:
    """Val and test samples leave that share copies or a group with train, and val ones that do with test."""
    draft.exclude_leaking("test", ("train",), ("copies", "groups"))
    draft.exclude_leaking("val", ("train", "test"), ("copies", "groups"))


def _keep_one(
    draft: Draft, labels_of: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating]], what: str
) -> None:
    """Leave the first sample of each contradictory set, with labels that follow from the shares of votes."""
    for found in draft.disputes():
        labels = labels_of(found.share).astype(np.float32)
        for members, reason, row in zip(found.members, found.reasons, labels, strict=True):
            draft.exclude(members[1:], f"{reason}; {draft.dataset.samples['id'].iloc[members[0]]} stays")
            draft.relabel(members[:1], row[None], f"stays: {reason}; {what}")
