"""Checks of copies: exact, near, and those that contradict one another."""

import numpy as np
import pandas as pd

from medwb.audit.check import check, issues
from medwb.audit.contradictions import contradicted
from medwb.audit.survey import Survey


@check("exact_copy", title="Exact copies", area="copies")
def exact_copies(survey: Survey) -> pd.DataFrame:
    """The same pixels as another sample."""
    sets = survey.exact
    member = np.flatnonzero(sets.of >= 0)
    return issues(
        survey.dataset.samples["id"].to_numpy(object)[member],
        set=survey.set_names[member],
        evidence=[f"one of {size:,} with the same pixels" for size in sets.sizes[sets.of[member]]],
    )


@check("near_copy", title="Near copies", area="copies")
def near_copies(survey: Survey) -> pd.DataFrame:
    """A copy of another sample but for a shift, brightness, re-encoding, blur, a small turn or crop."""
    ids = survey.dataset.samples["id"].to_numpy(object)
    pairs = survey.near.pairs[survey.near.pairs["copy"]]
    both = pd.concat(
        [pairs[["a", "b", "similarity"]], pairs.rename(columns={"a": "b", "b": "a"})[["a", "b", "similarity"]]]
    )
    best = both.sort_values("similarity", ascending=False).drop_duplicates("a").sort_values("a")
    mine, other = best["a"].to_numpy(np.int64), best["b"].to_numpy(np.int64)
    likeness = best["similarity"].to_numpy(np.float32)
    return issues(
        ids[mine],
        score=likeness,
        set=survey.set_names[mine],
        evidence=[f"like {ids[b]}, similarity {value:.3f}" for b, value in zip(other, likeness, strict=True)],
    )


@check("contradiction", title="Contradictions", area="copies")
def contradictions(survey: Survey) -> pd.DataFrame:
    """Copies of one picture that are labelled differently."""
    dataset, sets = survey.dataset, survey.copies
    disputed = contradicted(dataset.labels, sets)  # bool (sets, L)
    member = np.flatnonzero(sets.of >= 0)
    member = member[disputed[sets.of[member]].any(axis=1)]
    names = np.array(dataset.label_names, object)
    return issues(
        dataset.samples["id"].to_numpy(object)[member],
        set=survey.set_names[member],
        evidence=[f"copies disagree on {', '.join(names[disputed[number]])}" for number in sets.of[member]],
    )
