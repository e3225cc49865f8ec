"""ScoreTable: the scores of a dataset's finished runs, and the forms that they leave the workbench in."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from medwb.errors import printable
from medwb.replicates import AGREEING
from medwb.statistics import Score
from medwb.strict_json import nan_to_none
from medwb.table.columns import (
    FACTS,
    LABEL_METRICS,
    SCORES,
    TEXTS,
    better,
    column_title,
    sort_column,
)

_CEILING_ROW = "Ceiling (identical scans that contradict)"
_ALWAYS = ("architecture", "settings", "runs", "run_ids", "collapsed")
_AFTER = ("train_seconds", "parameters", "flops", "images_per_second", "looks", "reference_score")
_SHORT = {"average_precision": "AP"}


@dataclass(frozen=True)
class ScoreTable:
    """Scores of the finished runs of a dataset on one split.

    Attributes:
        dataset: Its name.
        split: What was scored.
        label_names: The labels.
        rows: One row an architecture and setting, the best macro F1 first. Columns: `architecture`, `title`,
            `settings` (what differs from the defaults), `runs` (number of seeds), `run_ids`; for each label
            `<metric>:<label>` (`f1:<label>`, ...), each of `SCORES` and `AGREEING` the mean over seeds, with
            `<name>_low` and `<name>_high` (95 %); `parameters` and `flops` (for one scan; NaN for baselines),
            `train_seconds` and `images_per_second` (means, NaN where not recorded), `looks` (at the test split, the
            most of a row's runs), `reference_score` (NaN where the study reports none), `collapsed`.
        notes: What a reader must know: stale runs, labels whose scores are undefined, collapsed networks,
            contradictory samples.
        ceiling: For `f1:<label>` and `SCORES` the best that any function of the image can reach on the split, since
            identical images get one answer (`medwb.audit.ceiling`); NaN where it is undefined or not known. An
            interval may reach above it: its replicates draw other samples, which have other ceilings.
        bound: Columns whose ceiling is an upper bound that perhaps nothing reaches.
        contradictory: Samples of the split in a set of identical images whose labels contradict. Where it is 0,
            `AGREEING` equals macro F1 and is not shown.
        drawn: What a bootstrap replicate draws, in words: "patients", "samples", ...
    """

    dataset: str
    split: str
    label_names: tuple[str, ...]
    rows: pd.DataFrame
    notes: list[str]
    ceiling: dict[str, float] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    contradictory: int = 0
    drawn: str = "samples"

    @property
    def score_columns(self) -> list[str]:
        """Names of the columns that hold a score with an interval: F1 of each label, then one value a row."""
        columns = [*(f"f1:{label}" for label in self.label_names), *SCORES]
        return [*columns, AGREEING] if self.contradictory else columns

    @property
    def default_columns(self) -> list[str]:
        """What is shown when nobody chooses."""
        few = ("macro_f1", "weighted_f1", "average_precision", "roc_auc", "accuracy")
        chosen = [*(f"f1:{label}" for label in self.label_names), *few, *([AGREEING] if self.contradictory else [])]
        recorded = [
            name for name in ("flops", "images_per_second", "looks") if self.rows.get(name, pd.Series()).any()
        ]
        return [*chosen, "parameters", *recorded, "train_seconds", "reference_score"]

    def sort(self, column: str) -> "ScoreTable":
        """The table with the best of a column first, rows without a value last.

        Raises:
            RequestError: There is no such column.
        """
        name = sort_column(column, self.label_names)
        up = name in TEXTS or better(name) == "lower"
        return replace(self, rows=self.rows.sort_values(name, ascending=up, kind="stable", ignore_index=True))

    @property
    def capped(self) -> dict[str, float]:
        """The ceilings that are below 1."""
        return {column: value for column, value in self.ceiling.items() if value < 1}

    def ceiling_text(self, column: str) -> str:
        """The ceiling of a column, "0.825", with "≤ " before a bound; a dash where there is none."""
        return ("≤ " if column in self.bound else "") + number(self.ceiling.get(column, math.nan), ".3f")

    def score(self, row: int, column: str) -> Score:
        """One cell with its interval."""
        cells = self.rows.iloc[row]
        return Score(cells[column], cells[f"{column}_low"], cells[f"{column}_high"])

    def name(self, row: int) -> str:
        """What a row is called in texts: its architecture and what differs from the defaults."""
        cells = self.rows.iloc[row]
        return f"{cells['title']} {cells['settings']}".strip()

    def texts(self, columns: Sequence[str]) -> list[list[str]]:
        """Cells as text, a list a row: "0.912 [0.884, 0.934]" or a fact; a dash for what is not known."""
        shown = []
        for cells in self.rows.to_dict("records"):
            row = []
            for column in columns:
                if column in FACTS:
                    row.append(number(cells[column], FACTS[column].spec))
                else:
                    row.append(str(Score(cells[column], cells[f"{column}_low"], cells[f"{column}_high"])))
            shown.append(row)
        return shown

    def ceiling_texts(self, columns: Sequence[str]) -> list[str]:
        """The last row of a table of text: ceilings, and dashes below facts."""
        return ["–" if column in FACTS else self.ceiling_text(column) for column in columns]

    def to_json(self) -> dict[str, Any]:
        """The documented JSON: a score is {"value", "low", "high"}, a ceiling is a number, undefined is null."""
        rows = []
        for cells in self.rows.to_dict("records"):

            def score(name: str, cells: dict[Any, Any] = cells) -> dict[str, float]:
                return {"value": cells[name], "low": cells[f"{name}_low"], "high": cells[f"{name}_high"]}

            row = {key: cells[key] for key in _ALWAYS}
            for metric in LABEL_METRICS:
                values = {label: score(f"{metric}:{label}") for label in self.label_names}
                if metric == "f1":
                    row["f1"] = values
                else:
                    row.setdefault("labels", {})[metric] = values
            rows.append(
                row | {name: score(name) for name in (*SCORES, AGREEING)} | {key: cells[key] for key in _AFTER}
            )
        ceiling: dict[str, Any] = {"f1": {label: self.ceiling.get(f"f1:{label}") for label in self.label_names}}
        ceiling |= {name: self.ceiling.get(name) for name in SCORES} | {"bound": list(self.bound)}
        facts = {"ceiling": ceiling, "contradictory_samples": self.contradictory, "notes": self.notes}
        table: dict[str, Any] = nan_to_none({"dataset": self.dataset, "split": self.split, "rows": rows, **facts})
        return table

    def to_csv(self, columns: Sequence[str] | None = None) -> str:
        """One line a row of the table, with all columns or those chosen, scores with their ends.

        Ceilings are columns, `<name>_ceiling`, with the same value on every line, so that each line is a run's.
        """
        rows = self.rows.assign(run_ids=self.rows["run_ids"].map(" ".join))
        if columns is not None:
            scores = [column for column in columns if column not in FACTS]
            ends = {column: [column, f"{column}_low", f"{column}_high"] for column in scores}
            wanted = ["architecture", "title", "settings", "runs", "run_ids"]
            rows = rows[[*wanted, *(end for c in columns if c != "runs" for end in ends.get(c, [c]))]]
        kept = [column for column in self.ceiling if columns is None or column in columns]
        ceilings = pd.DataFrame({f"{column}_ceiling": self.ceiling[column] for column in kept}, index=rows.index)
        return str(pd.concat([rows, ceilings], axis=1).to_csv(index=False))

    def to_markdown(self, columns: Sequence[str] | None = None) -> str:
        """A table for a README or a paper: value [low, high]; the last row has the ceiling where one is below 1."""
        titles, rows = self._written(columns)
        lines = [_pipe(titles), _pipe("---" for _ in titles), *map(_pipe, rows)]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"

    def to_latex(self, columns: Sequence[str] | None = None) -> str:
        """The table as LaTeX, for the package booktabs; names are escaped, notes follow as comments."""
        titles, rows = self._written(columns)
        lines = [
            f"% {self.dataset}, split {self.split}: means over seeds, 95 % intervals; needs \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{ll{'r' * (len(titles) - 2)}}}",
            "\\toprule",
            f"{' & '.join(map(_latex, titles))} \\\\",
            "\\midrule",
        ]
        capped = len(rows) > len(self.rows)
        lines += [f"{' & '.join(map(_latex, row))} \\\\" for row in rows[: len(self.rows)]]
        if capped:
            lines += ["\\midrule", f"{' & '.join(map(_latex, rows[-1]))} \\\\"]
        lines += ["\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in self.notes)]
        return "\n".join(map(printable, lines)) + "\n"

    def _written(self, columns: Sequence[str] | None) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of text, the ceiling's last where one is below 1."""
        shown = [column for column in (self.default_columns if columns is None else columns) if column != "runs"]
        titles = ["Architecture", "Settings", "Runs", *(_SHORT.get(column, column_title(column)) for column in shown)]
        rows = []
        for cells, texts in zip(self.rows.to_dict("records"), self.texts(shown), strict=True):
            name = cells["title"] + (" (collapsed)" if cells["collapsed"] else "")
            rows.append([name, cells["settings"] or "default", str(cells["runs"]), *texts])
        if self.capped:
            rows.append([_CEILING_ROW, "", "", *self.ceiling_texts(shown)])
        return titles, rows


def number(value: float, spec: str) -> str:
    """A number as text; a dash for NaN."""
    return "–" if math.isnan(value) else format(value, spec)


def _pipe(cells: Iterable[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"


_LATEX = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "↓": "$\\downarrow$"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"–": "--", "≤": "$\\leq$", "<": "$<$", ">": "$>$"}


def _latex(cell: str) -> str:
    """Text with every sign that LaTeX would act on written out; a line that begins with "[" is not an argument."""
    text = "".join(_LATEX.get(sign, sign) for sign in cell)
    return "{}" + text if text.startswith("[") else text
