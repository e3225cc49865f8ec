"""How often 95 % intervals hold the truth, and how often equal rows are called different: by simulation.

Runs are drawn from a model whose true scores are known (`latent_scores.py`), in pairs of scans a patient, with three
labels of which one is rare (10 %). Intervals and tests are medwb's own functions, beside the plain percentile
bootstrap. "Seeds" are runs a row; their scatter is that of the skill, 0.1 where not said: about 0.015 of macro F1.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from latent_scores import PER_UNIT, SKILL, Drawn, Floats, draw, expected_scores, true_scores, unit_counts
from measure import report
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import binomtest

from medwb.comparison import ALPHA, compare_pairs
from medwb.metrics import evaluate
from medwb.permutation import COUNT_SCORES, UnitCounts
from medwb.seeds import mean_difference, mean_score, seed_components
from medwb.statistics import bootstrap_weights, holm, interval, mean_over_seeds

SIZES = (100, 600, 3000)
SCATTER = 0.1
ROWS = 8
_SWAPS = 250
_BATCH = 10  # data sets that share bootstrap draws


def share(hits: list[bool]) -> dict[str, float]:
    """A share with its exact 95 % interval."""
    found = binomtest(sum(hits), len(hits))
    ends = found.proportion_ci()
    return {"value": round(found.statistic, 4), "low": round(ends.low, 4), "high": round(ends.high, 4)}


def batches(rng: np.random.Generator, trials: int, n: int, draws: int) -> Iterator[tuple[int, Floats]]:
    """How many data sets to draw at a time, and how often each unit is drawn, (1+B, U)."""
    for start in range(0, trials, _BATCH):
        drawn = bootstrap_weights(np.arange(n // PER_UNIT), draws, int(rng.integers(2**31)))
        yield min(_BATCH, trials - start), np.vstack([np.ones((1, n // PER_UNIT)), drawn])


def f1_scores(drawn: Drawn, weights: Floats) -> tuple[Floats, Any]:
    """F1 of every run under every weighting, (1+B, trials, rows, seeds, L), and the counts of each unit."""
    counts = unit_counts(drawn)
    summed = (weights.astype(np.float32) @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:])
    both, called, true = (summed[..., kind].astype(np.float64) for kind in range(3))
    return np.where(true > 0, 2 * both / np.maximum(called + true, 1), np.nan), counts


def macro(values: Floats) -> Floats:
    """Mean over labels that are defined."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(-1) / np.maximum(defined.sum(-1), 1)


