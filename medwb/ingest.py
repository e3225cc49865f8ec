"""From a listing of samples to an array of images, with a record of what happened to every file."""

import ctypes
import os
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from medwb.dataset import EVENTS, allocate_images
from medwb.errors import RequestError
from medwb.images import Decoded, Pixels, UnreadableImage, decode, resize, to_grey
from medwb.labels import Event
from medwb.progress import Progress
from medwb.source import Source

PROBES = 48  # images that are decoded first, to learn size and channels
MAX_NATIVE_SIDE = 512  # larger scans need an explicit --size
_CHUNK = 128  # files a process takes at a time
_PR_SET_PDEATHSIG = 1  # of Linux: a signal when the parent dies
_POOL_FROM = 4  # chunks


@dataclass(frozen=True)
class Listing:
    """What a format's reader found out without decoding an image.

    Attributes:
        samples: One row a sample in the table's order: `id`, `path` (in the source; "" when it is not there),
            `split` ("" when not given), `group` ("" when not given) and the label columns.
        label_names: Names of the label columns.
        events: What the reader met: cells that are not understood, columns that it passed over.
        fill: For sources that hold arrays instead of files: writes all images, in the order of `samples`, into
            the uint8 array it is given. `paths` are not looked at then.
        shape: (N, H, W, C) of what `fill` writes.
    """

    samples: pd.DataFrame
    label_names: list[str]
    events: list[Event] = field(default_factory=list)
    fill: Callable[[Pixels, Progress], None] | None = None
    shape: tuple[int, int, int, int] | None = None


class _Facts(NamedTuple):
    height: int
    width: int
    mode: str
    changes: str


_UNREAD = _Facts(0, 0, "", "")


class Ingested(NamedTuple):
    """Samples that could be read, their images (a map of `images.npy`), and an event a file."""

    samples: pd.DataFrame
    images: Pixels
    events: pd.DataFrame


def ingest(
    source: Source, listing: Listing, folder: Path, size: int | None, channels: int | None, progress: Progress
) -> Ingested:
    """Decode every listed image into `folder/images.npy`.

    Args:
        source: Where the files are.
        listing: Which of them belong to the dataset.
        folder: Where `images.npy` is written.
        size: Height and width in pixels; None keeps the commonest size.
        channels: 1 or 3; None keeps 3 only when some scan has colour.
        progress: Called with (images done, images in all).

    Raises:
        RequestError: Nothing can be read, the scans are too large to be kept as they are, or the disk is full.
    """
    events = [
        *listing.events,
        *(
            Event(path, "refused", "a link out of the source or in a circle, or a name that is not UTF-8")
            for path in source.refused
        ),
    ]
    if listing.fill is not None:
        return _ingest_arrays(listing, folder, size, channels, events, progress)
    samples = _keep_present(source, listing, events)
    if samples.empty:
        raise RequestError(f"none of the {len(listing.samples)} listed images is in {source.path}")
    images, facts, problems = _decode_all(
        source, samples["path"].to_numpy(object).tolist(), folder, size, channels, progress
    )
    samples = samples.reset_index(drop=True).join(pd.DataFrame(facts, columns=list(_Facts._fields)))
    bad = samples["mode"] == ""
    for row, problem in sorted(problems.items()):
        events.append(Event(samples["path"][row], "unreadable", f"{problem}: left out"))
    if bad.all():
        raise RequestError(f"none of the {len(samples)} images could be read; {events[-1].file}: {events[-1].detail}")
    if bad.any():
        images = _without(images, np.flatnonzero(~bad), folder)
        samples = samples[~bad].reset_index(drop=True)
    target = images.shape[1:]
    resized = (samples["height"] != target[0]) | (samples["width"] != target[1])
    odd = samples[resized]
    sizes = odd["width"].astype(str) + "x" + odd["height"].astype(str) + f" to {target[1]}x{target[0]}"
    events += _events(odd["path"], "resized", sizes)
    changed = samples["changes"] != ""
    events += _events(samples["path"][changed], "converted", samples["changes"][changed])
    table = pd.concat(
        [
            pd.DataFrame({"file": samples["path"], "event": "read", "detail": samples["mode"]}),
            pd.DataFrame(events, columns=list(Event._fields)),
        ],
        ignore_index=True,
    )
    return Ingested(samples.drop(columns="changes"), images, table)


