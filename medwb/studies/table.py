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
from medwb.statistics import DRAWS, Score, bootstrap_weights, interval, mean_over_seeds, paired_difference, tied
from medwb.strict_json import nan_to_none
from medwb.studies.start import StudyRuns
from medwb.studies.study import SPLIT, Variant
from medwb.table import aligned_predictions, certificate_notes

SCORES = ("macro_f1", "difference", "all_macro_f1")
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
        architecture: What was trained.
        settings: What all variants share and differs from the defaults.
        samples: Validation samples.
        scored: Those that the comparison is made on.
        rows: One row a variant, in the order of the study. Columns: `variant`, `facts`, `runs` (finished), `run_ids`;
            `macro_f1` on the scored samples, `difference` to the first variant on the same samples, replicates and
            seeds (NaN for the first), `all_macro_f1` on all validation samples; each with `<name>_low` and
            `<name>_high` (95 %); `verdict` ("reference", "better", "worse", "tie", or "unknown").
        notes: What a reader must know.
    """

    dataset: str
    study: str
    architecture: str
    settings: str
    samples: int
    scored: int
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def score(self, row: int, column: str) -> Score:
        """One cell with its interval."""
        cells = self.rows.iloc[row]
        return Score(*(cells[name] for name in (column, f"{column}_low", f"{column}_high")))

    def to_json(self) -> dict[str, Any]:
        """The documented JSON: a score is {"value", "low", "high"}, undefined is null."""
        rows = []
        for position, cells in enumerate(self.rows.to_dict("records")):
            row = {key: cells[key] for key in ("variant", "facts", "runs", "run_ids", "verdict")}
            rows.append(row | {name: self.score(position, name)._asdict() for name in SCORES})
        facts = {key: getattr(self, key) for key in ("dataset", "study", "architecture", "settings")}
        facts |= {"split": SPLIT, "samples": self.samples, "scored": self.scored, "rows": rows, "notes": self.notes}
        table: dict[str, Any] = nan_to_none(facts)
        return table


def study_table(runs: StudyRuns, *, draws: int = DRAWS, threshold: float = 0.5) -> StudyTable:
    """Score the finished runs of a study.

    All variants see the same bootstrap replicates, which draw whole groups (patients) where these are known, and
    seeds. A difference is that of the seeds that both variants have finished.

    Args:
        runs: What `start_study` returned.
        draws: Bootstrap replicates.
        threshold: A label is called where its score is at least this.

    Raises:
        RequestError: No run is finished, or a run's predictions are damaged.
    """
    part = runs.dataset.split(SPLIT)
    drawn = bootstrap_weights(part.samples["group"].to_numpy(str), draws)
    weights = np.vstack([np.ones((1, len(part)), np.uint16), drawn])
    order, everything = pd.Index(part.samples["id"]), np.ones(len(part), bool)
    notes, scores = list(runs.notes), list[BySeed]()
    for variant, members in zip(runs.variants, runs.runs, strict=True):
        macro_f1: BySeed = {"macro_f1": {}, "all_macro_f1": {}}
        for run in members:
            status = run.status()
            if status["state"] != "finished":
                error = f": {status['error']}" if status.get("error") else ""
                notes.append(f"{variant.title}, seed {run.config.seed} is {status['state']}{error}")
                continue
            if status.get("collapsed"):
                notes.append(f"{variant.title}, seed {run.config.seed} has collapsed: one answer for every image")
            answer = aligned_predictions(run, SPLIT, order)
            for name, mask in (("macro_f1", runs.scored), ("all_macro_f1", everything)):
                macro_f1[name][run.config.seed] = _macro_f1(answer, weights, mask, threshold)
        scores.append(macro_f1)
    if not any(macro_f1["macro_f1"] for macro_f1 in scores):
        raise RequestError(f"no run of the study is finished: {'; '.join(notes) or 'none was started'}")
    rows = [
        _row(variant, members, scores[number], scores[0] if number else None)
        for number, (variant, members) in enumerate(zip(runs.variants, runs.runs, strict=True))
    ]
    compared = len(rows) - 1
    if compared > 1:
        notes.append(
            f"each interval is for one of {compared} comparisons: of variants that are alike, one in twenty is no tie"
        )
    titled = {variant.title: members for variant, members in zip(runs.variants, runs.runs, strict=True)}
    return StudyTable(
        dataset=runs.dataset.name,
        study=runs.study.name,
        architecture=runs.architecture,
        settings=runs.settings,
        samples=len(part),
        scored=int(runs.scored.sum()),
        rows=pd.DataFrame(rows),
        notes=[*notes, *certificate_notes(titled)],
    )


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


def _row(
    variant: Variant,
    runs: Sequence[Run],
    mine: BySeed,
    other: BySeed | None,
) -> dict[str, Any]:
    """A row of the table; `mine` and `other` have scores by seed, `other` those of the first variant."""
    none = Score(math.nan, math.nan, math.nan)
    found = {name: _mean(list(by_seed.values())) for name, by_seed in mine.items()} | {"difference": none}
    verdict = "reference" if other is None else "unknown"
    if other is not None and (both := [seed for seed in mine["macro_f1"] if seed in other["macro_f1"]]):
        a, b = (mean_over_seeds(np.stack([side["macro_f1"][seed] for seed in both])) for side in (mine, other))
        found["difference"] = difference = paired_difference(a, b)
        if not math.isnan(difference.low):
            verdict = "tie" if tied(difference) else "better" if difference.low > 0 else "worse"
    finished = [run for run in runs if run.config.seed in mine["macro_f1"]]
    row: dict[str, Any] = {
        "variant": variant.title,
        "facts": variant.facts,
        "runs": len(finished),
        "run_ids": [run.id for run in finished],
        "verdict": verdict,
    }
    for name, score in found.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = score
    return row


def _mean(scores: Sequence[Floats]) -> Score:
    if not scores:
        return Score(math.nan, math.nan, math.nan)
    means = mean_over_seeds(np.stack(scores))
    return interval(float(means[0]), means[1:])
