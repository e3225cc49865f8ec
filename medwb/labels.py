"""Reading tables of labels: what counts as yes, no and unknown, and what is not understood."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medwb.errors import RequestError, unknown_name
from medwb.source import Source

POSITIVE = ("1", "1.0", "true", "t", "yes", "y", "positive", "present")
NEGATIVE = ("0", "0.0", "false", "f", "no", "n", "negative", "absent")
UNKNOWN = ("", "-1", "-1.0", "nan", "na", "n/a", "none", "null", "unknown", "uncertain", "?")

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


class Event(NamedTuple):
    """One thing that an import met.

    Attributes:
        file: Path in the source, with the line for a table ("labels.csv:17").
        event: "read", "resized", "converted", "unreadable", "missing", "unlisted", "duplicate_id", "label",
            "refused" or "ignored".
        detail: In words: what it was, and what was done.
    """

    file: str
    event: str
    detail: str


def read_table(source: Source, file: str) -> pd.DataFrame:
    """Read a CSV (comma, semicolon or tab) with every cell a stripped str; blank cells are "".

    Raises:
        RequestError: It is not there, is not UTF-8 text, or its rows do not fit its header.
    """
    if file not in source.files:
        raise unknown_name(f"table in {source.path}", file, [f for f in source.files if f.lower().endswith(".csv")])
    data = source.read(file)
    header = data.split(b"\n", 1)[0]
    separator = max(",;\t", key=lambda sign: header.count(sign.encode()))
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            index_col=False,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise RequestError(f"{file} is no readable CSV table: {error}") from error
    table.columns = [str(column).strip() for column in table.columns]
    table = table.apply(lambda cells: cells.str.strip())
    return table[(table != "").any(axis=1)]


def need_column(table: pd.DataFrame, column: str, file: str, option: str) -> str:
    """Return the column's name. Raises RequestError, with the columns that are there, when the table lacks it."""
    if column not in table.columns:
        error = unknown_name(f"column in {file}", column, table.columns)
        raise RequestError(f"{error} (name it with {option}; columns: {', '.join(table.columns)})")
    return column


def parse_labels(
    table: pd.DataFrame, columns: Sequence[str], file: str, words: dict[str, float] | None = None
) -> tuple[pd.DataFrame, list[Event]]:
    """Turn cells into 1, 0 and NaN.

    Args:
        table: Cells as str.
        columns: The label columns.
        file: Name of the table, for the events.
        words: Lower-case words that mean something else here, such as {"-1": 1.0}.

    Returns:
        float32 columns of those names, and an event for each cell that is not understood; that label is unknown.
    """
    meaning = (
        dict.fromkeys(POSITIVE, 1.0) | dict.fromkeys(NEGATIVE, 0.0) | dict.fromkeys(UNKNOWN, np.nan) | (words or {})
    )
    parsed, events = {}, []
    for column in columns:
        cells = table[column].str.lower()
        parsed[column] = cells.map(meaning).astype(np.float32)
        unclear = table.loc[~cells.isin(meaning), column]
        for line, cell in zip(unclear.index.to_numpy(int) + 2, unclear, strict=True):
            events.append(Event(f"{file}:{line}", "label", f"{column}={cell!r} is not understood: set to unknown"))
    return pd.DataFrame(parsed, index=table.index), events


def looks_like_labels(cells: pd.Series) -> bool:
    """Whether at least half of the cells that say something are yes or no."""
    said = cells.str.lower()[~cells.str.lower().isin(UNKNOWN)]
    return len(said) > 0 and said.isin([*POSITIVE, *NEGATIVE]).mean() >= 0.5


def parse_splits(table: pd.DataFrame, column: str, file: str) -> pd.Series:
    """Turn words such as "training" and "valid" into train, val and test. Raises RequestError for any other."""
    splits = table[column].str.lower().map(SPLIT_WORDS)
    if splits.isna().any():
        row = int(np.flatnonzero(splits.isna())[0])
        line = table.index.to_numpy(int)[row] + 2
        raise RequestError(f"{file}:{line}: {column}={table[column].iloc[row]!r} is no split; use train, val or test")
    return splits
