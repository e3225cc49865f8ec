"""MedMNIST v2: one .npz with images and labels of three splits (Yang et al. 2023, doi 10.1038/s41597-022-01721-8)."""

import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import SPLITS
from medwb.errors import RequestError
from medwb.formats import ReadOptions, dataset_format
from medwb.images import Pixels
from medwb.ingest import Listing
from medwb.labels import check_label_names
from medwb.progress import Progress
from medwb.source import Source

_UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)
_CHUNK = 512  # images read at a time: a 224-pixel set does not fit into memory


@cache
def medmnist_facts() -> dict[str, Any]:
    """The 2D sets: task, label names, licence, and the MD5 of the file of each size, from the set's own index."""
    facts: dict[str, Any] = json.loads((files("medwb.formats") / "medmnist.json").read_text("utf-8"))
    return facts


def _recognise(source: Source) -> bool:
    return len(source.files) == 1 and source.files[0].lower().endswith(".npz")


@dataset_format("medmnist", recognise=_recognise)
def read_medmnist(source: Source, options: ReadOptions) -> Listing:
    """The .npz of any 2D MedMNIST set, 28 to 224 pixels: multi-label, multi-class (a column a class) or binary.

    Refused: arrays of pickled objects, and arrays of another type or shape than the sets have.
    """
    file = source.path / source.files[0]
    with _readable(file.name):
        archive = zipfile.ZipFile(file)
    present = [split for split in SPLITS if f"{split}_images.npy" in archive.namelist()]
    if not present:
        raise RequestError(f"{file} has no train_images; it holds {', '.join(archive.namelist()[:6]) or 'nothing'}")
    headers = {split: _header(archive, f"{split}_images.npy") for split in present}
    image_shape = next(iter(headers.values()))[0][1:]
    for split, (shape, dtype) in headers.items():
        channels = shape[3] if len(shape) == 4 else 1
        fits = dtype == np.uint8 and len(shape) in (3, 4) and channels in (1, 3) and min(shape) > 0
        if not fits or shape[1:] != image_shape:
            raise RequestError(f"{file}: {split}_images is {dtype} {shape}; expected uint8 (N, H, W) or (N, H, W, 3)")
    labels = {split: _labels(archive, split, headers[split][0][0]) for split in present}
    names, columns = _columns(source.files[0].removesuffix(".npz"), labels)
    check_label_names(names)
    counts = [headers[split][0][0] for split in present]
    facts = pd.DataFrame(
        {
            "id": [f"{split}-{i:06d}" for split, count in zip(present, counts, strict=True) for i in range(count)],
            "path": "",
            "split": np.repeat(present, counts),
            "group": "",
        }
    )
    height, width, channels = (*image_shape, 1)[:3]

    def fill(images: Pixels, progress: Progress) -> None:
        done = 0
        for split, count in zip(present, counts, strict=True):
            with _readable(file.name), archive.open(f"{split}_images.npy") as handle:
                _read_header(handle)
                for start in range(0, count, _CHUNK):
                    block = images[done : done + min(_CHUNK, count - start)]
                    data = _exactly(handle, block.nbytes, file.name)
                    block[:] = np.frombuffer(data, np.uint8).reshape(block.shape)
                    done += len(block)
                    progress(done, len(images))

    shape = (len(facts), height, width, channels)
    return Listing(facts.join(pd.DataFrame(columns, columns=names)), names, fill=fill, shape=shape)


def _columns(stem: str, labels: dict[str, npt.NDArray[np.int64]]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Label names and float32 (N, L) of 0 and 1."""
    known = medmnist_facts().get(stem.split("_")[0].lower(), {"labels": []})["labels"]
    widths = {split: array.shape[1] for split, array in labels.items()}
    if len(set(widths.values())) > 1:
        raise RequestError(f"{stem}.npz: the splits have different numbers of labels: {widths}")
    values = np.concatenate(list(labels.values()))
    if values.shape[1] > 1:
        columns = values.astype(np.float32)
        if not np.isin(values, (0, 1)).all():
            raise RequestError(f"{stem}.npz: labels of a multi-label set must be 0 and 1; found {values.max()}")
    elif values.max(initial=0) <= 1:
        columns = values.astype(np.float32)
        known = known[1:]  # of "normal" and "pneumonia", the finding
    else:
        columns = np.eye(int(values.max()) + 1, dtype=np.float32)[values[:, 0]]
    names = known if len(known) == columns.shape[1] else [f"label{i + 1}" for i in range(columns.shape[1])]
    return list(names), columns


def _labels(archive: zipfile.ZipFile, split: str, count: int) -> npt.NDArray[np.int64]:
    name = f"{split}_labels.npy"
    if name not in archive.namelist():
        raise RequestError(f"{archive.filename} has {split}_images but no {split}_labels")
    shape, dtype = _header(archive, name)
    if dtype.kind not in "iub" or len(shape) not in (1, 2) or shape[0] != count:
        raise RequestError(
            f"{archive.filename}: {split}_labels is {dtype} {shape}; expected whole numbers, {count} rows"
        )
    with _readable(str(archive.filename)), archive.open(name) as handle:
        array = np.lib.format.read_array(handle, allow_pickle=False)
    labels = array.astype(np.int64).reshape(count, -1)
    low, high = np.min(labels, initial=0), np.max(labels, initial=0)
    if low < 0 or (labels.shape[1] == 1 and high > 1000):
        raise RequestError(f"{archive.filename}: {split}_labels goes from {low} to {high}; expected classes")
    return labels


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever a damaged .npz raises into one line."""
    try:
        yield
    except RequestError:
        raise
    except _UNREADABLE as error:
        raise RequestError(f"{name} is no readable .npz file ({error}); download it again") from error


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array, which must be as large as it claims: nothing is allocated on a claim alone."""
    with _readable(str(archive.filename)), archive.open(name) as handle:
        shape, dtype = _read_header(handle)
        claimed, there = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size - handle.tell()
        if claimed != there:
            raise RequestError(
                f"{archive.filename}: {name} claims {claimed:,} bytes and has {there:,}; download it again"
            )
        return shape, dtype


def _read_header(handle: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a .npy stream, left standing at its data. Raises RequestError for pickled objects."""
    version = np.lib.format.read_magic(handle)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(handle)
    if dtype.hasobject:
        raise RequestError("the .npz holds pickled objects, which can run code; medwb reads plain number arrays only")
    if fortran:
        raise RequestError("the .npz holds arrays in Fortran order; save them in C order")
    return shape, dtype


def _exactly(handle: IO[bytes], count: int, name: str) -> bytes:
    data = handle.read(count)
    if len(data) != count:
        raise RequestError(f"{name} ends early; download it again")
    return data
