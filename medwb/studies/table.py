"""The answer of a study: scores of its variants with paired differences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError
from medwb.metrics import average, evaluate
from medwb.runs import Predictions, Run
from medwb.statistics import (
    DRAWS,
    Score,
    bootstrap_weights,
    difference_over_seeds,
    holm,
    interval,
    mean_over_seeds,
    p_value,
)
from medwb.strict_json import nan_to_none
from medwb.studies.answer import answer
from medwb.studies.start import StudyRuns
from medwb.studies.study import SPLIT, Variant
from medwb.table import aligned_predictions, certificate_notes
from medwb.units import resampling_units

SCORES = ("macro_f1", "difference", "all_macro_f1")
ALPHA = 0.05
"""Of families of comparisons without a difference, at most this share shows one."""
_PLAIN = ("variant", "facts", "runs", "run_ids", "seeds", "seed_share", "p", "p_holm", "verdict")
_ENOUGH_SEEDS = 5
_BLOCK = 64  # weightings scored at a time

Floats = npt.NDArray[np.float64]
BySeed = dict[str, dict[int, Floats]]
"""Name of a score to seed to the score under each weighting, (B,)."""


@dataclass(frozen=True)
class StudyTable:
    """The answer of a study.

    Attributes:
        dataset: Its name.
        study: Name of the study.
        question: What it asks.
        finding: What the reference study found.
        architecture: What was trained.
        settings: What all variants share and differs from the defaults.
        samples: Validation samples.
        scored: Those that the comparison is made on.
        rows: One row a variant, in the order of the study. Columns: `variant`, `facts`, `runs` (finished), `run_ids`;
            `macro_f1` on the scored samples, `difference` to the first variant on the same samples, replicates and
            seeds (NaN for the first), `all_macro_f1` on all validation samples; each with `<name>_low` and
            `<name>_high` (95 %); `seeds` that the difference is of, and `seed_share`, the share of its variance that
            they are (NaN for one); its `p` and `p_holm`, corrected for all
            comparisons of the table; `verdict` by that ("reference", "better", "worse", "tie", or "unknown").
        expected: Runs that the study has when it is done.
        notes: What a reader must know.
    """

    dataset: str
    study: str
    question: str
    finding: str
    architecture: str
    settings: str
    samples: int
    scored: int
    rows: pd.DataFrame
    expected: int
    notes: list[str] = field(default_factory=list)

    def score(self, row: int, column: str) -> Score:
        """One cell with its interval."""
        cells = self.rows.iloc[row]
        return Score(*(cells[name] for name in (column, f"{column}_low", f"{column}_high")))

    @property
    def answer(self) -> str:
        """What the table shows, in a sentence or two."""
        return answer(self.rows, self.expected)

    def to_csv(self) -> str:
        """All columns, one line a row of the table."""
        rows = self.rows.assign(run_ids=self.rows["run_ids"].map(" ".join))
        rows.insert(0, "study", self.study)
        return str(rows.to_csv(index=False))

    def to_json(self) -> dict[str, Any]:
        """The documented JSON: a score is {"value", "low", "high"}, undefined is null."""
        rows = []
        for position, cells in enumerate(self.rows.to_dict("records")):
            row = {key: cells[key] for key in _PLAIN}
            rows.append(row | {name: self.score(position, name)._asdict() for name in SCORES})
        names = ("dataset", "study", "question", "answer", "finding", "architecture", "settings")
        facts = {key: getattr(self, key) for key in names}
        facts |= {"split": SPLIT, "samples": self.samples, "scored": self.scored, "rows": rows, "notes": self.notes}
        table: dict[str, Any] = nan_to_none(facts)
        return table


def study_table(runs: StudyRuns, *, draws: int = DRAWS, threshold: float = 0.5) -> StudyTable:
    """Score the finished runs of a study.

    All variants see the same bootstrap replicates, which draw whole patients and sets of copies
    (`medwb.units.resampling_units`), and seeds. A difference is that of the seeds that both variants have finished
    (`difference_over_seeds`); a verdict holds for all comparisons of the table together (`holm`).

    Args:
        runs: What `start_runs` or `find_runs` returned.
        draws: Bootstrap replicates.
        threshold: A label is called where its score is at least this.

    Raises:
        RequestError: No run is finished, or a run's predictions are damaged.
    """
    grid = runs.grid
    part = grid.dataset.split(SPLIT)
    weights = np.vstack([np.ones((1, len(part)), np.uint16), bootstrap_weights(resampling_units(part), draws)])
    order, notes, scores = pd.Index(part.samples["id"]), list(grid.notes), list[BySeed]()
    for variant, members in zip(grid.variants, runs.runs, strict=True):
        macro_f1: BySeed = {"macro_f1": {}, "all_macro_f1": {}}
        for run in members:
            status, seed = run.status(), run.config.seed
            if note := _note(status):
                notes.append(f"{variant.title}, seed {seed} {note}")
            if status["state"] != "finished":
                continue
            given = aligned_predictions(run, SPLIT, order)
            everything = _macro_f1(given, weights, np.ones(len(part), bool), threshold)
            macro_f1["all_macro_f1"][seed] = everything
            macro_f1["macro_f1"][seed] = (
                everything if grid.scored.all() else _macro_f1(given, weights, grid.scored, threshold)
            )
        scores.append(macro_f1)
    if not any(macro_f1["macro_f1"] for macro_f1 in scores):
        raise RequestError(f"no run of the study is finished: {'; '.join(notes) or 'none was started'}")
    rows = pd.DataFrame(
        [
            _row(variant, members, scores[number], scores[0] if number else None)
            for number, (variant, members) in enumerate(zip(grid.variants, runs.runs, strict=True))
        ]
    )
    rows["p_holm"] = holm(rows["p"].to_numpy(np.float64))
    for number in range(1, len(rows)):
        p, difference = rows["p_holm"].iloc[number], rows["difference"].iloc[number]
        verdict = "unknown" if math.isnan(p) else "tie" if p > ALPHA else "better" if difference > 0 else "worse"
        rows.loc[number, "verdict"] = verdict
    titled = {variant.title: members for variant, members in zip(grid.variants, runs.runs, strict=True)}
    units = "patients" if (part.samples["group"] != "").any() else "samples"
    return StudyTable(
        dataset=grid.dataset.name,
        study=grid.study.name,
        question=grid.study.summary,
        finding=grid.study.finding,
        architecture=grid.architecture,
        settings=grid.settings,
        samples=len(part),
        scored=int(grid.scored.sum()),
        rows=rows,
        expected=len(grid.order),
        notes=[*notes, *_method(rows, draws, units), *certificate_notes(titled)],
    )


def _note(status: dict[str, Any]) -> str:
    """What a reader must know of a run in this status; "" for nothing."""
    if status["state"] in ("failed", "stopped", "stopping"):
        return f"is {status['state']}" + (f": {status['error']}" if status.get("error") else "")
    return "has collapsed: one answer for every image" if status.get("collapsed") else ""


def _method(rows: pd.DataFrame, draws: int, units: str) -> list[str]:
    """How the intervals and verdicts were made."""
    compared, seeds = int(rows["p"].notna().sum()), int(rows["seeds"].max())
    over = f"{units} and seeds" if seeds > 1 else units
    notes = [f"95 % intervals by {draws:,} bootstrap replicates over {over}"]
    if compared > 1:
        notes.append(
            f"verdicts hold for all {compared} comparisons together (Holm's correction at 5 %); each interval for one"
        )
    shaky = rows.loc[(rows["seed_share"] > 0.5) & (rows["seeds"] < _ENOUGH_SEEDS), "variant"]
    if len(shaky):
        notes.append(
            f"seeds scatter more than {units} in {', '.join(shaky)}: with so few of them a 95 % interval is too "
            f"narrow; take {_ENOUGH_SEEDS} or more"
        )
    if 2 * compared > ALPHA * (draws + 1):
        notes.append(f"{draws} replicates are too few to show a difference; take {40 * compared} or more")
    return notes


def _macro_f1(
    answer: Predictions, weights: npt.NDArray[np.uint16], mask: npt.NDArray[np.bool_], threshold: float
) -> Floats:
    """Macro F1 of the samples in the mask under each weighting, (B,)."""
    truth, score = answer.y_true[mask], answer.y_score[mask]
    blocks = []
    for start in range(0, len(weights), _BLOCK):
        drawn = weights[start : start + _BLOCK, mask]
        blocks.append(average(evaluate("f1", truth, score, threshold=threshold, weights=drawn), "macro"))
    return np.concatenate(blocks)


def _row(variant: Variant, runs: Sequence[Run], mine: BySeed, other: BySeed | None) -> dict[str, Any]:
    """A row of the table; `mine` and `other` have scores by seed, `other` those of the first variant."""
    found = {name: _mean(list(by_seed.values())) for name, by_seed in mine.items()}
    found["difference"], p, share = Score(math.nan, math.nan, math.nan), math.nan, math.nan
    both = [seed for seed in mine["macro_f1"] if other is not None and seed in other["macro_f1"]]
    if other is not None and both:
        a, b = (np.stack([side["macro_f1"][seed] for seed in both]) for side in (mine, other))
        replicates = difference_over_seeds(a, b)
        found["difference"], p = interval(replicates[0], replicates[1:]), p_value(replicates[1:])
        share = _seed_share(a - b, replicates[1:])
    finished = [run for run in runs if run.config.seed in mine["macro_f1"]]
    row: dict[str, Any] = {
        "variant": variant.title,
        "facts": variant.facts,
        "runs": len(finished),
        "run_ids": [run.id for run in finished],
        "seeds": len(both),
        "seed_share": share,
        "p": p if math.isfinite(found["difference"].value) else math.nan,
        "verdict": "reference" if other is None else "unknown",
    }
    for name, score in found.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = score
    return row


def _seed_share(difference: Floats, replicates: Floats) -> float:
    """How much of the variance of a mean difference, replicates (B,), is due to its few seeds; 0..1, NaN for one."""
    seeds, total = len(difference), float(np.var(replicates[~np.isnan(replicates)]))
    if seeds < 2 or not total:
        return math.nan
    return min(1.0, float(np.var(difference[:, 0], ddof=1)) / seeds / total)


def _mean(scores: Sequence[Floats]) -> Score:
    if not scores:
        return Score(math.nan, math.nan, math.nan)
    means = mean_over_seeds(np.stack(scores))
    return interval(float(means[0]), means[1:])