def cover(rng: np.random.Generator, n: int, seeds: int, trials: int, draws: int, ranks: bool) -> dict[str, Any]:
    """Coverage of scores and of the difference of two rows of unlike skill."""
    skills, held = np.array([SKILL, SKILL - 0.3]), defaultdict[str, list[bool]](list)
    scatter = SCATTER if seeds > 1 else 0.0
    for count, weights in batches(rng, trials, n, draws):
        drawn = draw(rng, count, n, skills, seeds, scatter)
        truth = [expected_scores(skill, scatter) for skill in skills]
        if ranks:
            found = _rank_scores(drawn, weights)
        else:
            f1, _ = f1_scores(drawn, weights)
            found = {"macro_f1": macro(f1), "f1 of a common label": f1[..., 0], "f1 of a rare label": f1[..., 2]}
        for name, scores in found.items():
            metric = name if ranks else "f1"
            of = {"f1 of a common label": slice(0, 1), "f1 of a rare label": slice(2, 3)}.get(name, slice(None))
            right = [float(one[metric][of].mean()) for one in truth]
            for trial in range(count):
                runs = [scores[:, trial, row].T for row in range(2)]
                if np.isnan([one[:, 0] for one in runs]).any():
                    continue  # nothing is reported for it
                _, low, high = mean_score(runs[0], n // PER_UNIT)
                held[name].append(bool(low <= right[0] <= high))
                plain = mean_over_seeds(runs[0])
                ends = interval(plain[0], plain[1:])
                held[f"{name}, percentile"].append(ends.low <= right[0] <= ends.high)
                if "label" not in name:
                    parts, pooled = seed_components(runs, [False, False])
                    means = [one.mean(axis=0) for one in runs]
                    apart = mean_difference(*means, n // PER_UNIT, (parts[0], parts[1]), pooled)
                    held[f"difference of {name}"].append(apart.low <= right[0] - right[1] <= apart.high)
    return {name: share(hits) for name, hits in held.items()}


def _rank_scores(drawn: Drawn, weights: Floats) -> dict[str, Floats]:
    """Macro ROC AUC and average precision, (1+B, trials, rows, seeds), by medwb's metrics."""
    trials, rows, seeds = drawn.skill.shape
    by_sample = weights[:, drawn.units].astype(np.int64)
    found = {name: np.zeros((len(weights), trials, rows, seeds)) for name in ("roc_auc", "average_precision")}
    for place in np.ndindex(trials, rows, seeds):
        truth, score = drawn.truth[place[0]].astype(float), ndtr(drawn.latent[place].astype(float) - 1)
        for name, values in found.items():
            values[(slice(None), *place)] = macro(evaluate(name, truth, score, weights=by_sample))
    return found


def families(
    rng: np.random.Generator, n: int, seeds: int, scatter: Floats, skill: Floats, trials: int, draws: int
) -> dict[str, Any]:
    """How often a family of rows shows a difference: by each test, and where the rows are compared with the best."""
    found = defaultdict[str, list[bool]](list)
    for count, weights in batches(rng, trials, n, draws):
        drawn = draw(rng, count, n, skill, seeds, 0.0)
        extra = scatter[None, :, None] * rng.standard_normal(drawn.skill.shape)
        moved = drawn.latent + (extra[..., None, None] * drawn.truth[:, None, None]).astype(np.float32)
        f1, counts = f1_scores(Drawn(drawn.truth, moved, drawn.skill + extra, drawn.units), weights)
        scores = macro(f1)
        for trial in range(count):
            order = np.argsort(-scores[0, trial].mean(-1), kind="stable")
            rows = [scores[:, trial, row].T for row in order]
            positives = counts[:, trial, 0, 0, :, 2].sum(0).astype(float)
            answers = [
                UnitCounts(counts[:, trial, row, :, :, :2], positives, np.full(len(positives), float(n)))
                for row in order
            ]
            parts, pooled = seed_components(rows, [False] * len(rows))
            pairs = compare_pairs(rows, parts, pooled, n // PER_UNIT, answers, COUNT_SCORES["macro_f1"], _SWAPS)
            found["as reported"].append(bool((pairs["p_holm"] <= ALPHA).any()))
            for name in ("p_bootstrap", "p_permutation"):
                adjusted = holm(pairs[name].to_numpy(np.float64))
                found[f"{name} alone"].append(bool((adjusted <= ALPHA).any()))
            best = holm(pairs.loc[pairs["a"] == 0, "p"].to_numpy(np.float64))
            found["only against the best, corrected for these alone"].append(bool((best <= ALPHA).any()))
    return {name: share(hits) for name, hits in found.items()}


def unsteady() -> tuple[Floats, Floats]:
    """Scatter and skill of rows of which every other scatters eight times as much, all with the same macro F1."""
    goal = expected_scores(SKILL, 0.04)["f1"].mean()
    other = brentq(lambda skill: expected_scores(skill, 0.32)["f1"].mean() - goal, 1.5, 2.5)
    odd = np.arange(ROWS) % 2 == 1
    return np.where(odd, 0.32, 0.04), np.where(odd, other, SKILL)


def main() -> None:
    """Simulate and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="Multiplies the number of data sets.")
    scale, started = parser.parse_args().scale, time.perf_counter()
    rng = np.random.default_rng(0)
    steady = np.full(ROWS, SKILL)
    assert np.allclose(true_scores(np.array(SKILL))["f1"], expected_scores(SKILL, 0.0)["f1"])
    coverage, false_positives = dict[str, Any](), dict[str, Any]()
    for n, trials, ranked, tested in zip(SIZES, (1000, 1000, 800), (480, 200, 48), (300, 200, 100), strict=True):
        for seeds in (1, 3):
            key = f"n={n}, seeds={seeds}"
            counted = cover(rng, n, seeds, int(scale * trials), 1000, ranks=False)
            by_rank = cover(rng, n, seeds, int(scale * ranked / seeds), 300, ranks=True)
            coverage[key] = counted | by_rank
            scatter = np.full(ROWS, SCATTER if seeds > 1 else 0.0)
            false_positives[key] = families(rng, n, seeds, scatter, steady, int(scale * tested), 500)
            print(key, round(time.perf_counter() - started), "s", flush=True)
        for name, (scatter, skill) in {
            "scatter 0.3": (np.full(ROWS, 0.3), steady), "every other row unsteady": unsteady(),
        }.items():  # fmt: skip
            key = f"n={n}, seeds=3, {name}"
            false_positives[key] = families(rng, n, 3, scatter, skill, int(scale * tested / 2), 500)
    power = {}
    for n in SIZES:
        skill = np.where(np.arange(ROWS) == 0, SKILL - 0.5, SKILL)
        found = families(rng, n, 3, np.full(ROWS, SCATTER), skill, int(scale * 40), 500)
        power[f"n={n}, seeds=3"] = found["as reported"]
    figures = {
        "nominal": 0.95,
        "rows": ROWS,
        "macro_f1_of_all_rows": round(float(true_scores(np.array(SKILL))["f1"].mean()), 3),
        "macro_f1_of_the_poor_row": round(float(true_scores(np.array(SKILL - 0.5))["f1"].mean()), 3),
        "seconds": round(time.perf_counter() - started),
        "coverage": coverage,
        "families_of_equal_rows_with_a_difference": false_positives,
        "families_with_one_poor_row_with_a_difference": power,
    }
    report(figures, ("numpy", "scipy"))


if __name__ == "__main__":
    main()
