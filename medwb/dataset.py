"""Dataset: a table of samples beside one memory-mapped array of images."""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.errors import RequestError, unknown_name
from medwb.paths import check_name, datasets_dir, sweep, write_text

SPLITS = ("train", "val", "test")
EVENTS = ("read", "resized", "converted", "unreadable", "missing", "unlisted", "duplicate_id", "label")
"""What an import can meet; `Dataset.ingest` counts each of them, and perhaps others."""

SAMPLE_COLUMNS = ("id", "split", "group", "path", "height", "width", "mode")
"""Columns of a samples table that are not labels; every other column is one."""

_BLOCK = 2048  # images a hashing block: 8 MB at 64 x 64


@dataclass(frozen=True)
class Dataset:
    """Images with their ids, splits, groups and labels.

    Attributes:
        name: Folder name below `datasets/`.
        label_names: The L findings, in order.
        samples: One row a sample. The index is the sample's row in `images`. Columns `id` (unique str), `split`
            ("train", "val" or "test"), `group` (str; the patient or study; "" when unknown), `path` (in the
            source; "" when there is no file), `height`, `width` (pixels, as found), `mode` (as found, such as
            "grey8"), and one float32 column a label: 1, 0 or NaN for unknown.
        images: uint8 (N, H, W, C), C 1 or 3, a read-only memory map. `subset` leaves it whole.
        fingerprint: 16 hex digits over images, ids, splits, groups and labels; runs record it.
        format: Name of the format that it was read with.
        source: Where it was imported from.
        ingest: Counts of what the import met ("read", "resized", "unreadable", ...).
        path: The dataset's folder.
    """

    name: str
    label_names: tuple[str, ...]
    samples: pd.DataFrame
    images: npt.NDArray[np.uint8]
    fingerprint: str
    format: str
    source: str
    ingest: dict[str, int] = field(default_factory=dict)
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.images.shape[1:]
        return int(height), int(width), int(channels)

    @cached_property
    def labels(self) -> npt.NDArray[np.float32]:
        """float32 (samples, L): 1, 0 or NaN for unknown, in the order of `samples`."""
        return self.samples[list(self.label_names)].to_numpy(np.float32)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """int64 (samples,): each sample's row in `images`."""
        return self.samples.index.to_numpy(np.int64)

    @property
    def splits(self) -> list[str]:
        """The splits that have samples, in the order train, val, test."""
        present = set(self.samples["split"].unique())
        return [split for split in SPLITS if split in present]

    def subset(self, mask: npt.ArrayLike) -> "Dataset":
        """The samples where `mask` (bool, one a sample) is true, over the same images; nothing is copied."""
        return replace(self, samples=self.samples[np.asarray(mask, bool)])

    def split(self, name: str) -> "Dataset":
        """The samples of one split. Raises RequestError when the dataset has none there."""
        if name not in self.splits:
            raise unknown_name(f"split of {self.name}", name, self.splits)
        return self.subset(self.samples["split"] == name)

    def known_label_splits(self) -> list[str]:
        """The splits in which at least one label of one sample is known: those that can be scored."""
        return [split for split in self.splits if not np.isnan(self.split(split).labels).all()]

    def count_labels(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many samples are "positive", "negative" and "unknown": [label][split][answer]."""
        counts: dict[str, dict[str, dict[str, int]]] = {label: {} for label in self.label_names}
        for split in self.splits:
            labels = self.split(split).labels
            for label, column in zip(self.label_names, labels.T, strict=True):
                positive, negative = int((column == 1).sum()), int((column == 0).sum())
                unknown = len(column) - positive - negative
                counts[label][split] = {"positive": positive, "negative": negative, "unknown": unknown}
        return counts

    def describe(self) -> dict[str, Any]:
        """The documented JSON of `medwb describe`: counts, splits, groups, labels a split, what the import met."""
        groups = self.samples["group"]
        return {
            "name": self.name,
            "format": self.format,
            "source": self.source,
            "samples": len(self),
            "image_shape": list(self.image_shape),
            "splits": {split: int((self.samples["split"] == split).sum()) for split in self.splits},
            "groups": int(groups[groups != ""].nunique()),
            "fingerprint": self.fingerprint,
            "labels": self.count_labels(),
            "ingest": self.ingest,
        }


def dataset_names() -> list[str]:
    """Names of the datasets in MEDWB_HOME, sorted."""
    return sorted(p.parent.name for p in datasets_dir().glob("*/dataset.json") if not p.parent.name.startswith("."))


def open_dataset(name: str) -> Dataset:
    """Open an imported dataset: reads the table, maps the images.

    Raises:
        RequestError: There is no such dataset, or its files are not what an import writes.
    """
    folder = datasets_dir() / check_name(name, "dataset")
    if not (folder / "dataset.json").is_file():
        error = unknown_name("dataset", name, dataset_names())
        raise RequestError(f"{error}; `medwb demo` writes one, `medwb import` reads yours")
    try:
        facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        samples = pd.read_parquet(folder / "samples.parquet")
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        if images.dtype != np.uint8 or list(images.shape) != facts["shape"] or len(samples) != len(images):
            raise ValueError(f"images.npy is {images.dtype} {images.shape}, dataset.json says {facts['shape']}")
        if missing := [c for c in (*SAMPLE_COLUMNS, *facts["label_names"]) if c not in samples]:
            raise ValueError(f"samples.parquet lacks {', '.join(missing)}")
        return Dataset(
            name=name,
            label_names=tuple(facts["label_names"]),
            samples=samples,
            images=images,
            fingerprint=facts["fingerprint"],
            format=facts["format"],
            source=facts["source"],
            ingest=dict(facts["ingest"]),
            path=folder,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise RequestError(f"dataset {name!r} in {folder} is damaged ({error}); import it again") from error


@contextmanager
def new_dataset(name: str) -> Iterator[Path]:
    """Yield an empty folder to write a dataset into; it appears under `name` only when the body succeeds.

    Raises:
        RequestError: The name is not allowed or is taken.
    """
    target = datasets_dir() / check_name(name, "dataset")
    if target.exists():
        raise RequestError(f"dataset {name!r} exists in {target}; choose another --name, or remove that folder first")
    sweep(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(".partial", f".{name}.{os.getpid()}.", target.parent))
        staging.chmod(0o777 & ~_umask())
    except OSError as error:
        raise RequestError(f"cannot write to {target.parent} ({error.strerror}); set MEDWB_HOME") from error
    try:
        yield staging
        try:
            staging.rename(target)
        except OSError as error:
            raise RequestError(
                f"dataset {name!r} was written by another process meanwhile; {target} is its"
            ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    """The process's mask for new files; `mkdtemp` ignores it, and a dataset may be shared."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def allocate_images(path: Path, shape: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
    """Make a writable memory-mapped uint8 .npy file of zeros, with its disk space reserved.

    Writing to an unreserved map on a full disk kills the process with SIGBUS; reserving first makes it an error.

    Raises:
        RequestError: The disk has no room for it; the message gives the size.
    """
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    try:
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
        elif shutil.disk_usage(path.parent).free < images.nbytes:
            raise OSError(28, "No space left on device")
    except OSError as error:
        raise RequestError(
            f"the images take {images.nbytes / 1e9:.2f} GB and {path.parent.parent} cannot hold them "
            f"({error.strerror}); free space, set MEDWB_HOME to another disk, or give a smaller --size"
        ) from error
    return images


def release_pages(images: npt.NDArray[np.uint8]) -> None:
    """Let go of the resident pages of a memory map; they stay in the system's file cache, so reading again is quick.

    A pass over all images then does not count them into the process's memory. Arrays that are no map are left alone.
    """
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def save_dataset(
    folder: Path,
    samples: pd.DataFrame,
    label_names: Sequence[str],
    images: npt.NDArray[np.uint8],
    *,
    format: str,
    source: str,
    ingest: dict[str, int],
    facts: dict[str, Any] | None = None,
) -> None:
    """Write `samples.parquet` and `dataset.json` beside an `images.npy` that is already in `folder`.

    Args:
        folder: What `new_dataset` yielded.
        samples: One row an image in order; the columns of `Dataset.samples` (missing ones are filled).
        label_names: Names of the label columns.
        images: The array in `images.npy`.
        format: Name of the format.
        source: Where the images came from.
        ingest: Counts of what the import met.
        facts: More keys for `dataset.json`.
    """
    samples = samples.reset_index(drop=True)
    height, width, channels = images.shape[1:]
    filling = {
        "group": "",
        "path": "",
        "height": height,
        "width": width,
        "mode": "grey8" if channels == 1 else "rgb8",
    }
    for column, value in filling.items():
        if column not in samples:
            samples[column] = value
    samples = samples[[*SAMPLE_COLUMNS, *label_names]]
    samples = samples.astype(dict.fromkeys(label_names, np.float32))
    samples.to_parquet(folder / "samples.parquet", index=False)
    record = {
        "format": format,
        "source": source,
        "label_names": list(label_names),
        "shape": list(images.shape),
        "fingerprint": fingerprint(samples, label_names, images),
        "ingest": dict.fromkeys(EVENTS, 0) | ingest,
        **(facts or {}),
    }
    write_text(folder / "dataset.json", json.dumps(record, indent=1) + "\n")


def fingerprint(samples: pd.DataFrame, label_names: Sequence[str], images: npt.NDArray[np.uint8]) -> str:
    """Hash what a run depends on: pixels, ids, splits, groups, labels. 16 hex digits (64 bits of BLAKE2b)."""
    digest = hashlib.blake2b(json.dumps([list(images.shape), list(label_names)]).encode(), digest_size=8)
    for column in ("id", "split", "group"):
        digest.update("\0".join(samples[column].to_numpy(object)).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(samples[list(label_names)].to_numpy(np.float32)).tobytes())

    def hash_block(start: int) -> bytes:
        return hashlib.blake2b(np.ascontiguousarray(images[start : start + _BLOCK]).data).digest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for block in pool.map(hash_block, range(0, len(images), _BLOCK)):
            digest.update(block)
    return digest.hexdigest()
