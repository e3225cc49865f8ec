"""A run's answers on one split, and what a threshold makes of them: counts, galleries, tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset
from medwb.decisions import decide
from medwb.errors import RequestError, unknown_name
from medwb.operating import Counts, OperatingCurve
from medwb.runs import Run
from medwb.statistics import Score, wilson_interval

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

KINDS: Mapping[str, str] = {
    "false_positive": "False positives",
    "false_negative": "False negatives",
    "true_positive": "True positives",
    "true_negative": "True negatives",
}
"""The four outcomes of a call, errors first."""

ORDERS: Mapping[str, str] = {"surest": "Most confident", "nearest": "Nearest", "random": "Random"}
"""In what order a gallery shows its scans."""

UNKNOWN = "unknown"
"""The outcome of a call whose truth is not known."""


class Ranked(NamedTuple):
    """The samples of one label by score.

    Attributes:
        positives: int64 (P,): rows of the samples that have the label, the lowest score first.
        negatives: int64 (M,): of those that have not.
        unknown: int64 (U,): of those of which it is not known.
        curve: The scores, in the same orders.
    """

    positives: Numbers
    negatives: Numbers
    unknown: Numbers
    curve: OperatingCurve


@dataclass(frozen=True)
class Outcomes:
    """What a run answered on the N samples of a split.

    Attributes:
        run_id: Whose answers.
        split: Of which split.
        label_names: The L labels.
        ids: object (N,): str.
        positions: int64 (N,): places in the dataset's samples table.
        groups: object (N,): str; "" for none.
        y_true: float32 (N, L): 1, 0 or NaN for unknown; what the dataset says.
        y_score: float32 (N, L) in 0..1.
        units: int64 (N,): samples with the same number are drawn together (`medwb.units.resampling_units`).
        thresholds: float64 (L,): the run's own.
        rule: In words, where these come from.
    """

    run_id: str
    split: str
    label_names: tuple[str, ...]
    ids: npt.NDArray[np.object_]
    positions: Numbers
    groups: npt.NDArray[np.object_]
    y_true: npt.NDArray[np.float32]
    y_score: npt.NDArray[np.float32]
    units: Numbers
    thresholds: Floats
    rule: str

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def ranked(self) -> tuple[Ranked, ...]:
        """Each label's samples, sorted once."""
        return tuple(_rank(truth, score) for truth, score in zip(self.y_true.T, self.y_score.T, strict=True))

    @cached_property
    def shuffled(self) -> Numbers:
        """int64 (N,): a number a sample by which a random order stays the same while a threshold moves."""
        return np.random.default_rng(0).permutation(len(self)).astype(np.int64)

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Place in the dataset's samples table to row here."""
        return {position: row for row, position in enumerate(self.positions.tolist())}

    def place(self, label: str) -> int:
        """The label's place. Raises RequestError for no such label."""
        if label not in self.label_names:
            raise unknown_name(f"label of run {self.run_id}", label, self.label_names)
        return self.label_names.index(label)

    def threshold(self, label: str) -> float:
        """The run's own threshold of a label."""
        return float(self.thresholds[self.place(label)])

    def called(self, thresholds: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_]:
        """bool (N, L): which labels are called, at the run's own thresholds or at others, (L,)."""
        values = self.thresholds if thresholds is None else np.asarray(thresholds, np.float64)
        return np.asarray(self.y_score >= values)

    def wrong(self, thresholds: npt.ArrayLike | None = None) -> npt.NDArray[np.bool_]:
        """bool (N, L): which calls are false positives or false negatives; never where the truth is unknown."""
        return np.asarray(~np.isnan(self.y_true) & (self.called(thresholds) != (self.y_true == 1)))


def outcomes_of(run: Run, dataset: Dataset, split: str = "val") -> Outcomes:
    """A run's answers on a split with what belongs to them. Looks at the test split are for the caller to count.

    Args:
        run: A run that has answered.
        dataset: What it was trained on.
        split: Which split.

    Raises:
        RequestError: There are no answers, they are damaged, or they are for other samples than the split has now.
    """
    from medwb.units import resampling_units  # loads OpenCV

    if run.fingerprint != dataset.fingerprint:
        raise RequestError(f"dataset {dataset.name!r} has changed since run {run.id} was trained; train again")
    answer = run.predictions(split)
    samples = dataset.samples
    positions = pd.Index(samples["id"]).get_indexer(pd.Index(answer.ids)).astype(np.int64)
    if not len(positions):
        raise RequestError(f"run {run.id} answered no sample of the split {split!r}; choose another --split")
    if (positions < 0).any() or (samples["split"].to_numpy(object)[positions] != split).any():
        raise RequestError(f"run {run.id} answered other samples than the split {split!r} has; train again")
    order = np.argsort(positions, kind="stable")
    positions = positions[order]
    mask = np.zeros(len(dataset), bool)
    mask[positions] = True
    if "val" in run.predicted_splits():
        decision = decide(run)
        thresholds, rule = decision.values, decision.rule
    else:
        thresholds, rule = np.full(len(run.label_names), 0.5), "0.5, as nothing was answered on validation"
    return Outcomes(
        run.id,
        split,
        run.label_names,
        samples["id"].to_numpy(object)[positions],
        positions,
        samples["group"].to_numpy(object)[positions],
        dataset.labels[positions],
        answer.y_score[order],
        resampling_units(dataset.subset(mask)),
        thresholds,
        rule,
    )