def count_events(events: pd.DataFrame) -> dict[str, int]:
    """How many files met each event; the usual ones are there even when they are 0."""
    counts = Counter(events["event"])
    return {event: counts.pop(event, 0) for event in EVENTS} | dict(counts)


def _events(files: pd.Series, event: str, details: pd.Series) -> list[Event]:
    return [Event(file, event, detail) for file, detail in zip(files, details, strict=True)]


def _keep_present(source: Source, listing: Listing, events: list[Event]) -> pd.DataFrame:
    """Drop samples without a file and repeated ids (the first one stays); note images that nothing lists."""
    samples = listing.samples
    missing = samples["path"] == ""
    events += [
        Event(key, "missing", "listed, but there is no such image (or several): left out")
        for key in samples["id"][missing]
    ]
    samples = samples[~missing]
    repeated = samples["id"].duplicated()
    events += [Event(key, "duplicate_id", "listed again: the first row is kept") for key in samples["id"][repeated]]
    samples = samples[~repeated]
    shared = samples["path"].duplicated()
    detail = "the same file as another row's: left out"
    events += [Event(key, "duplicate_file", detail) for key in samples["id"][shared]]
    samples = samples[~shared]
    unlisted = set(source.images) - set(listing.samples["path"].to_numpy(object))
    events += [Event(path, "unlisted", "an image that no table lists: left out") for path in sorted(unlisted)]
    return samples


class _ColourFound(Exception):  # noqa: N818  a signal between two functions of this module
    """A scan has colour, but the array was made for one channel."""


def _decode_all(
    source: Source, paths: list[str], folder: Path, size: int | None, channels: int | None, progress: Progress
) -> tuple[Pixels, list[_Facts], dict[int, str]]:
    """Images, the facts of each file, and the problem of each row that could not be read."""
    probes = [
        _try_decode(source, paths[row]) for row in np.unique(np.linspace(0, len(paths) - 1, PROBES).astype(int))
    ]
    good = [probe for probe in probes if isinstance(probe, Decoded)]
    height, width = (size, size) if size else _native_size(good, source)
    depth = channels or max((probe.pixels.shape[2] for probe in good), default=1)
    images = allocate_images(folder / "images.npy", (len(paths), height, width, depth))
    try:
        facts, problems = _decode_into(images, source, paths, to_grey_allowed=channels == 1, progress=progress)
    except _ColourFound:  # the probes were all grey: once more, with three channels
        images = allocate_images(folder / "images.npy", (len(paths), height, width, 3))
        facts, problems = _decode_into(images, source, paths, to_grey_allowed=False, progress=progress)
    return images, facts, problems


def _decode_into(
    images: Pixels, source: Source, paths: list[str], *, to_grey_allowed: bool, progress: Progress
) -> tuple[list[_Facts], dict[int, str]]:
    """Decode every path into its row of `images`: the facts of each file, and the problem of each bad row."""
    facts: list[_Facts] = []
    problems: dict[int, str] = {}
    for found in _in_chunks(_Job(images, source, paths, to_grey_allowed)):
        problems |= {len(facts) + row: item for row, item in enumerate(found) if isinstance(item, str)}
        facts += [_UNREAD if isinstance(item, str) else item for item in found]
        progress(len(facts), len(paths))
    return facts, problems


