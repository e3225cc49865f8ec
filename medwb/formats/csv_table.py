"""One folder of images and one table with an id and a column a label."""

import pandas as pd

from medwb.errors import RequestError
from medwb.formats import ReadOptions, dataset_format
from medwb.ingest import Listing
from medwb.labels import Event, looks_like_labels, need_column, parse_labels, parse_splits, read_table
from medwb.source import Source

_ID_COLUMNS = ("id", "image", "image_id", "filename", "file_name", "file", "path", "name")
_SPLIT_COLUMNS = ("split", "set", "fold", "subset", "partition")
_GROUP_COLUMNS = ("group", "patient", "patient_id", "patientid", "study", "study_id", "subject", "subject_id")


def _recognise(source: Source) -> bool:
    return any(file.lower().endswith(".csv") for file in source.files)


@dataset_format(
    "csv",
    recognise=_recognise,
    options=("table", "id_column", "label_columns", "split_column", "group_column", "uncertain", "unmentioned"),
    generic=True,
)
def read_csv(source: Source, options: ReadOptions) -> Listing:
    """A folder of images and a CSV with an id column, label columns, and perhaps a split and a group column.

    Columns that are not named by an option are found by their usual names; without `--labels`, every other column
    whose cells are yes and no is a label, and the rest are listed as ignored.
    """
    file = options.table or _only_table(source)
    table = read_table(source, file)
    key = options.id_column or _usual(table, _ID_COLUMNS) or "id"
    need_column(table, key, file, "--id-column")
    split = options.split_column or _usual(table, _SPLIT_COLUMNS)
    group = options.group_column or _usual(table, _GROUP_COLUMNS)
    for column, flag in ((split, "--split-column"), (group, "--group-column")):
        if column:
            need_column(table, column, file, flag)
    events = []
    if options.label_columns:
        names = [need_column(table, name, file, "--labels") for name in options.label_columns]
    else:
        rest = [column for column in table.columns if column not in (key, split, group)]
        names = [column for column in rest if looks_like_labels(table[column])]
        ignored = [column for column in rest if column not in names]
        events = [Event(f"{file}: {column}", "ignored", "a column that is not yes and no") for column in ignored]
    words = uncertain_words(options)
    labels, not_understood = parse_labels(table, names, file, words)
    facts = pd.DataFrame({"id": table[key], "path": [source.find(image_id) for image_id in table[key]]})
    facts["split"] = parse_splits(table, split, file) if split else ""
    facts["group"] = table[group] if group else ""
    return Listing(facts.join(labels), names, events + not_understood)


def uncertain_words(options: ReadOptions) -> dict[str, float]:
    """What -1 and a blank cell mean. Raises RequestError for a policy that is not one."""
    policies = {"unknown": float("nan"), "positive": 1.0, "negative": 0.0}
    uncertain, unmentioned = options.uncertain or "unknown", options.unmentioned or "unknown"
    if uncertain not in policies:
        raise RequestError(f"--uncertain {uncertain!r} is not possible; use unknown, positive or negative")
    if unmentioned not in ("unknown", "negative"):
        raise RequestError(f"--unmentioned {unmentioned!r} is not possible; use unknown or negative")
    return {"-1": policies[uncertain], "-1.0": policies[uncertain], "": policies[unmentioned]}


def _only_table(source: Source) -> str:
    tables = source.matching("*.csv")
    if len(tables) != 1:
        found = ", ".join(tables) or "none"
        raise RequestError(f"{source.path} has {len(tables)} CSV tables at its top ({found}); name one with --table")
    return tables[0]


def _usual(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    lower = {column.lower().replace(" ", "_"): column for column in table.columns}
    return next((lower[name] for name in names if name in lower), None)
