"""A folder a class."""

import numpy as np
import pandas as pd

from medwb.errors import RequestError
from medwb.formats import ReadOptions, dataset_format
from medwb.ingest import Listing
from medwb.labels import SPLIT_WORDS, check_label_names
from medwb.source import Source


def _recognise(source: Source) -> bool:
    return len({path.split("/")[0] for path in source.images if "/" in path}) >= 2


@dataset_format("folders", recognise=_recognise, generic=True)
def read_folders(source: Source, options: ReadOptions) -> Listing:
    """A folder a class (`Hand/001.jpeg`), perhaps below a folder a split (`train/Hand/001.jpeg`)."""
    paths = [path for path in source.images if "/" in path]
    parts = [path.split("/") for path in paths]
    tops = {part[0].lower() for part in parts}
    by_split = bool(tops) and tops <= set(SPLIT_WORDS) and all(len(part) >= 3 for part in parts)
    classes = np.array([part[1] if by_split else part[0] for part in parts], dtype=str)
    names, class_of = np.unique(classes, return_inverse=True)
    if len(names) < 2:
        raise RequestError(f"{source.path} has images in {len(names)} folders; this format needs a folder a class")
    check_label_names(names.tolist())
    labels = np.zeros((len(paths), len(names)), np.float32)
    labels[np.arange(len(paths)), class_of] = 1
    splits = [SPLIT_WORDS[part[0].lower()] for part in parts] if by_split else ""
    facts = pd.DataFrame({"id": paths, "path": paths, "split": splits, "group": ""})
    return Listing(facts.join(pd.DataFrame(labels, columns=names)), names.tolist())
