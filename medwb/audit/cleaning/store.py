"""Cleanings on disk: `audits/<dataset>/cleanings/<name>.parquet`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import medwb
from medwb.audit.cleaning.changes import CLEANING_COLUMNS, Cleaning
from medwb.audit.cleaning.make import check_cleaning_name
from medwb.audit.memory import Memory
from medwb.dataset import Dataset
from medwb.errors import RequestError, unknown_name
from medwb.paths import audits_dir, check_name, replacing

_KEY = b"medwb"  # of the facts in the file's schema
_opened = Memory()


def save_cleaning(cleaning: Cleaning) -> Path:
    """Write a cleaning, in the place of an older one of its name; returns the file.

    Its facts (dataset, fingerprint, policies, splits, digest, version) stand in the schema under the key "medwb".

    Raises:
        RequestError: The folder cannot be written to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts = {
        "dataset": cleaning.dataset,
        "fingerprint": cleaning.fingerprint,
        "policies": cleaning.policies,
        "splits": cleaning.splits,
        "digest": cleaning.digest,
        "version": medwb.__version__,
    }
    path = _folder(cleaning.dataset) / f"{check_cleaning_name(cleaning.name)}.parquet"
    texts = {name: pa.string() for name in CLEANING_COLUMNS}
    schema = pa.schema(texts | {"old": pa.float32(), "new": pa.float32()}, {_KEY: json.dumps(facts).encode()})
    columns = {name: cleaning.table[name].to_numpy() for name in schema.names}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(pa.table(columns, schema), temporary)
    except OSError as error:
        raise RequestError(f"cannot write {path} ({error.strerror}); free space, or set MEDWB_HOME") from error
    return path


def cleaning_names(dataset: Dataset) -> list[str]:
    """Names of the dataset's cleanings, sorted."""
    return sorted(path.stem for path in _folder(dataset.name).glob("*.parquet") if not path.name.startswith("."))


def open_cleaning(dataset: Dataset, name: str) -> Cleaning:
    """Read a cleaning and check that it fits the dataset as it is now.

    A process that opens it again gets the same object, as long as neither has changed.

    Raises:
        RequestError: There is none of that name; it was made for other data; or it is damaged: samples, labels or
            values that the dataset does not have, or that have changed since it was made.
    """
    path = _find(dataset, name)
    facts = path.stat()
    key = (str(path), facts.st_mtime_ns, facts.st_size, facts.st_ino, dataset.fingerprint, len(dataset))
    return _opened.get(key, lambda: _read(path, dataset, name))


def _read(path: Path, dataset: Dataset, name: str) -> Cleaning:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(path)
        facts = json.loads((stored.schema.metadata or {})[_KEY])
        table = stored.to_pandas(ignore_metadata=True)
        table = table[list(CLEANING_COLUMNS)].astype({"old": np.float32, "new": np.float32})
        cleaning = Cleaning(
            dataset=dataset.name,
            fingerprint=str(facts["fingerprint"]),
            name=name,
            policies=tuple(map(str, facts["policies"])),
            splits=tuple(map(str, facts["splits"])),
            table=table,
        )
        if cleaning.fingerprint == dataset.fingerprint:
            _check_table(table, dataset)
            if cleaning.digest != facts["digest"]:
                raise ValueError("its digest does not fit")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        text = str(error).split("\n")[0]
        raise RequestError(
            f"cleaning {name!r} in {path} is damaged ({text}); make it again with `medwb clean {dataset.name}`"
        ) from error
    if cleaning.fingerprint != dataset.fingerprint:
        raise RequestError(
            f"cleaning {name!r} is stale: {dataset.name!r} has changed since it was made; audit again and run "
            f"`{cleaning.command}`"
        )
    return cleaning


def remove_cleaning(dataset: Dataset, name: str) -> None:
    """Remove a cleaning; the dataset never was changed. Raises RequestError when there is none of that name."""
    _find(dataset, name).unlink()


def _folder(dataset: str) -> Path:
    return audits_dir() / check_name(dataset, "dataset") / "cleanings"


def _find(dataset: Dataset, name: str) -> Path:
    path = _folder(dataset.name) / f"{check_cleaning_name(name)}.parquet"
    if not path.is_file():
        error = unknown_name(f"cleaning of {dataset.name}", name, cleaning_names(dataset))
        raise RequestError(f"{error}; `medwb clean {dataset.name} --policy POLICY` makes one")
    return path


def _check_table(table: pd.DataFrame, dataset: Dataset) -> None:
    """Raise ValueError unless every row is a change of a sample that the dataset has."""
    exclude = (table["action"] == "exclude").to_numpy()
    changes = table[~exclude]
    sample = pd.Index(dataset.samples["id"]).get_indexer(pd.Index(table["id"]))
    label = pd.Index(dataset.label_names).get_indexer(pd.Index(changes["label"]))
    new = changes["new"].to_numpy(np.float32)
    problems: dict[str, Any] = {
        "an action that is neither exclude nor label": ~exclude & (table["action"] != "label"),
        f"a sample that {dataset.name!r} does not have": sample < 0,
        "a label that the dataset does not have": label < 0,
        "a value outside of 0..1": ~(np.isnan(new) | ((new >= 0) & (new <= 1))),
        "a sample or label twice": table.duplicated(["id", "label"]),
        "labels of a sample that leaves": changes["id"].isin(table.loc[exclude, "id"]),
        "a sample that leaves with a label": table.loc[exclude, "label"] != "",
    }
    for problem, rows in problems.items():
        if np.any(rows):
            raise ValueError(f"it holds {problem}")
    if np.any(dataset.samples["split"].to_numpy(object)[sample] != table["split"].to_numpy(object)):
        raise ValueError("it holds a sample with another split than the dataset's")
    old = dataset.labels[sample[~exclude], label]
    if not np.array_equal(old, changes["old"].to_numpy(np.float32), equal_nan=True):
        raise ValueError("it holds an old label that is not the dataset's")
