"""Formats: the ways in which datasets lie on disk, one module each, and the import that reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from medwb.dataset import SPLITS, Dataset, new_dataset, open_dataset, save_dataset
from medwb.errors import RequestError
from medwb.ingest import Ingested, Listing, count_events, ingest
from medwb.paths import check_name
from medwb.progress import Progress, no_progress
from medwb.registry import Registry
from medwb.source import Source
from medwb.splits import DEFAULT_FRACTIONS, draw_splits


@dataclass(frozen=True)
class ReadOptions:
    """What a user can tell a reader; each format says which of these it takes.

    Attributes:
        table: CSV file, by its path in the source.
        id_column: Column with the image's file name, path or id.
        label_columns: Columns that are labels.
        split_column: Column with train, val or test.
        group_column: Column with the patient or study.
        uncertain: What -1 means: "unknown", "positive" or "negative".
        unmentioned: What a blank cell means: "unknown" or "negative".
    """

    table: str | None = None
    id_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    split_column: str | None = None
    group_column: str | None = None
    uncertain: str | None = None
    unmentioned: str | None = None


Reader = Callable[[Source, ReadOptions], Listing]


@dataclass(frozen=True)
class Format:
    """A way in which datasets lie on disk.

    Attributes:
        name: What `--format` calls it.
        read: Lists the samples of a source.
        recognise: Whether a source looks like this format.
        options: Names of the `ReadOptions` that it takes.
        generic: Tried only when no format that is not generic recognises the source.
        summary: First line of the reader's docstring.
    """

    name: str
    read: Reader
    recognise: Callable[[Source], bool]
    options: tuple[str, ...]
    generic: bool
    summary: str


FORMATS: Registry[Format] = Registry("format", package=__name__)


def dataset_format(
    name: str, *, recognise: Callable[[Source], bool], options: Sequence[str] = (), generic: bool = False
) -> Callable[[Reader], Reader]:
    """Register the decorated reader as a format."""

    def register(read: Reader) -> Reader:
        summary = (read.__doc__ or "").strip().split("\n")[0]
        FORMATS.add(name, Format(name, read, recognise, tuple(options), generic, summary))
        return read

    return register


def recognise_format(source: Source) -> Format:
    """The format that a source is in. Raises RequestError when none is recognised."""
    for candidate in sorted(FORMATS, key=lambda entry: (entry.generic, entry.name)):
        if candidate.recognise(source):
            return candidate
    what = (
        "an empty folder" if not source.files else f"{len(source.files)} files, {len(source.images)} of them images"
    )
    raise RequestError(
        f"{source.origin} is in no format that medwb recognises ({what}); name one with --format "
        f"({', '.join(sorted(FORMATS.names()))})"
    )


def import_dataset(
    source: str | Path,
    name: str,
    *,
    format: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    options: ReadOptions = ReadOptions(),
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = no_progress,
) -> Dataset:
    """Read a folder, zip or npz of scans into a dataset of that name.

    Bad files are left out and listed in `ingest.parquet` beside the dataset (columns `file`, `event`, `detail`).
    Splits that the source does not give are drawn, stratified by label and never through a group. An import that
    fails leaves nothing behind; the source is never written to.

    Args:
        source: Folder, zip file, CSV file or .npz file.
        name: Name of the new dataset.
        format: Name of the format; None recognises it.
        size: Height and width in pixels to resize to (area filter); None keeps the commonest size.
        channels: 1 or 3; None keeps colour only where there is some.
        options: What the reader should know.
        fractions: Shares of train, val and test where splits are drawn.
        seed: Seed of drawn splits.
        strict: Refuse the source instead of leaving anything out.
        progress: Called with (images done, images in all).

    Raises:
        RequestError: The source, the name or an option is wrong, or nothing could be read.
    """
    path = Path(source).expanduser()
    check_name(name, "dataset")
    if not str(source):
        raise RequestError("the source has no name; give a folder, zip, CSV or .npz file")
    if seed < 0:
        raise RequestError(f"--seed {seed} is negative; give 0 or more")
    if size is not None and not 8 <= size <= 2048:
        raise RequestError(f"--size {size} is out of range; it goes from 8 to 2048 pixels")
    if channels not in (None, 1, 3):
        raise RequestError(f"--channels {channels} is not possible; use 1 or 3")
    opened = Source(path.parent if path.suffix.lower() == ".csv" and path.is_file() else path)
    if opened.path != path and path.suffix.lower() == ".csv":
        options = _with_table(options, path.name)
    reader = FORMATS.get(format) if format else recognise_format(opened)
    _check_options(reader, options)
    if not reader.recognise(opened):
        raise RequestError(f"{path} is not in the format {reader.name}, which is: {reader.summary}")
    with new_dataset(name) as folder:
        listing = reader.read(opened, options)
        ingested = ingest(opened, listing, folder, size, channels, progress)
        counts = count_events(ingested.events)
        if strict:
            _check_strict(ingested, counts)
        samples = ingested.samples
        samples["split"], drawn = _complete_splits(ingested, listing.label_names, fractions, seed)
        ingested.events.to_parquet(folder / "ingest.parquet", index=False)
        facts = {"splits": {"drawn": drawn, "fractions": list(fractions), "seed": seed} if drawn else {"drawn": []}}
        save_dataset(
            folder,
            samples,
            listing.label_names,
            ingested.images,
            format=reader.name,
            source=str(path.resolve()),
            ingest=counts,
            facts=facts,
        )
    return open_dataset(name)


def _with_table(options: ReadOptions, table: str) -> ReadOptions:
    return ReadOptions(**{**options.__dict__, "table": options.table or table})


def _check_options(reader: Format, options: ReadOptions) -> None:
    for option in fields(options):
        if getattr(options, option.name) is not None and option.name not in reader.options:
            flag = {"label_columns": "labels"}.get(option.name, option.name).replace("_", "-")
            takes = ", ".join(reader.options) or "no option"
            raise RequestError(f"format {reader.name} does not take --{flag}; it takes {takes}")


def _check_strict(ingested: Ingested, counts: dict[str, int]) -> None:
    bad = [event for event in counts if event not in ("read", "resized", "converted") and counts[event]]
    if bad:
        first = ingested.events[ingested.events["event"].isin(bad)].iloc[0]
        summary = ", ".join(f"{counts[event]} {event}" for event in bad)
        raise RequestError(f"--strict: {summary}; the first: {first['file']}: {first['detail']}")


def _complete_splits(
    ingested: Ingested, label_names: list[str], fractions: Sequence[float], seed: int
) -> tuple[np.ndarray, list[str]]:
    """The split of every sample, and the names of those that were drawn.

    Nothing given: all three are drawn. A test split but no validation: validation is drawn from train. A
    validation split but no test, as many public datasets have it, is left as it is.
    """
    samples = ingested.samples
    given = samples["split"].to_numpy(str)
    labels = samples[label_names].to_numpy(np.float32)
    groups = samples["group"].to_numpy(str)
    if (given == "").all():
        return draw_splits(labels, groups, dict(zip(SPLITS, fractions, strict=True)), seed), list(SPLITS)
    if (given == "").any():
        row = int(np.flatnonzero(given == "")[0])
        raise RequestError(
            f"{samples['id'][row]} has no split while others have one; complete the split column or list"
        )
    if "train" in given and "val" not in given:
        train = given == "train"
        share = fractions[1] / (fractions[0] + fractions[1])
        given = given.astype(object)
        given[train] = draw_splits(labels[train], groups[train], {"train": 1 - share, "val": share}, seed)
        return given, ["val"]
    return given, []
