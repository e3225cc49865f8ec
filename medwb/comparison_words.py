"""A comparison in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Cells = Mapping[str, Any]

_NAMED = 4  # beaten rows that a sentence names


def sentence(rows: pd.DataFrame, pairs: pd.DataFrame, title: str) -> str:
    """What a comparison shows: who beats whom by how much, and who cannot be told apart.

    Args:
        rows: `Comparison.rows`, the best first.
        pairs: `Comparison.pairs`.
        title: How the metric is written.
    """
    names = rows["name"].tolist()
    records: list[Cells] = pairs.to_dict("records")  # type: ignore[assignment]
    best = {int(cells["b"]): cells for cells in records if cells["a"] == 0}
    verdicts = {place: str(cells["verdict"]) for place, cells in best.items()}
    ties = [place for place, verdict in verdicts.items() if verdict == "tie"]
    beaten = [place for place, verdict in verdicts.items() if verdict == "better"]
    unknown = [names[place] for place, verdict in verdicts.items() if verdict == "unknown"]
    apart = {(cells["a"], cells["b"]) for cells in records if cells["verdict"] == "better"}
    parts, winners = [], [0]
    if ties:
        top = [0, *ties]
        mutual = not any((a, b) in apart for a in top for b in top)
        if len(names) == 2:
            parts.append(f"{_join(names)} cannot be told apart: {title} differs by {_by(best[1], signed=True)}")
        elif mutual:
            parts.append(f"{_join([names[place] for place in top])} cannot be told apart")
            winners = top
        else:
            parts.append(f"{_join([names[place] for place in ties])} cannot be told apart from {names[0]}")
    if beaten:
        by_all = [place for place in beaten if all((winner, place) in apart for winner in winners)]
        who = names[0]
        if len(winners) > 1 and by_all == beaten:
            who = "both" if len(winners) == 2 else f"all {len(winners)}"
        shown = [f"{names[place]} by {_by(best[place])}" for place in beaten[:_NAMED]]
        shown[0] = shown[0].replace(" [", f" {title} [", 1) if "[" in shown[0] else shown[0]
        more = [f"{len(beaten) - _NAMED} more"] if len(beaten) > _NAMED else []
        verb = "beats" if who == names[0] else "beat"
        lead = f" (differences are {names[0]}'s)" if who != names[0] else ""
        parts.append(f"{who} {verb} {_join([*shown, *more])}{lead}")
    if unknown:
        parts.append(f"{_join(unknown)} could not be compared")
    return "; ".join(parts) + "."


def _by(cells: Cells, signed: bool = False) -> str:
    """A difference with its interval: "0.030 [0.010, 0.050]", without its sign where it is one."""
    value, low, high = (float(cells[name]) for name in ("difference", "difference_low", "difference_high"))
    if signed:
        return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
    if value < 0:  # where lower is better
        value, low, high = -value, -high, -low
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _join(texts: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
