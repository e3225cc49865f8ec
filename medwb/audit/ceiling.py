"""The ceiling: the best score that any function of the image can reach where identical images contradict.

A function of the image gives identical images one and the same answer. On a split, it is therefore free to choose
one score a set of identical images and one a sample without copies, and nothing more. For each label, let set u
hold p_u positives and n_u negatives (unknown labels do not count), with the share s_u = p_u / (p_u + n_u), and let
P be all positives. A label's answers are chosen on their own, so the best macro and weighted averages are the
averages of the best values a label.

**Accuracy (exact).** Each set is right on max(p_u, n_u) samples at most, and the majority's answer reaches that.

**F1 (exact).** Calling the sets in S gives F(S) = 2 sum(p_u) / (sum(p_u + n_u) + P): a ratio of two functions that
are sums over S. By Dinkelbach, "On nonlinear fractional programming" (1967), the best value F* is where max over S
of sum(2 p_u - F* (p_u + n_u)) = F* P, and the maximum takes exactly the sets with s_u > F*/2, as in Lipton, Elkan
and Naryanaswamy, "Thresholding classifiers to maximize F1 score" (2014). The best S is thus the first sets in the
order of their shares; all such beginnings are tried.

**ROC AUC (exact).** It counts pairs of a positive and a negative. Pairs inside a set are tied and count one half.
Of two sets u, v either p_u n_v or p_v n_u pairs are in the right order, and the former is the larger exactly if
s_u > s_v. The order of the shares is therefore the best for all pairs of sets at once.

**Average precision (exact, or a bound).** The positives of a set all get the precision at the set's end: P AP = sum
of p_u T_u / (T_u + F_u), with the true and false positives down to and with u. The order of the shares need not be
the best, since a large set spoils the precision for all its positives at once. What holds:

1. *Some best order has no two sets tied.* Take a best order with as many steps as can be, and a step B of several
   sets with precision b at its end. If a set in B has s_u <= b, putting it behind the rest of B loses nothing and
   adds a step. Otherwise all shares in B exceed b, hence the precision c before B is below b and a step C stands
   before B. If C has positives, joining C to B raises theirs from c to b; if it has none, putting C behind B raises
   those of B. Each contradicts the choice.
2. *Sets without negatives come first, those without positives last*: moving a positive to the front lowers no
   precision.
3. *Exact:* the value of a beginning depends on which sets it holds, not on their order (dynamic programming over
   the subsets, as Held and Karp, 1962). Sets with the same (p, n) are alike, so this takes the product of (count +
   1) over the kinds of contradictory sets; it is done up to `_STATES`. One set of black frames is two states.
4. *Bound, otherwise:* let f(x) be the fewest false positives with x true ones if sets could be cut: it takes the
   order of the shares, and h(x) = x / (x + f(x)) falls. A set that ends at y true positives holds at least f_u(y)
   false ones, where f_u is f for beginnings that contain u whole, so its positives get at most h_u(y) = y / (y +
   f_u(y)). Sets take up [0, P] interval by interval, therefore

       P AP <= integral of h over [0, P] - sum over u of min over y of (integral of h over [y - p_u, y] - p_u h_u(y)).

   No term of the sum is negative, so any may be left out: it is taken over the largest kinds, where it matters.
   Against a local search over orders, the bound was 0.0002 to 0.003 above the best one found with up to one set much
   larger than the others, and 0.012 with three.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.audit.contradictions import chosen_sets, count_votes
from medwb.audit.sets import DuplicateSets
from medwb.dataset import Dataset
from medwb.metrics import average

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_STATES = 20_000  # subsets looked at for one label's average precision: a tenth of a second
_LARGEST = 8  # kinds of sets whose size the bound takes into account


def ceiling(
    labels: npt.NDArray[np.float32], sets: DuplicateSets, *, among: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """The best scores on these samples of any function that gives identical images the same answer.

    The derivations are at the top of this module. Scores are as in `medwb.metrics`: unknown labels do not count,
    values that are undefined are NaN and left out of averages.

    Args:
        labels: float (N, L): 1, 0 or NaN for unknown.
        sets: Sets of identical images among these N samples.
        among: bool (sets,): only these sets are held to one answer, as if the others' labels had been put right;
            None takes all. With `black_sets` it tells what the black frames alone cost.

    Returns:
        "f1": float64 (L,), best F1 of each label; "macro_f1", "weighted_f1" (by positives), "accuracy",
        "average_precision", "roc_auc": floats, averaged over labels; "labels": name of each metric to float64 (L,);
        "bound": the names that are upper bounds; all others are reached by some function of the image.
    """
    if among is not None:
        sets = chosen_sets(sets, among)
    positive, negative = count_votes(labels, sets)
    disputed = (positive > 0) & (negative > 0)
    positives, negatives = (labels == 1).sum(0), (labels == 0).sum(0)
    best = {name: np.full(labels.shape[1], np.nan) for name in ("f1", "accuracy", "average_precision", "roc_auc")}
    exact = True
    for label, (total, rest, mask) in enumerate(zip(positives, negatives, disputed.T, strict=True)):
        p, n = positive[mask, label], negative[mask, label]
        order = np.argsort(-p / (p + n), kind="stable")
        p, n = p[order], n[order]
        if total + rest:
            best["accuracy"][label] = (total + rest - np.minimum(p, n).sum()) / (total + rest)
        if total:
            best["f1"][label] = _f1(int(total), p, n)
            best["average_precision"][label], found = _average_precision(int(total - p.sum()), p, n)
            exact &= found
        if total and rest:
            best["roc_auc"][label] = _roc_auc(int(total), int(rest), p, n)
    weights = positives[None].astype(np.float64)
    return {
        "f1": best["f1"],
        "macro_f1": float(average(best["f1"][None], "macro")[0]),
        "weighted_f1": float(average(best["f1"][None], "weighted", weights)[0]),
        **{name: float(average(values[None], "macro")[0]) for name, values in best.items() if name != "f1"},
        "labels": best,
        "bound": [] if exact else ["average_precision"],
    }


def split_ceilings(
    dataset: Dataset, exact: DuplicateSets, *, among: npt.ArrayLike | None = None
) -> dict[str, dict[str, Any]]:
    """The ceiling of every split that can be scored.

    Args:
        dataset: The samples.
        exact: Sets of identical images among all of them; on a split, those count that lie in it.
        among: bool (sets,): as in `ceiling`.

    Returns:
        A split's name to its scores, ready for JSON but for NaN: floats under the names of `medwb.table.SCORES`,
        "f1" {label: float}, and "bound": names of the scores that are upper bounds.
    """
    if among is not None:
        exact = chosen_sets(exact, among)
    found = {}
    for split in dataset.known_label_splits():
        inside = (dataset.samples["split"] == split).to_numpy(bool)
        best = ceiling(dataset.labels[inside], exact.restricted(inside))
        del best["labels"]
        best["f1"] = dict(zip(dataset.label_names, best["f1"].tolist(), strict=True))
        found[split] = best
    return found


def _f1(total: int, p: Counts, n: Counts) -> float:
    """Best F1 with `total` positives; `p` and `n` are those of the contradictory sets, the largest share first."""
    true = total - p.sum() + np.append(0, np.cumsum(p))
    false = np.append(0, np.cumsum(n))
    return float((2 * true / (true + false + total)).max())


def _roc_auc(total: int, rest: int, p: Counts, n: Counts) -> float:
    """Best ROC AUC with `total` positives and `rest` negatives; sets as in `_f1`."""
    below = rest - np.cumsum(n)  # negatives that rank below each set
    pairs = (total - p.sum()) * rest + (p * (below + n / 2)).sum()
    return float(pairs / (total * rest))


def _average_precision(pure: int, p: Counts, n: Counts) -> tuple[float, bool]:
    """Best average precision with `pure` positives outside the contradictory sets, and whether it is exact."""
    if not len(p):
        return 1.0, True
    kinds, counts = np.unique(np.stack([p, n], axis=1), axis=0, return_counts=True)
    if math.prod((counts + 1).tolist()) <= _STATES:
        return _exact_average_precision(pure, kinds, counts), True
    return _bound_average_precision(pure, kinds, counts), False


def _exact_average_precision(pure: int, kinds: Counts, counts: Counts) -> float:
    """Best order by dynamic programming; `kinds` is (K, 2), positives and negatives, `counts` (K,) sets of each."""
    shape = counts + 1
    held = np.indices(tuple(shape)).reshape(len(shape), -1)  # (K, states): sets of each kind in a beginning
    step = np.append(np.cumprod(shape[::-1])[::-1][1:], 1)  # how far a state lies from the one with a set less
    true = pure + kinds[:, 0] @ held
    precision = true / np.maximum(true + kinds[:, 1] @ held, 1)
    best = np.full(held.shape[1], -np.inf)
    best[0] = pure
    level = held.sum(0)
    order = np.argsort(level, kind="stable")
    for states in np.split(order, np.flatnonzero(np.diff(level[order])) + 1)[1:]:
        for kind, positives in enumerate(kinds[:, 0]):
            inside = states[held[kind, states] > 0]
            value = best[inside - step[kind]] + positives * precision[inside]
            best[inside] = np.maximum(best[inside], value)
    return float(best[-1] / true[-1])


def _bound_average_precision(pure: int, kinds: Counts, counts: Counts) -> float:
    """Upper bound on the average precision of any order; arguments as for the exact one."""
    order = np.argsort(-kinds[:, 0] / kinds.sum(1), kind="stable")
    kinds, counts = kinds[order], counts[order]
    p, n = kinds.T
    true = pure + np.append(0, np.cumsum(p * counts)).astype(np.float64)  # where each kind begins, and the end
    false = np.append(0, np.cumsum(n * counts)).astype(np.float64)
    slope = 1 + n / p  # on the stretch of a kind, h(x) = x / (slope x + offset)
    offset = false[:-1] - (n / p) * true[:-1]

    def primitive(x: Floats, kind: npt.NDArray[np.intp]) -> Floats:
        a, b = slope[kind], offset[kind]
        return x / a - b / a**2 * np.log(np.maximum(a * x + b, 1e-300))  # b is 0 where a x + b may be

    every = np.arange(len(p))
    begun = np.append(0, np.cumsum(primitive(true[1:], every) - primitive(true[:-1], every)))

    def area(x: Floats) -> Floats:
        """Integral of h from `pure` to x."""
        kind = np.clip(np.searchsorted(true, x, "right") - 1, 0, len(p) - 1)
        return begun[kind] + primitive(x, kind) - primitive(true[kind], kind)

    total = true[-1]
    bound = pure + begun[-1]
    for kind in np.argsort(-kinds.sum(1), kind="stable")[:_LARGEST]:
        y = np.arange(pure + p[kind], total + 1).astype(np.float64)  # where a set of this kind may end
        before = y - p[kind]
        least = np.where(y >= true[kind + 1], np.interp(y, true, false), n[kind] + np.interp(before, true, false))
        lost = area(y) - area(before) - p[kind] * y / (y + least)
        bound -= counts[kind] * max(float(lost.min()), 0.0)
    return float(bound / total)
