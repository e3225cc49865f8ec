"""Scans worth looking at: the hardest, those on which two runs disagree, those whose label is suspected."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError
from medwb.outcomes.answers import Outcomes
from medwb.statistics import mcnemar

if TYPE_CHECKING:
    from medwb.audit import Audit

_SMALLEST = 1e-7  # a score of 0 or 1 that is wrong costs 16 nats, as in Keras, and not infinitely many


def hardest_scans(runs: Sequence[Outcomes]) -> pd.DataFrame:
    """The samples that runs answer worst, by their mean log loss over known labels and runs.

    Args:
        runs: Answers of one run or more on one split of a dataset; samples that not all of them have are left out.

    Returns:
        One row a sample of which something is known, the worst first: `row` (of the first outcomes), `position`
        (in the dataset's table), `id`, `group`, `loss` (nats), `wrong` (mean number of wrong labels at each run's
        thresholds), `known` (labels), `worst` (the label with the greatest loss).

    Raises:
        RequestError: No run, or runs of other splits or labels.
    """
    aligned, rows = _aligned(runs)
    first = runs[0]
    truth = first.y_true[rows]
    known = ~np.isnan(truth)
    yes = truth == 1
    loss = np.zeros(truth.shape)
    wrong = np.zeros(len(rows))
    for one, places in aligned:
        score = np.clip(one.y_score[places].astype(np.float64), _SMALLEST, 1 - _SMALLEST)
        loss += np.where(known, -np.log(np.where(yes, score, 1 - score)), 0) / len(runs)
        wrong += one.wrong()[places].sum(axis=1) / len(runs)
    some = np.flatnonzero(known.any(axis=1))
    labels = np.array(first.label_names, object)
    table = pd.DataFrame(
        {
            "row": rows[some],
            "position": first.positions[rows[some]],
            "id": first.ids[rows[some]],
            "group": first.groups[rows[some]],
            "loss": loss[some].sum(axis=1) / known[some].sum(axis=1),
            "wrong": wrong[some],
            "known": known[some].sum(axis=1),
            "worst": labels[np.argmax(np.where(known[some], loss[some], -1), axis=1)],
        }
    )
    return table.sort_values("loss", ascending=False, kind="stable", ignore_index=True)


def disagreements(a: Outcomes, b: Outcomes) -> pd.DataFrame:
    """Labels that one of two runs calls and the other does not, each at its own thresholds.

    Returns:
        One row a sample and label, the greatest difference of scores first: `row` (of `a`), `position`, `id`,
        `label`, `truth` (1, 0 or NaN), `a_score`, `b_score`, `a_called`, `b_called` (bool), `right`: "a", "b" or
        "unknown".
    """
    aligned, rows = _aligned([a, b])
    (_, a_rows), (_, b_rows) = aligned
    a_called, b_called = a.called()[a_rows], b.called()[b_rows]
    sample, label = np.nonzero(a_called != b_called)
    truth = a.y_true[rows][sample, label]
    called = a_called[sample, label]
    right = np.where(np.isnan(truth), "unknown", np.where((truth == 1) == called, "a", "b"))
    table = pd.DataFrame(
        {
            "row": rows[sample],
            "position": a.positions[rows[sample]],
            "id": a.ids[rows[sample]],
            "label": np.array(a.label_names, object)[label],
            "truth": truth,
            "a_score": a.y_score[a_rows][sample, label],
            "b_score": b.y_score[b_rows][sample, label],
            "a_called": called,
            "b_called": ~called,
            "right": right.astype(object),
        }
    )
    order = np.argsort(-(table["a_score"] - table["b_score"]).abs().to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def flip_counts(found: pd.DataFrame, label_names: Sequence[str]) -> pd.DataFrame:
    """`disagreements` a label: `label`, `flips`, `a_right`, `b_right`, `unknown`, and `p` (McNemar, exact).

    McNemar's test takes samples for independent, as the counts of patients with several scans are not.
    """
    rows = []
    for label in label_names:
        right = found.loc[found["label"] == label, "right"]
        a_right, b_right, unknown = (int((right == who).sum()) for who in ("a", "b", "unknown"))
        p = mcnemar(a_right, b_right) if a_right + b_right else np.nan
        rows.append((label, len(right), a_right, b_right, unknown, p))
    return pd.DataFrame(rows, columns=["label", "flips", "a_right", "b_right", "unknown", "p"])


def suspects(outcomes: Outcomes, audit: "Audit") -> pd.DataFrame:
    """Labels that the audit suspects to be wrong, with what the run says of them.

    Returns:
        One row a suspected label of a sample that the run has answered, the clearest first: `row`, `position`, `id`,
        `label`, `given` (1 or 0), `probability` (0..1: that the label is 1, says the audit's quick model), `score`
        (the run's), `threshold`, `agrees` (bool: the run, too, calls the opposite of what is given).
    """
    issues = audit.issues[audit.issues["check"] == "label_error"]
    issues = issues.sort_values("score", ascending=False, kind="stable")
    issues = issues[issues["label"].isin(outcomes.label_names)]
    row = pd.Index(outcomes.ids).get_indexer(pd.Index(issues["id"])).astype(np.int64)
    issues, row = issues[row >= 0], row[row >= 0]
    place = pd.Index(list(outcomes.label_names)).get_indexer(pd.Index(issues["label"]))
    given = outcomes.y_true[row, place]
    doubt = issues["score"].to_numpy(np.float64)
    score, threshold = outcomes.y_score[row, place], outcomes.thresholds[place]
    return pd.DataFrame(
        {
            "row": row,
            "position": outcomes.positions[row],
            "id": outcomes.ids[row],
            "label": issues["label"].to_numpy(object),
            "given": given,
            "probability": np.where(given == 1, 1 - doubt, doubt),
            "score": score,
            "threshold": threshold,
            "agrees": (score >= threshold) != (given == 1),
        }
    )


Places = npt.NDArray[np.int64]


def _aligned(runs: Sequence[Outcomes]) -> tuple[list[tuple[Outcomes, Places]], Places]:
    """Each run with the rows of the samples that all have answered, and these rows of the first."""
    if not runs:
        raise RequestError("no run is given; name at least one")
    first = runs[0]
    for one in runs[1:]:
        if (one.split, one.label_names) != (first.split, first.label_names):
            raise RequestError(
                f"runs {first.run_id} and {one.run_id} answered other splits or labels; choose alike ones"
            )
    shared = first.positions
    for one in runs[1:]:
        shared = np.intersect1d(shared, one.positions)
    if not len(shared):
        raise RequestError("the runs have no sample in common; choose runs of one dataset and split")
    aligned = [(one, np.searchsorted(one.positions, shared)) for one in runs]  # positions ascend
    return [(one, rows.astype(np.int64)) for one, rows in aligned], aligned[0][1].astype(np.int64)
