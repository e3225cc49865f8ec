"""From policies to a cleaning."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medwb.audit.cleaning.changes import CLEANING_COLUMNS, NO_CLEANING, Cleaning
from medwb.audit.cleaning.policy import POLICIES, Draft
from medwb.audit.results import Audit
from medwb.errors import RequestError, unknown_name
from medwb.paths import check_name


def read_policies(text: str) -> list[str]:
    """Read "keep-one-soft+drop-train-copies". Raises RequestError for a policy that does not exist."""
    return [POLICIES.get(part.strip()).name for part in text.split("+")]


def make_cleaning(
    audit: Audit, policies: Sequence[str], splits: Sequence[str] = ("train",), name: str | None = None
) -> Cleaning:
    """Let policies act on an audited dataset, one after the other, each on what the ones before left.

    So the order matters: of a contradictory set, the one sample that a keep-one policy leaves may still leave as one
    that leaks when that policy comes second.

    Args:
        audit: The dataset and its copies, exact and near.
        policies: Names of registered policies.
        splits: What they may act on; train alone, unless more is asked for. Policies that are about a leak name the
            splits that they act on themselves. Each split is cleaned by itself: labels of one never decide those of
            another.
        name: What to call it; None joins the policies with dots, and adds the splits where they are not train alone:
            "keep-one-soft.drop-train-copies", "keep-one-soft.on-train-val".

    Raises:
        RequestError: No policy, an unknown one or one twice, a split that the dataset does not have, a name that
            is not allowed, or that of another policy.
    """
    chosen = [POLICIES.get(policy) for policy in policies]
    if not chosen:
        raise RequestError(f"no policy is named; choose from {', '.join(POLICIES.names())}")
    if twice := [policy for policy in policies if list(policies).count(policy) > 1]:
        raise RequestError(f"policy {twice[0]!r} is named twice; name it once")
    dataset = audit.dataset
    for split in splits:
        if split not in dataset.splits:
            raise unknown_name(f"split of {dataset.name}", split, dataset.splits)
    scope = [split for split in dataset.splits if split in splits]
    if name is None:
        name = ".".join([*policies, *([] if scope == ["train"] else ["on-" + "-".join(scope)])])
    check_cleaning_name(name)
    if name in POLICIES.names() and list(policies) != [name]:
        raise RequestError(f"{name!r} is the name of a policy; give a cleaning by {'+'.join(policies)} another name")
    draft = Draft(dataset, audit.copies, scope)
    for policy in chosen:
        draft.policy = policy.name
        policy.act(draft)
    return Cleaning(dataset.name, dataset.fingerprint, name, tuple(policies), tuple(scope), _table(draft))


def check_cleaning_name(name: str) -> str:
    """Return the name. Raises RequestError unless a cleaning can have it."""
    if name == NO_CLEANING:
        raise RequestError(f"a cleaning cannot be called {name!r}: in a run's settings that means no cleaning")
    return check_name(name, "cleaning")


def _table(draft: Draft) -> pd.DataFrame:
    """What leaves and what changes, in the order of the samples."""
    dataset = draft.dataset
    before, after = dataset.labels, draft.labels
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    changed, label = np.nonzero(~same & draft.keep[:, None])
    left = np.flatnonzero(~draft.keep)
    sample = np.concatenate([left, changed])
    names = np.array([*dataset.label_names, ""], object)
    nothing = np.full(len(left), np.nan, np.float32)
    table = pd.DataFrame(
        {
            "id": dataset.samples["id"].to_numpy(object)[sample],
            "split": dataset.samples["split"].to_numpy(object)[sample],
            "action": np.repeat(np.array(["exclude", "label"], object), [len(left), len(changed)]),
            "label": names[np.concatenate([np.full(len(left), -1), label])],
            "old": np.concatenate([nothing, before[changed, label]]),
            "new": np.concatenate([nothing, after[changed, label]]),
            "reason": draft.reasons[sample],
            "policy": draft.policies[sample],
        }
    )
    return table.iloc[np.argsort(sample, kind="stable")].reset_index(drop=True)[list(CLEANING_COLUMNS)]
