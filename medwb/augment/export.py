"""Augmented scans as files, for tools that read a folder: always a new folder, never the source."""

import csv
import hashlib
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import medwb
from medwb.augment.apply import Pool, augment_samples
from medwb.augment.recipe import Augmentation
from medwb.dataset import Dataset, release_pages
from medwb.errors import RequestError
from medwb.images import Pixels
from medwb.paths import audits_dir, augmentations_dir, datasets_dir, runs_dir, sweep
from medwb.png import png
from medwb.progress import Progress, no_progress
from medwb.strict_json import dump_json

MAX_VARIANTS = 1000
_BLOCK = 64  # samples that are held at a time
_STEM_LENGTH = 120  # characters of a file's name that come from an id
_SUFFIX = re.compile(r"\.(png|jpe?g|tiff?|bmp|dcm)$", re.IGNORECASE)
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)|__macosx", re.IGNORECASE)
"""Names that Windows keeps for devices, and one that archives put beside their files."""


@dataclass(frozen=True)
class Exported:
    """A folder of augmented scans.

    Attributes:
        out: The folder.
        samples: Samples that were augmented.
        images: Files written, `variants` a sample.
        provenance: What `provenance.json` holds.
        import_command: How to read the folder back; the name of the new dataset is left to the user.
        notes: What a reader must know.
    """

    out: Path
    samples: int
    images: int
    provenance: dict[str, Any]
    import_command: str
    notes: list[str]


def export_augmented(
    dataset: Dataset,
    augmentation: Augmentation,
    name: str,
    out: Path,
    *,
    variants: int = 10,
    split: str = "train",
    seed: int = 0,
    progress: Progress = no_progress,
) -> Exported:
    """Write augmented scans, their labels and where they come from into a new folder.

    Variant k of a scan is `<id>_<k>.png`, pixel for pixel what a training with that seed, at the dataset's size and
    channels, sees in epoch k. `labels.csv` has the columns `id` (the file), one a label (1, 0, blank for unknown, a
    share where scans were mixed), `split`, and `group`: the patient, or the scan itself where that is not known, so
    that its variants stay in one split when the folder is imported. Scans are mixed with others of their own split,
    so that no split shows through in another. `provenance.json` names dataset, fingerprint, recipe, seed and version.
    The folder appears whole or not at all.

    Args:
        dataset: What is augmented; nothing of it is changed.
        augmentation: What is done.
        name: Name of the augmentation, for the provenance.
        out: A folder that is not there yet, or is empty.
        variants: Files a scan, 1 to 1,000.
        split: The samples that are augmented.
        seed: Seed of the draws.
        progress: Called with (files done, files in all).

    Raises:
        RequestError: Something is out of range, the augmentation does nothing or does not fit, or `out` is not a
            place for it.
        OSError: The disk is full, or fails.
    """
    if not 1 <= variants <= MAX_VARIANTS:
        raise RequestError(f"variants {variants} is out of range; give 1 to {MAX_VARIANTS:,}")
    if seed < 0:
        raise RequestError(f"seed {seed} is negative; give 0 or more")
    if not augmentation.active:
        raise RequestError(f"augmentation {name!r} has no step that counts: every variant would be a copy")
    augmentation.check(dataset.image_shape, f"augmentation {name!r}")
    part = dataset.split(split)
    target = _checked(out, dataset)
    stems = file_stems(part.samples["id"].tolist())
    provenance = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "split": split,
        "samples": len(part),
        "augmentation": {"name": name, "digest": augmentation.digest, **augmentation.describe()},
        "seed": seed,
        "variants": variants,
        "medwb": medwb.__version__,
        "renamed": {stem: key for stem, key in zip(stems, part.samples["id"], strict=True) if stem != _stem(key)},
    }
    with _new_folder(target) as folder:
        targets = np.empty((len(part), variants, len(part.label_names)), np.float32)
        for positions, variant, images, labels in _variants(part, augmentation, variants, seed):
            targets[positions, variant - 1] = labels
            for position, image in zip(positions, images, strict=True):
                (folder / f"{stems[position]}_{variant}.png").write_bytes(png(image))
            done = int(positions[0]) * variants + variant * len(positions)
            progress(done, len(part) * variants)
        (folder / "labels.csv").write_text(_labels_csv(part, stems, targets), encoding="utf-8", newline="")
        (folder / "provenance.json").write_text(dump_json(provenance) + "\n", encoding="utf-8")
    command, notes = _how_to_import(target, part.label_names, targets)
    return Exported(target, len(part), len(part) * variants, provenance, command, notes)


def file_stems(ids: Sequence[str]) -> list[str]:
    """Names for files, one an id, that are safe on every system and stay different where case does not count.

    An id's image suffix is left out, and what is not a letter, a digit, ".", "_" or "-" becomes "-". Ids whose names
    would then be one get a part of their hash.
    """
    plain = [_safe(_stem(key)) for key in ids]
    often = Counter(stem.lower() for stem in plain)
    taken: set[str] = set()
    stems = []
    for key, stem in zip(ids, plain, strict=True):
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{stem}-{digest[:8]}" if often[stem.lower()] > 1 else stem
        while name.lower() in taken:
            name = f"{stem}-{digest[: 1 + len(name) - len(stem)]}"
        taken.add(name.lower())
        stems.append(name)
    return stems


def _stem(key: str) -> str:
    return _SUFFIX.sub("", key)


def _safe(stem: str) -> str:
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", stem)[-_STEM_LENGTH:].strip(".-")
    return f"scan-{text}".rstrip("-") if not text or _RESERVED.match(text) else text


def _checked(out: Path, dataset: Dataset) -> Path:
    """The folder to write, every link followed. Raises RequestError where nothing may be written."""
    target = check_place(out, dataset)
    try:
        if target.exists() and not target.is_dir():
            raise RequestError(f"{out} is a file; name a folder that is not there yet")
        if target.is_dir() and any(target.iterdir()):
            raise RequestError(f"{out} is not empty, and nothing is overwritten; name a folder that is not there yet")
        if not target.parent.is_dir():
            raise RequestError(f"the folder {target.parent} is not there; make it, or name another place")
    except (OSError, RuntimeError) as error:
        raise RequestError(f"cannot write to {out} ({error}); name another folder") from None
    return target


def check_place(out: Path, dataset: Dataset) -> Path:
    """Where a file or folder may be written that is made from a dataset: `out`, every link followed.

    Raises:
        RequestError: It lies in what medwb keeps, or in what the dataset was imported from.
    """
    try:
        target = out.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise RequestError(f"cannot write to {out} ({error}); name another place") from None
    managed = [place().resolve() for place in (datasets_dir, audits_dir, runs_dir, augmentations_dir)]
    own = [dataset.path.resolve()] if dataset.path else []
    for place in (*managed, *own):
        if target.is_relative_to(place):
            raise RequestError(f"{out} lies in {place}, which medwb keeps for itself; name a place elsewhere")
    source = Path(dataset.source)
    if source.is_absolute():
        source = (source.parent if source.suffix.lower() == ".csv" else source).resolve()
        if target.is_relative_to(source):
            raise RequestError(
                f"{out} lies in {source}, which {dataset.name!r} was imported from and which is never written to; "
                "name a place elsewhere"
            )
    return target


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; it takes that name only when the body succeeds."""
    sweep(target)
    try:
        staging = target.with_name(f".{target.name}.{os.getpid()}.partial")
        staging.mkdir()
    except OSError as error:
        raise RequestError(f"cannot write to {target.parent} ({error.strerror}); name another folder") from error
    try:
        yield staging
        try:
            staging.rename(target)
        except OSError as error:
            raise RequestError(f"{target} was made by another process meanwhile; name another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _variants(
    part: Dataset, augmentation: Augmentation, variants: int, seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], int, Pixels, npt.NDArray[np.float32]]]:
    """Blocks of augmented samples: their positions, the variant from 1, images and targets."""
    pool = Pool.of(part)
    for start in range(0, len(part), _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, len(part)), dtype=np.int64)
        for variant in range(1, variants + 1):
            made = augment_samples(pool, positions, augmentation, seed, variant)
            yield positions, variant, made.images, made.targets
        release_pages(part.images)


def _labels_csv(part: Dataset, stems: Sequence[str], targets: npt.NDArray[np.float32]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", *part.label_names, "split", "group"])
    groups = [group or key for group, key in zip(part.samples["group"], part.samples["id"], strict=True)]
    for stem, group, split, of_sample in zip(stems, groups, part.samples["split"], targets.tolist(), strict=True):
        for variant, labels in enumerate(of_sample, 1):
            table.writerow([f"{stem}_{variant}.png", *map(_cell, labels), split, group])
    return text.getvalue()


def _cell(label: float) -> str:
    return "" if label != label else f"{label:.6g}"


def _how_to_import(out: Path, label_names: Sequence[str], targets: npt.NDArray[np.float32]) -> tuple[str, list[str]]:
    """The command that imports the folder, and what it cannot do."""
    known = ~np.isnan(targets)
    shares = known & (targets != 0) & (targets != 1)
    notes = []
    if shares.any():
        notes.append(
            f"{shares.any(axis=2).mean():.0%} of the scans are mixed, with shares as labels; medwb imports these "
            "labels as unknown, other tools may read them"
        )
    named = ""
    if shares.any() or not known.any(axis=(0, 1)).all():  # such columns are not recognised as labels by themselves
        named = f" --labels '{','.join(label_names)}'"
    return f"medwb import {out} --name NAME{named}", notes
