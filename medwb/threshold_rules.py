"""The rules that choose a label's threshold, one decorated function each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from medwb.errors import RequestError
from medwb.operating import Candidates, Counts
from medwb.params import Param
from medwb.registry import Registry

Choose = Callable[[Candidates, float], float]

NOWHERE = 0.5
"""The threshold of a label that has nothing to tune it on."""


class Aim(NamedTuple):
    """What a rule is after.

    Attributes:
        name: Key in JSON, the word in a sentence.
        title: How a table writes it.
        measure: From counts and the rule's target to the value; arrays give arrays.
    """

    name: str
    title: str
    measure: Callable[[Counts, float], Any]


F1 = Aim("f1", "F1", lambda counts, _: counts.f1)
YOUDEN = Aim("youden", "Youden's J", lambda counts, _: counts.recall + counts.specificity - 1)
SENSITIVITY = Aim("sensitivity", "Sensitivity", lambda counts, _: counts.recall)
PRECISION = Aim("precision", "Precision", lambda counts, _: counts.precision)


def _mean_cost(counts: Counts, ratio: float) -> Any:
    samples = np.asarray(counts.tp + counts.fp + counts.fn + counts.tn, np.float64)
    cost = np.asarray(ratio * counts.fn + counts.fp, np.float64)
    return np.divide(cost, samples, out=np.full(cost.shape, np.nan), where=samples > 0)[()]


COST = Aim("cost", "Cost a sample", _mean_cost)


@dataclass(frozen=True)
class ThresholdRule:
    """How a threshold is chosen among those that call different sets of samples.

    Attributes:
        name: Key on the command line and in files.
        title: How a menu writes it.
        summary: One sentence.
        choose: From the candidates and the target to the threshold; NaN where none does what is wanted.
        aim: What it is after.
        needs: Answers that a label must have among the samples: "positive", "negative".
        param: Its target; None for a rule without one.
    """

    name: str
    title: str
    summary: str
    choose: Choose
    aim: Aim
    needs: tuple[str, ...]
    param: Param | None

    def target(self, value: float | None) -> float:
        """The target to use. Raises RequestError when it is out of range, or the rule has none."""
        if self.param is None:
            if value is not None:
                raise RequestError(f"threshold rule {self.name!r} has no target; leave {value:g} out")
            return float("nan")
        return self.param.check(self.param.default if value is None else value)


THRESHOLD_RULES: Registry[ThresholdRule] = Registry("threshold rule")


def threshold_rule(
    name: str, *, title: str, aim: Aim, needs: tuple[str, ...], param: Param | None = None
) -> Callable[[Choose], Choose]:
    """Register the decorated function as a rule; the first line of its docstring is the summary."""

    def register(choose: Choose) -> Choose:
        summary = (choose.__doc__ or "").strip().splitlines()[0]
        THRESHOLD_RULES.add(name, ThresholdRule(name, title, summary, choose, aim, needs, param))
        return choose

    return register


@threshold_rule("best-f1", title="Best F1", aim=F1, needs=("positive",))
def best_f1(found: Candidates, target: float) -> float:
    """The best F1; of several thresholds the highest."""
    return float(found.thresholds[np.argmax(found.counts.f1)])


@threshold_rule("youden", title="Youden's J", aim=YOUDEN, needs=("positive", "negative"))
def youden(found: Candidates, target: float) -> float:
    """The best sensitivity + specificity - 1 (Youden 1950); of several thresholds the highest."""
    return float(found.thresholds[np.argmax(YOUDEN.measure(found.counts, target))])


@threshold_rule(
    "sensitivity",
    title="Fixed sensitivity",
    aim=SENSITIVITY,
    needs=("positive",),
    param=Param("sensitivity", 0.01, 1.0, 0.9, 0.01, "Share of the positives that are to be called, at least."),
)
def fixed_sensitivity(found: Candidates, target: float) -> float:
    """The highest threshold with at least this sensitivity."""
    return float(found.thresholds[np.argmax(found.counts.recall >= target)])


@threshold_rule(
    "precision",
    title="Fixed precision",
    aim=PRECISION,
    needs=("positive",),
    param=Param("precision", 0.01, 1.0, 0.8, 0.01, "Share of what is called that is to be positive, at least."),
)
def fixed_precision(found: Candidates, target: float) -> float:
    """The best sensitivity among thresholds with at least this precision; none where it is not reached."""
    reached = found.counts.precision >= target
    if not reached.any():
        return float("nan")
    return float(found.thresholds[np.argmax(np.where(reached, found.counts.tp, -1))])


@threshold_rule(
    "least-cost",
    title="Least cost",
    aim=COST,
    needs=("positive", "negative"),
    param=Param("cost", 0.01, 100.0, 5.0, 0.01, "False positives that one false negative costs as much as."),
)
def least_cost(found: Candidates, target: float) -> float:
    """The least cost, a false negative counting as so many false positives; of several thresholds the highest."""
    return float(found.thresholds[np.argmin(COST.measure(found.counts, target))])


FIXED = "fixed"
"""The rule that looks at no sample; also that of a label whose threshold somebody set."""


@threshold_rule(
    FIXED,
    title="Fixed",
    aim=F1,
    needs=(),
    param=Param("threshold", 0.0, 1.0, 0.5, 0.01, "The threshold of every label."),
)
def fixed(found: Candidates, target: float) -> float:
    """The same threshold for every label, tuned on nothing."""
    return target


class Policy(NamedTuple):
    """A rule with its target, and the rule for labels on which that cannot be met."""

    rule: ThresholdRule
    target: float
    otherwise: ThresholdRule | None

    @classmethod
    def named(cls, rule: str, target: float | None = None, otherwise: str | None = None) -> "Policy":
        """Look the names up. Raises RequestError for an unknown one, or a target that is out of range."""
        entry = THRESHOLD_RULES.get(rule)
        return cls(entry, entry.target(target), None if otherwise is None else THRESHOLD_RULES.get(otherwise))


class Choice(NamedTuple):
    """What a policy makes of a label.

    Attributes:
        threshold: NaN where no threshold does what is wanted and the policy has no other rule.
        rule: The rule that chose it; "" where nothing could.
        reason: What a reader should know; "" for nothing.
    """

    threshold: float
    rule: str
    reason: str


def choose(found: Candidates, policy: Policy) -> Choice:
    """Choose a threshold for one label."""
    rule, counts = policy.rule, found.counts
    totals = {"positive": int(counts.tp[-1]), "negative": int(counts.fp[-1])}
    missing = [answer for answer in rule.needs if totals[answer] == 0]
    if missing:
        return Choice(NOWHERE, "", f"no {missing[0]} to tune on, so its threshold is {NOWHERE}")
    threshold = rule.choose(found, policy.target)
    if not np.isnan(threshold):
        flat = "every score is the same, so all samples are called or none" if len(found.thresholds) == 2 else ""
        return Choice(threshold, rule.name, flat if rule.needs else "")
    values = rule.aim.measure(counts, policy.target)
    best = int(np.nanargmax(values))
    reason = (
        f"{rule.aim.name} {policy.target:g} is not reached; the best is {values[best]:.3f}, at "
        f"{found.thresholds[best]:.3f}"
    )
    if policy.otherwise is None:
        return Choice(threshold, "", reason)
    other = choose(found, Policy(policy.otherwise, policy.otherwise.target(None), None))
    way = f"{reason}; its threshold is by {policy.otherwise.name}"
    return other._replace(reason=f"{way}: {other.reason}" if other.reason else way)
