"""Checks of splits: what stands in several of them, and what is missing."""

import numpy as np
import pandas as pd

from medwb.audit.check import check, issues
from medwb.audit.leaks import Leaks
from medwb.audit.survey import Survey
from medwb.dataset import SPLITS

_EVALUATED = (SPLITS.index("val"), SPLITS.index("test"))
_CONSTANT_SCORE = 0.1  # copies in name only: worth a line at the end of the list


@check("leaked_copy", title="Copies in another split", area="splits")
def leaked_copies(survey: Survey) -> pd.DataFrame:
    """A copy of this validation or test sample stands in another split, so its score is too good."""
    leaks = survey.leaks
    touched = np.flatnonzero(leaks.meets["copies"].any(axis=1) & np.isin(leaks.split_of, _EVALUATED))
    evidence = leaks.evidence("copies", touched)
    found = issues(leaks.ids[touched], set=survey.set_names[touched].tolist(), evidence=evidence)
    return pd.concat([found, _constant_sets(leaks)], ignore_index=True) if leaks.constant.any() else found


def _constant_sets(leaks: Leaks) -> pd.DataFrame:
    """One issue a set of constant frames in several splits: thousands of black frames are one thing to know."""
    numbers = np.flatnonzero(leaks.constant)
    evidence = []
    for counts in leaks.spread["copies"][numbers]:
        places = ", ".join(f"{count:,} in {split}" for split, count in zip(SPLITS, counts, strict=True) if count)
        evidence.append(f"{counts.sum():,} frames of one and the same value: {places}; no picture leaks by them")
    sets = [f"set-{number}" for number in numbers]
    return issues([""] * len(numbers), score=_CONSTANT_SCORE, set=sets, evidence=evidence)


@check("leaked_group", title="Groups in several splits", area="splits")
def leaked_groups(survey: Survey) -> pd.DataFrame:
    """This validation or test sample is of a group (patient) that another split has too."""
    leaks = survey.leaks
    touched = np.flatnonzero(leaks.meets["groups"].any(axis=1) & np.isin(leaks.split_of, _EVALUATED))
    evidence = leaks.evidence("groups", touched)
    return issues(leaks.ids[touched], set=leaks.group_of[touched].tolist(), evidence=evidence)


@check("split_missing", title="Missing splits", area="splits")
def missing_splits(survey: Survey) -> pd.DataFrame:
    """A split that a training needs is not there, or no label of it is known."""
    dataset = survey.dataset
    labelled = dataset.known_label_splits()
    evidence = []
    for split, loss in (("train", "nothing can be learned"), ("val", "no network can be chosen")):
        if split not in dataset.splits:
            evidence.append(f"there is no {split} split: {loss}")
        elif split not in labelled:
            evidence.append(f"no label of the {split} split is known: {loss}")
    return issues([""] * len(evidence), evidence=evidence)
