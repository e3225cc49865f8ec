"""Reading tables of labels: what counts as yes, no and unknown, and what is not understood."""

import csv
import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medwb.dataset import SAMPLE_COLUMNS
from medwb.errors import RequestError, unknown_name
from medwb.source import Source

POSITIVE = ("1", "1.0", "true", "t", "yes", "y", "positive", "present")
NEGATIVE = ("0", "0.0", "false", "f", "no", "n", "negative", "absent")
UNKNOWN = ("", "-1", "-1.0", "nan", "na", "n/a", "none", "null", "unknown", "uncertain", "?")

RESERVED = (*SAMPLE_COLUMNS, "changes")

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
        event: "read", "resized", "converted", "unreadable", "missing", "unlisted", "duplicate_id",
            "duplicate_file", "label", "refused" or "ignored".
        detail: In words: what it was, and what was done.
    """

    file: str
    event: str
    detail: str


def read_text(source: Source, file: str) -> str:
    """A text file of the source. Raises RequestError when it is not there, cannot be read or is not UTF-8."""
    if file not in source.files:
        raise unknown_name(f"table in {source.path}", file, [f for f in source.files if f.lower().endswith(".csv")])
    try:
        return source.read(file).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file} is no readable text: {error}") from error


def read_table(source: Source, file: str) -> pd.DataFrame:
    """Read a CSV (comma, semicolon or tab) with every cell a stripped str; rows without content are left out.

    Returns:
        The table; its index is a row's line in the file, less 2.

    Raises:
        RequestError: It cannot be read, a column name stands twice, or a row's cells do not fit the header.
    """
    text = read_text(source, file)
    first = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            width = len(rows[0]) if rows else max(index for index, cell in enumerate(cells, 1) if cell)
            if len(cells) < width or any(cells[width:]):
                raise RequestError(f"{file}:{reader.line_num}: {len(cells)} cells, but the header has {width}")
            rows.append(cells[:width])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise RequestError(f"{file}:{reader.line_num} is no readable CSV: {error}") from error
    header = rows[0] if rows else []
    if len(set(header)) < len(header) or "" in header or not header:
        raise RequestError(
            f"{file}: every column needs a name of its own; the header is {', '.join(header) or 'empty'}"
        )
    return pd.DataFrame(rows[1:], columns=header, index=np.array(lines[1:], np.int64) - 2, dtype=str)


def check_label_names(names: Sequence[str]) -> None:
    """Raise RequestError unless there are label names, each used once, none of them taken by a sample's facts."""
    if not names:
        raise RequestError("there is no label column; name them with --labels")
    for name in names:
        if name in RESERVED or not name or list(names).count(name) > 1:
            raise RequestError(
                f"label name {name!r} is empty, used twice or taken ({', '.join(RESERVED)}); rename it"
            )


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
    check_label_names(columns)
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