class _Job(NamedTuple):
    images: Pixels
    source: Source
    paths: list[str]
    to_grey_allowed: bool

    def decode(self, start: int) -> list[_Facts | str]:
        """Decode a chunk of files: the facts of each, or what is wrong with it."""
        height, width, depth = self.images.shape[1:]
        results: list[_Facts | str] = []
        for row in range(start, min(start + _CHUNK, len(self.paths))):
            found = _try_decode(self.source, self.paths[row])
            if isinstance(found, str):
                results.append(found)
                continue
            pixels, changes = found.pixels, found.changes
            if pixels.shape[2] > depth:
                if not self.to_grey_allowed:
                    raise _ColourFound
                pixels, changes = to_grey(pixels), "colour to grey"
            self.images[row] = resize(pixels, height, width)  # one channel fills all three
            results.append(_Facts(pixels.shape[0], pixels.shape[1], found.mode, changes))
        return results


_job: _Job | None = None  # the job at hand, which a forked process inherits with its maps


def _in_chunks(job: _Job) -> Iterator[list[_Facts | str]]:
    """Decode with every core, in order.

    Small scans take as long to fetch in Python as to decode in OpenCV, so that threads would wait for the
    interpreter's lock more than they work: on Linux, processes are forked, which write to the same file map. They do
    nothing but decode. Elsewhere threads serve, and few files are not worth either.
    """
    global _job
    starts = range(0, len(job.paths), _CHUNK)
    if len(starts) < _POOL_FROM:
        yield from map(job.decode, starts)
        return
    _job = job
    pool: Executor
    if sys.platform == "linux":
        pool = ProcessPoolExecutor(os.cpu_count(), get_context("fork"), _start_process)
    else:
        pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: see above
            results = pool.map(_decode_inherited, starts)
        yield from results
    except BrokenProcessPool as error:
        raise OSError("a decoding process was killed; is the memory full? Import again") from error
    finally:
        pool.shutdown(cancel_futures=True)
        _job = None


def _decode_inherited(start: int) -> list[_Facts | str]:
    assert _job is not None
    return _job.decode(start)


def _start_process() -> None:
    """Leave Ctrl-C to the parent, end with it, and keep out OpenCV's threads, which do not survive a fork."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)


def _try_decode(source: Source, path: str) -> Decoded | str:
    try:
        return decode(source.read(path))
    except (UnreadableImage, OSError) as error:
        return str(error)


def _native_size(probes: list[Decoded], source: Source) -> tuple[int, int]:
    if not probes:
        raise RequestError(f"none of {PROBES} images tried in {source.path} could be read; look at one of them")
    height, width = Counter(probe.pixels.shape[:2] for probe in probes).most_common(1)[0][0]
    if max(height, width) > MAX_NATIVE_SIDE:
        raise RequestError(f"the scans are {width} x {height} pixels; choose the size to keep, such as --size 224")
    return height, width


def _without(images: Pixels, keep: np.ndarray, folder: Path) -> Pixels:
    """Rewrite `images.npy` with these rows only."""
    kept = allocate_images(folder / "kept.npy", (len(keep), *images.shape[1:]))
    for start in range(0, len(keep), 1024):
        kept[start : start + 1024] = images[keep[start : start + 1024]]
    (folder / "kept.npy").replace(folder / "images.npy")
    return kept


def _ingest_arrays(
    listing: Listing, folder: Path, size: int | None, channels: int | None, events: list[Event], progress: Progress
) -> Ingested:
    assert listing.fill is not None
    assert listing.shape is not None
    _, height, width, depth = listing.shape
    if size not in (None, height) or channels not in (None, depth):
        raise RequestError(
            f"the file holds {width} x {height} x {depth} scans; import it without --size and --channels"
        )
    images = allocate_images(folder / "images.npy", listing.shape)
    listing.fill(images, progress)
    mode = "grey8" if depth == 1 else "rgb8"
    samples = listing.samples.assign(height=height, width=width, mode=mode)
    read = pd.DataFrame({"file": samples["id"], "event": "read", "detail": mode})
    return Ingested(samples, images, pd.concat([read, pd.DataFrame(events, columns=list(Event._fields))]))