@dataclass(frozen=True)
class Confusion:
    """What a threshold makes of one label.

    Attributes:
        label: The label.
        threshold: Called from this score on.
        counts: Confusion counts of the samples with a known truth.
        unknown: Samples whose truth is not known.
        unknown_called: How many of these are called.
        ranges: Kind of outcome to its count with a 95 % interval: what as many other samples would give.
        scores: "recall", "specificity", "precision", "f1" and "error" (share of wrong calls) with intervals.
    """

    label: str
    threshold: float
    counts: Counts
    unknown: int
    unknown_called: int
    ranges: dict[str, Score]
    scores: dict[str, Score]

    def to_json(self) -> dict[str, object]:
        """Plain numbers: the counts, and each score as {"value", "low", "high"}."""
        return {
            "label": self.label,
            "threshold": self.threshold,
            "counts": {kind: score._asdict() for kind, score in self.ranges.items()},
            "unknown": self.unknown,
            "unknown_called": self.unknown_called,
            **{name: score._asdict() for name, score in self.scores.items()},
        }


def confusion(outcomes: Outcomes, label: str, threshold: float | None = None) -> Confusion:
    """Counts and scores of one label at a threshold (the run's own for None), with 95 % intervals.

    Intervals are those of `share_interval`, quick enough to follow a slider. F1 is 2 J / (1 + J) of Jaccard's
    J = TP / (TP + FP + FN), a share, so that its interval is that of J. F1 is undefined without a positive.
    """
    place = outcomes.place(label)
    value = outcomes.threshold(label) if threshold is None else threshold
    truth, called = outcomes.y_true[:, place], outcomes.y_score[:, place] >= np.float64(value)
    yes, no = truth == 1, truth == 0
    hits = {
        "false_positive": no & called,
        "false_negative": yes & ~called,
        "true_positive": yes & called,
        "true_negative": no & ~called,
    }
    known, units = yes | no, outcomes.units
    total = int(known.sum())
    ranges = {}
    for kind, hit in hits.items():
        count, share = float(hit.sum()), share_interval(hit, known, units)
        ranges[kind] = Score(count, min(count, share.low * total), max(count, share.high * total))
    tp, fp, fn = (hits[kind] for kind in ("true_positive", "false_positive", "false_negative"))
    jaccard = share_interval(tp, tp | fp | fn, units)
    undefined = Score(np.nan, np.nan, np.nan)
    scores = {
        "recall": share_interval(tp, yes, units),
        "specificity": share_interval(hits["true_negative"], no, units),
        "precision": share_interval(tp, called & known, units),
        "f1": Score(*(2 * end / (1 + end) for end in jaccard)) if yes.any() else undefined,
        "error": share_interval(fp | fn, known, units),
    }
    counts = Counts(
        tp=int(tp.sum()), fp=int(fp.sum()), fn=int(fn.sum()), tn=total - int(tp.sum() + fp.sum() + fn.sum())
    )
    unknown_called = int((called & ~known).sum())
    return Confusion(label, value, counts, len(outcomes) - total, unknown_called, ranges, scores)


def share_interval(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_], units: Numbers) -> Score:
    """The share of `whole` that is in `part`, with a 95 % interval that knows which samples belong together.

    Wilson's interval (1927) for the effective number of samples: the number divided by the design effect, which is
    how much larger the variance of the ratio over units is than that of independent samples (Rao and Scott, "A
    simple method for the analysis of clustered binary data", Biometrics 48, 1992); at least 1. Where all samples are
    alike no variance can be estimated: the number is then that of the units.

    Args:
        part: bool (N,), false wherever `whole` is.
        whole: bool (N,).
        units: int64 (N,): samples with the same number are not independent.

    Returns:
        The share; NaN where `whole` is empty.
    """
    total = int(whole.sum())
    if not total:
        return Score(np.nan, np.nan, np.nan)
    share = int(part.sum()) / total
    members = units[whole]
    sizes = np.bincount(members)
    clusters = int((sizes > 0).sum())
    if share in (0.0, 1.0) or clusters < 2:
        effective = float(clusters)
    else:
        residuals = np.bincount(members, weights=part[whole]) - share * sizes
        variance = clusters / (clusters - 1) * float((residuals**2).sum()) / total**2
        effective = total / max(1.0, variance * (total - 1) / (share * (1 - share)))
    low, high = wilson_interval(share * effective, effective)
    return Score(share, min(share, float(low)), max(share, float(high)))  # but for rounding


