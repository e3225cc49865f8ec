"""Which thresholds turn a run's scores into yes and no, and how they came about."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medwb.errors import RequestError, short, unknown_name
from medwb.metrics import tune_thresholds
from medwb.operating import candidates
from medwb.runs import Run
from medwb.threshold_rules import Policy, choose
from medwb.thresholds import THRESHOLD_RULES, open_thresholds, used_thresholds

Floats = npt.NDArray[np.floating]
Tune = Callable[[Floats, Floats], npt.NDArray[np.float64]]
Choice = float | Mapping[str, float] | None
"""One threshold for all labels, a threshold for some of them, or None for the run's own."""


@dataclass(frozen=True)
class Decision:
    """The thresholds of a run's labels.

    Attributes:
        thresholds: Label to threshold, 0..1; a label is called where its score is at least this.
        rule: In words, how they were chosen.
        tune: From truth (N, L) and scores (N, L) to thresholds (L,), as they were tuned on validation; None where
            nothing was tuned, so that validation says without optimism how good they are.
    """

    thresholds: dict[str, float]
    rule: str
    tune: Tune | None

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The thresholds, float64 (L,), in the order of the run's labels."""
        return np.array(list(self.thresholds.values()), np.float64)


def decide(run: Run, chosen: Choice = None) -> Decision:
    """The thresholds that a run's answers are cut at.

    Args:
        run: A run with predictions of its validation split.
        chosen: The user's own; labels that it leaves out keep the run's own: those that were saved with the run, or
            else those with the best F1 on validation.

    Raises:
        RequestError: A threshold is outside 0..1 or names no label, the run has no predictions, or what was saved is
            damaged or of other predictions.
    """
    names = run.label_names
    if isinstance(chosen, int | float):
        chosen = dict.fromkeys(names, float(chosen))
    own = dict(chosen or {})
    for label, value in own.items():
        if label not in names:
            raise unknown_name(f"label of run {run.id}", label, names)
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise RequestError(f"threshold {label}={value!r} is outside 0..1, where scores lie; choose one inside")
    if len(own) == len(names):
        return Decision({name: float(own[name]) for name in names}, "chosen by hand", None)
    base = _own_decision(run)
    if not own:
        return base
    mixed = {name: float(own.get(name, base.thresholds[name])) for name in names}
    held = {names.index(label): value for label, value in own.items()}
    return Decision(mixed, f"{base.rule}, {len(own)} chosen by hand", base.tune and _holding(base.tune, held))


def _own_decision(run: Run) -> Decision:
    """What was saved with the run, or the best F1 on validation."""
    saved = open_thresholds(run)
    values, rule = used_thresholds(run)
    if saved is None:
        tune: Tune | None = tune_thresholds
    elif not THRESHOLD_RULES.get(saved.rule).needs:
        tune = None
    else:
        target = None if math.isnan(saved.target) else saved.target
        tune = _tuner(Policy.named(saved.rule, target, saved.otherwise or None))
        held = {int(place): float(values[place]) for place in np.flatnonzero(saved.by_hand)}
        tune = _holding(tune, held)
    return Decision(dict(zip(run.label_names, values.tolist(), strict=True)), rule, tune)


def _holding(tune: Tune, held: Mapping[int, float]) -> Tune:
    """Tunes all labels but those, by their positions, that keep what somebody chose."""

    def tune_the_rest(truth: Floats, score: Floats) -> npt.NDArray[np.float64]:
        values = tune(truth, score)
        values[list(held)] = list(held.values())
        return values

    return tune_the_rest


def _tuner(policy: Policy) -> Tune:
    """Tunes each label by a policy; NaN, which calls nothing, where that reaches none."""

    def tune(truth: Floats, score: Floats) -> npt.NDArray[np.float64]:
        values = np.empty(truth.shape[1])
        for label in range(truth.shape[1]):
            known = np.flatnonzero(~np.isnan(truth[:, label]))
            order = known[np.argsort(-score[known, label], kind="stable")]
            found = candidates(score[order, label].astype(np.float64), truth[order, label] == 1)
            values[label] = choose(found, policy).threshold
        return values

    return tune


def parse_thresholds(texts: Sequence[str], label_names: Sequence[str]) -> Choice:
    """Read thresholds as a command line gives them: "0.5" for all labels, "label=0.3" for one; the later wins.

    Raises:
        RequestError: No number, or no such label.
    """
    chosen: dict[str, float] = {}
    for text in texts:
        label, sign, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise RequestError(
                f"--threshold {short(text)} is no threshold; write 0.5, or LABEL=0.5 for one label"
            ) from None
        if sign and label not in label_names:
            raise unknown_name("label", label, label_names)
        chosen |= {label: value} if sign else dict.fromkeys(label_names, value)
    return chosen or None
