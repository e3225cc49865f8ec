"""CheXpert: train.csv and valid.csv with findings 1, 0, -1 or blank."""

import re

import pandas as pd

from medwb.formats import ReadOptions, dataset_format
from medwb.formats.csv_table import uncertain_words
from medwb.ingest import Listing
from medwb.labels import need_column, parse_labels, read_table, read_text
from medwb.source import Source

_TABLES = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}
_FACTS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")


def _recognise(source: Source) -> bool:
    if "train.csv" not in source.files:
        return False
    header = read_text(source, "train.csv").split("\n", 1)[0]
    return "Path" in header and "Frontal/Lateral" in header


@dataset_format("chexpert", recognise=_recognise, options=("uncertain", "unmentioned", "label_columns"))
def read_chexpert(source: Source, options: ReadOptions) -> Listing:
    """`train.csv` and `valid.csv`: a `Path`, and 1, 0, -1 (uncertain) or blank (not mentioned) a finding.

    Uncertain and unmentioned findings are unknown unless `--uncertain` and `--unmentioned` say otherwise.
    Patients, read from the path, are groups.
    """
    words = uncertain_words(options)
    parts, events, names = [], [], list(options.label_columns or ())
    for split, file in _TABLES.items():
        if file not in source.files:
            continue
        table = read_table(source, file)
        key = need_column(table, "Path", file, "the header")
        names = names or [column for column in table.columns if column not in _FACTS]
        for name in names:
            need_column(table, name, file, "--labels")
        labels, not_understood = parse_labels(table, names, file, words)
        events += not_understood
        facts = pd.DataFrame({"id": table[key].map(_short), "path": [source.find(path) for path in table[key]]})
        facts["split"] = split
        facts["group"] = [match[0] if (match := re.search(r"patient\d+", path)) else "" for path in table[key]]
        parts.append(facts.join(labels))
    return Listing(pd.concat(parts, ignore_index=True), names, events)


def _short(path: str) -> str:
    """The path from the split's folder on: what stays the same wherever the set was unpacked."""
    match = re.search(r"(?:^|/)((?:train|valid|test)/.*)", path)
    return match[1] if match else path