def gallery(
    outcomes: Outcomes,
    label: str,
    threshold: float,
    kind: str,
    order: str = "surest",
    count: int = 24,
) -> tuple[Numbers, int]:
    """Samples of one outcome, in the order in which they are worth looking at.

    Args:
        outcomes: A run's answers.
        label: The label.
        threshold: Called from this score on.
        kind: One of `KINDS`.
        order: "surest": the furthest beyond the threshold first; "nearest": the closest to it first; "random": the
            same at every threshold.
        count: At most so many.

    Returns:
        int64 (at most `count`,): rows of `outcomes`; and how many samples have that outcome.
    """
    if kind not in KINDS:
        raise unknown_name("outcome", kind, KINDS)
    if order not in ORDERS:
        raise unknown_name("order of a gallery", order, ORDERS)
    found = outcomes.ranked[outcomes.place(label)]
    of_positives = kind in ("true_positive", "false_negative")
    rows = found.positives if of_positives else found.negatives
    cut = int(np.searchsorted(found.curve.positives if of_positives else found.curve.negatives, threshold))
    called = kind in ("true_positive", "false_positive")
    members = rows[cut:] if called else rows[:cut]  # the nearest is the first of what is called, the last of the rest
    if order == "random":
        keys = outcomes.shuffled[members]
        some = np.argpartition(keys, count)[:count] if count < len(keys) else np.arange(len(keys))
        return members[some[np.argsort(keys[some])]], len(members)
    from_threshold = members if called else members[::-1]
    return (from_threshold if order == "nearest" else from_threshold[::-1])[:count], len(members)


def outcome_table(outcomes: Outcomes, label: str, threshold: float | None = None) -> pd.DataFrame:
    """Every sample's outcome on one label, in the order of the dataset.

    Returns:
        `id`, `split`, `group`, `label` (str); `truth` (1, 0 or NaN), `score` (0..1), `threshold`; `outcome`: one of
        `KINDS`, or "unknown".
    """
    place = outcomes.place(label)
    value = outcomes.threshold(label) if threshold is None else threshold
    truth, score = outcomes.y_true[:, place], outcomes.y_score[:, place]
    return pd.DataFrame(
        {
            "id": outcomes.ids,
            "split": outcomes.split,
            "group": outcomes.groups,
            "label": label,
            "truth": truth,
            "score": score,
            "threshold": value,
            "outcome": _named(truth, score >= np.float64(value)),
        }
    )


def scan_table(outcomes: Outcomes, row: int, thresholds: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Truth and answer of one sample, a row a label: `label`, `truth`, `score`, `threshold`, `called`, `outcome`."""
    values = np.array(
        [
            (thresholds or {}).get(name, own)
            for name, own in zip(outcomes.label_names, outcomes.thresholds, strict=True)
        ]
    )
    truth, score = outcomes.y_true[row], outcomes.y_score[row]
    called = score >= values
    return pd.DataFrame(
        {
            "label": list(outcomes.label_names),
            "truth": truth,
            "score": score,
            "threshold": values,
            "called": called,
            "outcome": _named(truth, called),
        }
    )


def _named(truth: npt.NDArray[np.float32], called: npt.NDArray[np.bool_]) -> npt.NDArray[np.object_]:
    names = np.full(truth.shape, UNKNOWN, object)
    for kind in KINDS:
        positive = kind in ("true_positive", "false_negative")
        names[(truth == int(positive)) & (called == (kind in ("true_positive", "false_positive")))] = kind
    return names


def _rank(truth: npt.NDArray[np.float32], score: npt.NDArray[np.float32]) -> Ranked:
    wide = score.astype(np.float64)
    sides = []
    for answer in (1, 0):
        rows = np.flatnonzero(truth == answer)
        sides.append(rows[np.argsort(wide[rows], kind="stable")].astype(np.int64))
    curve = OperatingCurve(wide[sides[0]], wide[sides[1]])
    return Ranked(sides[0], sides[1], np.flatnonzero(np.isnan(truth)).astype(np.int64), curve)
