"""The competition's layout: an image folder a split, two label tables and a sample submission."""

import numpy as np
import pandas as pd

from medwb.errors import RequestError
from medwb.formats import ReadOptions, dataset_format
from medwb.ingest import Listing
from medwb.labels import Event, check_label_names, need_column, parse_labels, read_table
from medwb.source import Source

_TABLES = {"train": "train_labels.csv", "val": "val_labels.csv", "test": "sample_submission.csv"}


def _recognise(source: Source) -> bool:
    return "train_labels.csv" in source.files and any(file.startswith("train_images/") for file in source.images)


@dataset_format("kaggle", recognise=_recognise, options=("id_column",))
def read_kaggle(source: Source, options: ReadOptions) -> Listing:
    """`train_images/ val_images/ test_images/`, `train_labels.csv val_labels.csv`, `sample_submission.csv`.

    The test split's ids are the sample submission's; its labels are unknown, whatever that file holds.
    """
    parts, events = [], []
    label_names: list[str] = []
    for split, file in _TABLES.items():
        if file not in source.files:
            if split == "train":
                read_table(source, file)  # raises: it is not there
            continue
        table = read_table(source, file)
        key = need_column(table, options.id_column or "id", file, "--id-column")
        label_names = label_names or [column for column in table.columns if column != key]
        for column in label_names:
            need_column(table, column, file, "the header")
        if split == "test":
            check_label_names(label_names)
            labels = pd.DataFrame(np.float32(np.nan), index=table.index, columns=label_names)
        else:
            labels, not_understood = parse_labels(table, label_names, file)
            events += not_understood
        paths = [source.match(f"{split}_images/{image_id}") for image_id in table[key]]
        facts = pd.DataFrame({"id": table[key], "path": paths, "split": split, "group": ""})
        parts.append(facts.join(labels))
    spare = [file for file in source.matching("*.csv") if file not in _TABLES.values()]
    events += [Event(file, "ignored", "not a table of this layout: not read") for file in spare]
    samples = pd.concat(parts, ignore_index=True)
    splits_of = samples.groupby("id")["split"].unique()
    torn = splits_of[splits_of.map(len) > 1]
    if len(torn):
        where = " and ".join(_TABLES[split] for split in torn.iloc[0])
        raise RequestError(f"id {torn.index[0]!r} stands in both {where}; an id is one scan")
    return Listing(samples, label_names, events)
