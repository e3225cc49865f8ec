"""NIH ChestX-ray14: one table with pipe-separated findings, patient ids, and lists of the splits."""

import numpy as np
import pandas as pd

from medwb.errors import RequestError
from medwb.formats import ReadOptions, dataset_format
from medwb.ingest import Listing
from medwb.labels import SPLIT_WORDS, Event, check_label_names, need_column, read_table, read_text
from medwb.source import Source

NO_FINDING = "No Finding"
_LIST_SPLITS = SPLIT_WORDS | {"train_val": "train"}


def _recognise(source: Source) -> bool:
    return bool(source.matching("Data_Entry*.csv"))


@dataset_format("nih", recognise=_recognise)
def read_nih(source: Source, options: ReadOptions) -> Listing:
    """`Data_Entry*.csv` with findings such as `Mass|Effusion`, patients as groups, `*_list.txt` as splits.

    "No Finding" is the absence of all. The original's `train_val_list.txt` is read as train, from which the
    import draws a validation split.
    """
    file = source.matching("Data_Entry*.csv")[0]
    table = read_table(source, file)
    key = need_column(table, "Image Index", file, "the header")
    findings = table[need_column(table, "Finding Labels", file, "the header")].str.split("|")
    patients = table[need_column(table, "Patient ID", file, "the header")]
    findings = findings.map(lambda names: [name.strip() for name in names])
    names = sorted({name for names in findings for name in names} - {NO_FINDING, ""})
    check_label_names(names)
    labels = pd.DataFrame(
        np.array([[name in row for name in names] for row in findings], np.float32).reshape(len(table), len(names)),
        index=table.index,
        columns=names,
    )
    blank = findings.map(lambda names: names == [""])
    labels[blank] = np.nan
    events = [
        Event(f"{file}:{line + 2}", "label", "no findings given: set to unknown") for line in table.index[blank]
    ]
    split_of = _splits(source)
    facts = pd.DataFrame({"id": table[key], "path": [source.find(image_id) for image_id in table[key]]})
    facts["split"] = [split_of.get(image_id, "") for image_id in table[key]]
    facts["group"] = patients
    return Listing(facts.join(labels), names, events)


def _splits(source: Source) -> dict[str, str]:
    """Image to split, from `train_list.txt`, `val_list.txt`, `test_list.txt` or `train_val_list.txt`."""
    split_of: dict[str, str] = {}
    for file in source.matching("*_list.txt"):
        split = _LIST_SPLITS.get(file.removesuffix("_list.txt").lower())
        if split is None:
            raise RequestError(f"{file} names no split; lists are called train_list.txt, val_list.txt, test_list.txt")
        for line in read_text(source, file).split():
            if split_of.setdefault(line, split) != split:
                raise RequestError(f"{line} stands in the lists of both {split_of[line]} and {split}; keep it in one")
    return split_of
