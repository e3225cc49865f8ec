"""Errors as sets of labels: what was answered in the place of what."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.outcomes.answers import Numbers, Outcomes

OTHERS = "all other sets"
NOTHING = "no finding"


@dataclass(frozen=True)
class SetMatrix:
    """True label sets against answered ones.

    Attributes:
        rows: Names of the true sets, the most common first: "edema + mass"; a label that is not known stands as
            "mass?". The last may be `OTHERS`.
        columns: Names of the answered sets: first those that are also rows, in their order.
        counts: int64 (rows, columns): samples.
        row_of: int64 (N,): each sample's row.
        column_of: int64 (N,): each sample's column.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: Numbers
    row_of: Numbers
    column_of: Numbers

    def members(self, row: str, column: str) -> Numbers:
        """int64: rows of the outcomes that are in a cell; none where there is no such cell."""
        if row not in self.rows or column not in self.columns:
            return np.empty(0, np.int64)
        inside = (self.row_of == self.rows.index(row)) & (self.column_of == self.columns.index(column))
        return np.flatnonzero(inside).astype(np.int64)

    def table(self) -> pd.DataFrame:
        """One row a cell that has samples: `truth`, `answer` (str) and `samples`, the largest first."""
        row, column = np.nonzero(self.counts)
        table = pd.DataFrame(
            {
                "truth": [self.rows[number] for number in row],
                "answer": [self.columns[number] for number in column],
                "samples": self.counts[row, column],
            }
        )
        return table.sort_values("samples", ascending=False, kind="stable", ignore_index=True)


def set_matrix(outcomes: Outcomes, thresholds: npt.ArrayLike | None = None, top: int = 12) -> SetMatrix:
    """How often each set of labels was answered where each set is true.

    Args:
        outcomes: A run's answers.
        thresholds: (L,); None takes the run's own.
        top: How many sets are rows and columns of their own, at least 1; the rest are `OTHERS`.
    """
    truth = np.where(np.isnan(outcomes.y_true), 2, outcomes.y_true).astype(np.int8)
    true_names, true_of = _sets(truth, outcomes.label_names)
    answer_names, answer_of = _sets(outcomes.called(thresholds).astype(np.int8), outcomes.label_names)
    rows, row_of = _top(true_names, true_of, top, ())
    columns, column_of = _top(answer_names, answer_of, top, rows)
    counts = np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(counts, (row_of, column_of), 1)
    return SetMatrix(rows, columns, counts, row_of, column_of)


def missed_while_answering(
    outcomes: Outcomes, thresholds: npt.ArrayLike | None = None, *, wrongly: bool = True
) -> pd.DataFrame:
    """How often one label was missed while another was answered.

    Args:
        outcomes: A run's answers.
        thresholds: (L,); None takes the run's own.
        wrongly: Count only answers that are false positives, as where one finding is taken for the other; otherwise
            all that are called, whatever their truth.

    Returns:
        Counts, Int64 (L, L) with label names on both sides: rows are the missed labels, columns the answered ones;
        the diagonal is missing.
    """
    called = outcomes.called(thresholds)
    missed = (outcomes.y_true == 1) & ~called
    answered = called & (outcomes.y_true == 0) if wrongly else called
    counts = missed.T.astype(np.float64) @ answered.astype(np.float64)
    names = list(outcomes.label_names)
    table = pd.DataFrame(counts.round(), names, names).astype("Int64")
    for name in names:
        table.loc[name, name] = pd.NA
    return table


def _sets(answers: npt.NDArray[np.int8], names: tuple[str, ...]) -> tuple[list[str], Numbers]:
    """Names of the different rows of 0, 1 and 2 (unknown), and which one each sample has."""
    unique, of = np.unique(answers, axis=0, return_inverse=True)
    texts = []
    for row in unique.tolist():
        known = " + ".join(name for name, answer in zip(names, row, strict=True) if answer == 1) or NOTHING
        doubt = [f"{name}?" for name, answer in zip(names, row, strict=True) if answer == 2]
        if len(doubt) == len(names):
            texts.append("nothing known")
        elif len(doubt) > 3:
            texts.append(f"{known}, {len(doubt)} unknown")
        else:
            texts.append(", ".join([known, *doubt]))
    # Sets of many unknown labels may share a name, and are then one.
    codes, kept = pd.factorize(pd.Series(texts, dtype=object))
    return list(kept), codes[of.ravel()].astype(np.int64)


def _top(names: list[str], of: Numbers, top: int, before: tuple[str, ...]) -> tuple[tuple[str, ...], Numbers]:
    """The most common names, those in `before` first and in its order, and where each sample went."""
    count = np.bincount(of, minlength=len(names))
    common = np.argsort(-count, kind="stable")[:top].tolist()
    shared = [number for name in before for number in common if names[number] == name]
    chosen = [*shared, *(number for number in common if number not in shared)]
    place = np.full(len(names), len(chosen), np.int64)
    place[chosen] = np.arange(len(chosen))
    rest = [OTHERS] if len(names) > len(chosen) else []
    return (*(names[number] for number in chosen), *rest), place[of]
