"""The answer of a study in words, written from its table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Cells = Mapping[str, Any]


def answer(rows: pd.DataFrame, expected: int) -> str:
    """One or two sentences that say what the table shows and no more.

    A difference is called one where the verdict is; ties are called ties, and what is not done, or not covered, is
    said.

    Args:
        rows: `StudyTable.rows`.
        expected: How many runs the study has when it is done.
    """
    cells: list[Cells] = rows.to_dict("records")  # type: ignore[assignment]
    first, others = cells[0], cells[1:]
    done = sum(row["runs"] for row in cells)
    preliminary = f" Preliminary: {done} of {expected} runs are finished." if done < expected else ""
    if not first["runs"]:
        return _begin(f"{first['variant']} has no finished run, so there is nothing to compare with.{preliminary}")
    parts = [
        f"{row['variant']} beat {first['variant']} by {size(row['difference'])} macro F1 {span(row)}"
        for row in others
        if row["verdict"] == "better"
    ]
    worse = [row for row in others if row["verdict"] == "worse"]
    if worse:
        beaten = [f"{row['variant']} by {size(-row['difference'])} {span(row, -1)}" for row in worse]
        beaten[0] = beaten[0].replace(" [", " macro F1 [", 1) if not parts else beaten[0]
        parts.append(f"{first['variant']} beat {join(beaten)}")
    ties = [
        f"{row['variant']} ({signed(row['difference'])} {span(row, 0)})" for row in others if row["verdict"] == "tie"
    ]
    if len(ties) == 1:
        parts.append(f"{ties[0]} and {first['variant']} could not be told apart")
    elif ties:
        parts.append(f"{join(ties)} could not be told apart from {first['variant']}")
    unknown = [row["variant"] for row in others if row["verdict"] == "unknown"]
    if unknown:
        parts.append(f"{join(unknown)} could not be compared")
    alone = any(row["seeds"] == 1 for row in others)
    seeds = " With one seed, how much the seed matters is not covered." if alone else ""
    return _begin(f"{'; '.join(parts)}.{seeds}{preliminary}")


def _begin(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def size(value: float) -> str:
    """A difference that is one, without its sign: "0.021"."""
    return f"{value:.3f}" if abs(value) >= 0.0005 else f"{value:.1g}"


def signed(value: float) -> str:
    """A difference with its sign: "+0.021"; "0.000" for none."""
    text = f"{value:+.3f}"
    return text if float(text) else "0.000"


def span(row: Cells, sign: int = 1) -> str:
    """The interval of a row's difference: "[0.010, 0.033]"; sign -1 turns it round, 0 writes signs."""
    low, high = row["difference_low"], row["difference_high"]
    if sign == 0:
        return f"[{signed(low)}, {signed(high)}]"
    return f"[{low:.3f}, {high:.3f}]" if sign > 0 else f"[{-high:.3f}, {-low:.3f}]"


def join(texts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
