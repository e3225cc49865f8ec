"""Tables that figures and views of an audit are drawn from."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import SPLITS, Dataset

if TYPE_CHECKING:
    from medwb.audit.results import Audit

RADII = 60
"""Steps of a curve over the radius."""

_RANDOM_PAIRS = 20_000
_SHOWN = 10

Positions = npt.NDArray[np.int64]


def check_table(audit: "Audit") -> pd.DataFrame:
    """What each check found.

    Returns:
        One row a registered check, area by area: `area`, `check`, `title`, `issues` (int), `affected` (int: how many
        of `unit`), `unit` ("samples", "labels" or "dataset": what the issues are of), `share` (float 0..1 of the
        dataset's samples or labels that are affected; 0 without an issue, NaN for the dataset as a whole), `summary`.
    """
    from medwb.audit.check import AREAS, CHECKS

    found = {str(name): part for name, part in audit.issues.groupby("check", sort=False)}
    totals = {"samples": len(audit.dataset), "labels": len(audit.dataset.label_names)}
    rows = []
    for check in sorted(CHECKS, key=lambda check: AREAS.index(check.area)):
        part = found.get(check.name)
        if part is None:
            rows.append((check.area, check.name, check.title, 0, 0, "samples", 0.0, check.summary))
            continue
        named = {"samples": part.loc[part["id"] != "", "id"], "labels": part.loc[part["label"] != "", "label"]}
        unit = next((unit for unit, names in named.items() if len(names)), "dataset")
        affected = named[unit].nunique() if unit != "dataset" else 1
        share = affected / totals[unit] if totals.get(unit) else np.nan
        rows.append((check.area, check.name, check.title, len(part), affected, unit, share, check.summary))
    columns = ["area", "check", "title", "issues", "affected", "unit", "share", "summary"]
    return pd.DataFrame(rows, columns=columns)


def set_table(audit: "Audit") -> pd.DataFrame:
    """One row a set of copies, in order.

    Returns:
        `number` (int), `set` ("set-3"), `samples` (int), `pictures` (int: how many of them differ in a pixel),
        `train`, `val`, `test` (int: samples there), `contradicts` (bool: copies disagree on a label), `disputed`
        (str: these labels), `against` (int: answers that the majority of their set does not give, over all labels),
        `leaks` (bool: in several splits, and not frames of one value), `constant` (bool: in several splits, and
        frames of one value).
    """
    from medwb.audit.contradictions import count_votes
    from medwb.audit.leaks import find_leaks

    dataset, sets = audit.dataset, audit.copies
    leaks = find_leaks(dataset, sets)
    spread = leaks.spread["copies"]
    positive, negative = count_votes(dataset.labels, sets)
    disputed = (positive > 0) & (negative > 0)
    member = np.flatnonzero(sets.of >= 0)
    pictures = np.unique(np.stack([sets.of[member], audit.exact.units[member]], axis=1), axis=0)[:, 0]
    names = np.array(dataset.label_names, object)
    return pd.DataFrame(
        {
            "number": np.arange(len(sets)),
            "set": [f"set-{number}" for number in range(len(sets))],
            "samples": sets.sizes,
            "pictures": np.bincount(pictures, minlength=len(sets)),
            **{split: spread[:, place] for place, split in enumerate(SPLITS)},
            "contradicts": disputed.any(axis=1),
            "disputed": [", ".join(names[row]) for row in disputed],
            "against": np.minimum(positive, negative).sum(axis=1),
            "leaks": ((spread > 0).sum(axis=1) > 1) & ~leaks.constant,
            "constant": leaks.constant,
        }
    )


def set_members(audit: "Audit", number: int, limit: int = _SHOWN) -> Positions:
    """Up to `limit` samples of a set, as positions in the dataset; one of each different answer comes first."""
    member = np.flatnonzero(audit.copies.of == number)
    labels = np.nan_to_num(audit.dataset.labels[member], nan=-1)
    first = np.unique(labels, axis=0, return_index=True)[1] if labels.shape[1] else np.array([0])
    order = np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(member)), first)])
    return member[order[:limit]].astype(np.int64)


def candidate_table(audit: "Audit") -> pd.DataFrame:
    """The candidate pairs of near copies, the nearest first.

    Returns:
        The columns of `Audit.pairs`, with `position_a`, `position_b` (int64: rows of the dataset's table) and `agree`
        (float: 1 where all labels that both know are the same, 0 where one differs, NaN where they share none).
    """
    dataset = audit.dataset
    index = pd.Index(dataset.samples["id"])
    a, b = (index.get_indexer(pd.Index(audit.pairs[end])).astype(np.int64) for end in ("a", "b"))
    table = audit.pairs.assign(position_a=a, position_b=b, agree=_agreement(dataset, a, b))
    return table.sort_values("distance", kind="stable", ignore_index=True)


def radius_table(candidates: pd.DataFrame, radius: float, points: int = RADII) -> pd.DataFrame:
    """How many candidates there are up to each radius, and how often they agree on their labels.

    Args:
        candidates: As `candidate_table` gives them.
        radius: The largest radius, above 0.
        points: Number of radii, evenly spread.

    Returns:
        One row a radius and kind: `radius`, `kind` ("candidates"; "copies": those that the pixels bear out), `pairs`
        (int, up to this radius), `agree` (float 0..1: share of those with a known label; NaN without any).
    """
    steps = np.linspace(radius / points, radius, points)
    parts = []
    for kind, pairs in (("candidates", candidates), ("copies", candidates[candidates["copy"].astype(bool)])):
        distance = pairs["distance"].to_numpy(np.float64)
        count = np.searchsorted(distance, steps + 1e-6, "right")
        agree = pairs["agree"].to_numpy(np.float64)
        known = np.append(0, np.cumsum(~np.isnan(agree)))[count]
        same = np.append(0, np.cumsum(np.nan_to_num(agree)))[count]
        share = np.divide(same, known, out=np.full(points, np.nan), where=known > 0)
        parts.append(pd.DataFrame({"radius": steps, "kind": kind, "pairs": count, "agree": share}))
    return pd.concat(parts, ignore_index=True)


def chance_agreement(dataset: Dataset) -> float:
    """How often two samples drawn at random agree on all labels that both know (20,000 pairs); NaN for unknown."""
    if len(dataset) < 2:
        return np.nan
    rng = np.random.default_rng(0)
    a = rng.integers(0, len(dataset), _RANDOM_PAIRS)
    b = (a + rng.integers(1, len(dataset), _RANDOM_PAIRS)) % len(dataset)
    agree = _agreement(dataset, a, b)
    return float(np.nanmean(agree)) if (~np.isnan(agree)).any() else np.nan


def contradiction_table(audit: "Audit") -> pd.DataFrame:
    """The rows of `vote_table` that contradict themselves, the most answers against the majority first."""
    from medwb.audit.contradictions import vote_table

    votes = vote_table(audit.dataset, audit.copies)
    votes = votes[votes["contradicts"]]
    return votes.sort_values(["against", "set"], ascending=[False, True], kind="stable", ignore_index=True)


def ceiling_table(audit: "Audit") -> pd.DataFrame:
    """The ceiling of each split that can be scored, with all contradictions and with those of black frames alone.

    Returns:
        One row a split and score: `split`, `score` ("f1:a" as in a score table, "macro_f1", ...), `ceiling` (float
        0..1, NaN where undefined), `black` (the same if only black frames contradicted) and `bound` (bool: `ceiling`
        is an upper bound, not known to be reached).
    """
    from medwb.audit.ceiling import split_ceilings
    from medwb.audit.contradictions import black_sets

    dataset, exact = audit.dataset, audit.exact
    alone = split_ceilings(dataset, exact, among=black_sets(dataset, exact))
    rows = []
    for split, best in split_ceilings(dataset, exact).items():
        names = [*(f"f1:{label}" for label in dataset.label_names), *(name for name in best if _is_score(best, name))]
        for name in names:
            values = [
                part["f1"][name.removeprefix("f1:")] if name.startswith("f1:") else part[name]
                for part in (best, alone[split])
            ]
            rows.append((split, name, *map(_number, values), name in best["bound"]))
    return pd.DataFrame(rows, columns=["split", "score", "ceiling", "black", "bound"])


def suspect_table(audit: "Audit") -> pd.DataFrame:
    """Suspected label errors, the clearest first.

    Returns:
        `id`, `position` (int64: row of the dataset's table), `split`, `label`, `given` (float: 1 or 0) and
        `probability` (float 0..1: that the label is 1, says a quick model that has not seen the sample).
    """
    dataset = audit.dataset
    found = audit.issues[audit.issues["check"] == "label_error"].sort_values("score", ascending=False, kind="stable")
    position = pd.Index(dataset.samples["id"]).get_indexer(pd.Index(found["id"])).astype(np.int64)
    column = pd.Index(dataset.label_names).get_indexer(pd.Index(found["label"]))
    given = dataset.labels[position, column]
    score = found["score"].to_numpy(np.float64)
    return pd.DataFrame(
        {
            "id": found["id"].to_numpy(object),
            "position": position,
            "split": dataset.samples["split"].to_numpy(object)[position],
            "label": found["label"].to_numpy(object),
            "given": given,
            "probability": np.where(given == 1, 1 - score, score),
        }
    )


def _agreement(dataset: Dataset, a: Positions, b: Positions) -> npt.NDArray[np.float64]:
    """1 where two samples have the same labels, as far as both know them; 0 where not; NaN where they share none."""
    answer = np.full(len(a), np.nan)
    for start in range(0, len(a), 1 << 18):
        part = slice(start, start + (1 << 18))
        one, other = dataset.labels[a[part]], dataset.labels[b[part]]
        known = ~np.isnan(one) & ~np.isnan(other)
        same = (one == other) | ~known
        answer[part] = np.where(known.any(axis=1), same.all(axis=1), np.nan)
    return answer


def _is_score(best: dict[str, object], name: str) -> bool:
    return isinstance(best[name], float)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan
