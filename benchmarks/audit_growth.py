"""How the audit's time and memory grow with the number of frames: 10,000 to 1,000,000 of 64 x 64.

    python benchmarks/audit_growth.py MEDNIST_ZIP [--largest 1000000] [--sizes 10000,30000] [--add] [--scratch DIR]

Each frame is a scan of MEDNIST_ZIP, drawn with replacement, and moved, turned, enlarged, toned and made noisy by a
little that is drawn for it; one in fifty stays as it is, so that there are exact copies too. Copies of a scan share
its group (patient) and, but for one in a hundred, its split and its labels. At a million each scan stands there
17 times, so the sets of copies are large. Targets: a million in under 600 s on two cores and under 6 GB.

`peak_mb` is VmHWM and counts the pages of the mapped images; `anonymous_mb` is what no file backs. `exponent` is the
slope of log(seconds) over log(frames) for all sizes, `last_exponent` that of the two largest. `--sizes` with `--add`
keeps other sizes that were measured before. A million takes 4.1 GB of disk in DIR, removed at the end.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from child import run
from measure import RESULTS, report
from planting import moved, toned

from medwb.dataset import SPLITS, Dataset, allocate_images, new_dataset, save_dataset
from medwb.formats import import_dataset

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
AS_IS = 0.02  # frames that are exact copies
ASTRAY = 0.01  # samples with another split, and with another label, than the other copies
A_GROUP = 4  # scans of one patient
_BLOCK = 5_000
_NOISE = 3.0  # grey levels

Frames = npt.NDArray[np.uint8]


def repeat(scans: Dataset, name: str, count: int) -> None:
    """Write a dataset of distorted scans."""
    rng = np.random.default_rng(count)
    source = rng.integers(0, len(scans), count)
    as_is = rng.random(count) < AS_IS
    noise = rng.normal(0, _NOISE, (257, *scans.image_shape[:2])).astype(np.float32)
    originals = np.asarray(scans.images[scans.rows][..., 0])

    def fill(images: Frames, start: int) -> None:
        own = np.random.default_rng((count, start))
        for row in range(start, min(start + _BLOCK, count)):
            frame = originals[source[row]]
            images[row, :, :, 0] = frame if as_is[row] else distort(frame, noise, own)

    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (count, *scans.image_shape))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda start: fill(images, start), range(0, count, _BLOCK)))
        group = source // A_GROUP
        split = np.random.default_rng(1).choice(len(SPLITS), len(scans), p=(0.7, 0.15, 0.15))[group]
        astray = rng.random(count) < ASTRAY
        split[astray] = rng.integers(0, len(SPLITS), int(astray.sum()))
        samples = pd.DataFrame(
            {
                "id": [f"frame-{number:07}" for number in range(count)],
                "split": np.array(SPLITS, object)[split],
                "group": [f"patient-{number}" for number in group],
            }
        )
        labels = scans.labels[source].copy()
        astray = rng.random(count) < ASTRAY
        labels[astray] = 1 - labels[astray]
        labels[rng.random(labels.shape) < ASTRAY] = np.nan
        samples[list(scans.label_names)] = labels
        save_dataset(folder, samples, scans.label_names, images, format="repeated", source=scans.name, ingest={})


def distort(frame: Frames, noise: npt.NDArray[np.float32], rng: np.random.Generator) -> Frames:
    """A little of everything."""
    right, down, degrees, zoom, contrast, brightness = rng.uniform(
        (-2, -2, -3, 1.0, 0.9, -10), (2, 2, 3, 1.06, 1.1, 10)
    )
    frame = toned(moved(frame, right, down, degrees, zoom), contrast, brightness)
    grain = np.roll(noise[rng.integers(len(noise))], int(rng.integers(frame.size)))
    return np.clip(frame + grain, 0, 255).astype(np.uint8)


def slope(sizes: list[dict[str, Any]], column: str) -> float | None:
    """Of log(column) over log(samples)."""
    if len(sizes) < 2:
        return None
    samples, values = (np.log([size[key] for size in sizes]) for key in ("samples", column))
    return round(float(np.polyfit(samples, values, 1)[0]), 2)


def measured_before() -> list[dict[str, Any]]:
    """Sizes in the results file."""
    path = RESULTS / "audit_growth.json"
    return json.loads(path.read_text())["sizes"] if path.exists() else []


def main() -> None:
    """Write, audit and remove a dataset of each size."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("zip", metavar="MEDNIST_ZIP")
    options.add_argument("--largest", type=int, default=SIZES[-1])
    options.add_argument("--sizes", help="with commas; in the place of the usual ones")
    options.add_argument("--add", action="store_true", help="keep other sizes that are in the results")
    options.add_argument("--scratch", help="folder with room for the frames")
    given = options.parse_args()
    sizes = [int(size) for size in given.sizes.split(",")] if given.sizes else list(SIZES)
    sizes = [size for size in sizes if size <= given.largest]
    found = {size["samples"]: size for size in measured_before()} if given.add else {}
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        os.environ["MEDWB_HOME"] = scratch
        scans = import_dataset(given.zip, "scans")
        answer = Path(scratch) / "answer.json"
        command = [sys.executable, str(Path(__file__).parent / "audit_child.py"), "repeated", str(answer)]
        for count in sizes:
            started = time.perf_counter()
            repeat(scans, "repeated", count)
            writing = time.perf_counter() - started
            outcome = run(command, answer)
            found[count] = outcome.answer | {"peak_mb": outcome.peak_mb, "anonymous_mb": outcome.anonymous_mb}
            print(f"written in {writing:.0f} s:", json.dumps(found[count]), file=sys.stderr)
            shutil.rmtree(Path(scratch) / "datasets" / "repeated")
    rows = [found[count] for count in sorted(found)]
    figures = {
        "image_shape": [64, 64, 1],
        "sizes": rows,
        "exponent": slope(rows, "seconds"),
        "last_exponent": slope(rows[-2:], "seconds"),
        "cpu_exponent": slope(rows, "cpu_seconds"),
        "memory_exponent": slope(rows, "anonymous_mb"),
    }
    report(figures, ("numpy", "pandas", "faiss-cpu", "scikit-learn", "cleanlab"))


if __name__ == "__main__":
    main()
