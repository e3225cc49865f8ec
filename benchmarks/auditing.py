"""The whole audit of 58,954 scans and planted copies, beside imagededup and cleanvision.

    python benchmarks/auditing.py MEDNIST_ZIP PEERS_PYTHON [--rounds 1] [--limit 150] [--distance 4] [--no-folder]

PEERS_PYTHON is the Python of an environment of their own:

    python3.11 -m venv /tmp/peers && /tmp/peers/bin/pip install imagededup==0.3.3.post2 cleanvision==0.3.7

medwb: from the open dataset to the tables on disk, every check. imagededup: PHash, encode and search. cleanvision:
exact and near copies alone, and all its issues. All are handed decoded frames, so decoding costs nobody anything
(`audit_peers.py` says how). One side more is cleanvision on the unpacked folder, as it is used, beside medwb's import
and audit together. What reading and decoding the files takes is in its results: a small part. With two workers, its
default there, cleanvision sends the list of all files along with every few of them.

50 copies of each kind in `planting.KINDS` are planted, of CXR and Hand scans, where no neighbouring slices are.
`recall`: planted copies that are in one set, or pair, with their original. `precision`: of the pairs with a CXR or
Hand scan in them, those that show one picture: planted copies, scans with the same pixels, what follows from both.
A tool's pairs are all pairs within its sets. imagededup's are counted from its hashes at several distances, whether
its search finished or not: they are the pairs that it lists.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from child import Outcome, run
from measure import report
from planting import KINDS, distort

from medwb.audit import open_audit
from medwb.audit.sets import DuplicateSets
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.formats import import_dataset

HERE = Path(__file__).parent
CLASSES = ("CXR", "Hand")
EACH = 50
DISTANCES = (0, 2, 4, 10)
EXAMPLES = 5
_ROWS = 256  # of the table of all distances of hashes, at a time

Numbers = npt.NDArray[np.int64]


def plant(originals: Dataset, name: str) -> tuple[Dataset, Numbers, list[str]]:
    """Write the dataset with copies at its end; returns it, the original of each copy, and what was done to it."""
    rng = np.random.default_rng(0)
    several = np.flatnonzero((originals.labels[:, labels_of(originals)] == 1).any(axis=1))
    source = rng.choice(several, EACH * len(KINDS), replace=False)
    kinds = [kind for kind in KINDS for _ in range(EACH)]
    table = originals.samples.reset_index(drop=True)
    copies = table.iloc[source].assign(
        id=[f"copy/{kind}/{row:06}.png" for kind, row in zip(kinds, source, strict=True)]
    )
    total, shape = len(originals), originals.image_shape
    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (total + len(source), *shape))
        images[:total] = originals.images[originals.rows]
        for place, (kind, row) in enumerate(zip(kinds, source, strict=True)):
            images[total + place, :, :, 0] = distort(images[row, :, :, 0], kind, rng)
        samples = pd.concat([table, copies], ignore_index=True)
        save_dataset(folder, samples, originals.label_names, images, format="planted", source=name, ingest={})
    return open_dataset(name), source, kinds


def labels_of(dataset: Dataset) -> list[int]:
    """Places of the judged classes among the labels."""
    return [dataset.label_names.index(name) for name in CLASSES]


class Judge:
    """Knows which frames show one picture."""

    def __init__(self, dataset: Dataset, source: Numbers, kinds: list[str]) -> None:
        total = len(dataset)
        self.copy, self.source = np.arange(total - len(source), total), source
        self.kinds = np.array(kinds)
        self.judged = (dataset.labels[:, labels_of(dataset)] == 1).any(axis=1)
        pixels = dataset.images.reshape(total, -1)
        same = DuplicateSets.from_keys(pixels.view(f"V{pixels.shape[1]}").ravel())
        self.ids = dataset.samples["id"].to_numpy(object)
        self.picture = same.joined(DuplicateSets.from_pairs(total, self.copy, self.source)).units

    def of_sets(self, sets: DuplicateSets) -> dict[str, Any]:
        """Recall and precision of sets."""
        of = sets.of
        met = (of[self.copy] == of[self.source]) & (of[self.copy] >= 0)
        unjudged = sets.sizes - np.bincount(of[self.judged & (of >= 0)], minlength=len(sets))
        listed = int((_pairs(sets.sizes) - _pairs(unjudged)).sum())
        both = self.judged & (of >= 0)
        alike = np.unique(np.stack([of[both], self.picture[both]]), axis=1, return_counts=True)[1]
        figures = self._figures(met, listed, int(_pairs(alike).sum()))
        return figures | {"wrong_examples": self._wrong(sets)}

    def _wrong(self, sets: DuplicateSets) -> list[list[str]]:
        """Some of the sets with a judged frame that hold several pictures, one frame a picture: worth a look."""
        examples: list[list[str]] = []
        for members in sets.members():
            first = np.unique(self.picture[members], return_index=True)[1]
            if len(first) > 1 and self.judged[members].any():
                examples.append(self.ids[members[first[:3]]].tolist())
            if len(examples) == EXAMPLES:
                break
        return examples

    def of_hashes(self, hashes: npt.NDArray[np.uint64], distances: tuple[int, ...]) -> dict[str, Any]:
        """Recall and precision of all pairs of 64-bit hashes that differ in so many bits at most."""
        apart = np.bitwise_count(hashes[self.copy] ^ hashes[self.source])
        rows = np.flatnonzero(self.judged)
        listed, right = np.zeros(65, np.int64), np.zeros(65, np.int64)
        for start in range(0, len(rows), _ROWS):
            block = rows[start : start + _ROWS]
            differ = np.bitwise_count(hashes[block][:, None] ^ hashes)
            later = ~self.judged | (
                np.arange(len(hashes)) > block[:, None]
            )  # a pair of two judged frames counts once
            listed += np.bincount(differ[later], minlength=65)
            alike = later & (self.picture == self.picture[block][:, None])
            right += np.bincount(differ[alike], minlength=65)
        listed, right = listed.cumsum(), right.cumsum()
        return {
            f"distance {limit}": self._figures(apart <= limit, int(listed[limit]), int(right[limit]))
            for limit in distances
        }

    def _figures(self, met: npt.NDArray[np.bool_], listed: int, right: int) -> dict[str, Any]:
        return {
            "recall": round(float(met.mean()), 3),
            "recall_by_kind": {kind: round(float(met[self.kinds == kind].mean()), 2) for kind in KINDS},
            "pairs": listed,
            "precision": round(right / listed, 4) if listed else None,
        }


def _pairs(sizes: Numbers) -> Numbers:
    return sizes * (sizes - 1) // 2


def sets_of(samples: int, found: dict[str, list[list[int]]]) -> DuplicateSets:
    """Sets that lists of members make together."""
    members = [members for sets in found.values() for members in sets]
    a = np.array([x for one in members for x in one[:-1]], np.int64)
    b = np.array([x for one in members for x in one[1:]], np.int64)
    return DuplicateSets.from_pairs(samples, a, b)


def unpack(archive: str, dataset: Dataset, originals: int, folder: Path) -> None:
    """The scans as files, the planted copies as PNG beside them."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    for row in range(originals, len(dataset)):
        path = folder / dataset.samples["id"].iloc[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), dataset.images[row])


def side(outcomes: list[Outcome], limit: float, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    """One tool's seconds (the median of the rounds) and memory."""
    steps = [outcome.answer["seconds"] for outcome in outcomes]
    steps = [step if isinstance(step, dict) else {"audit": step} for step in steps]
    finished = all(outcome.finished for outcome in outcomes)
    common = [name for name in steps[0] if all(name in step for step in steps)]
    seconds = {name: round(statistics.median(step[name] for step in steps), 1) for name in common}
    total = sum(value for name, value in seconds.items() if name != "decode")
    return {
        "finished": finished,
        "seconds": round(total, 1) if finished else f"not finished within {limit:g} s",
        "steps": seconds,
        "at_least_seconds": round(total, 1) if finished else limit,
        "peak_mb": max(outcome.peak_mb for outcome in outcomes),
        "anonymous_mb": max(outcome.anonymous_mb for outcome in outcomes),
        "processes": max(outcome.processes for outcome in outcomes),
        **{key: outcomes[-1].answer[key] for key in keys if key in outcomes[-1].answer},
    }


def main() -> None:
    """Plant, run all sides in turn, judge."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("zip", metavar="MEDNIST_ZIP")
    options.add_argument("python", metavar="PEERS_PYTHON")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--limit", type=float, default=150, help="seconds after which a peer is stopped")
    options.add_argument("--distance", type=int, default=4, help="bits up to which imagededup searches")
    options.add_argument("--no-folder", action="store_true", help="leave out cleanvision on the folder")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        started = time.perf_counter()
        originals = import_dataset(given.zip, "mednist")
        importing = time.perf_counter() - started
        dataset, source, kinds = plant(originals, "planted")
        answer, frames = Path(scratch) / "answer.json", str(dataset.path / "images.npy")
        peer = [given.python, str(HERE / "audit_peers.py")]
        commands = {
            "medwb": [sys.executable, str(HERE / "audit_child.py"), "planted", str(answer)],
            "imagededup": [*peer, "imagededup", frames, str(answer), str(given.distance)],
            "cleanvision, copies": [*peer, "cleanvision-copies", frames, str(answer)],
            "cleanvision, all issues": [*peer, "cleanvision-all", frames, str(answer)],
        }
        if not given.no_folder:
            unpack(given.zip, dataset, len(originals), Path(scratch) / "scans")
            commands["cleanvision, folder"] = [*peer, "cleanvision-folder", f"{scratch}/scans", str(answer)]
        outcomes: dict[str, list[Outcome]] = {name: [] for name in commands}
        for _ in range(given.rounds):
            for name, command in commands.items():
                outcomes[name].append(run(command, answer, None if name == "medwb" else given.limit))
                print(name, json.dumps(outcomes[name][-1].answer)[:200], file=sys.stderr)
        judge = Judge(dataset, source, kinds)
        audit = open_audit(dataset)
        keys = ("version", "cpu_seconds", "stages", "exact", "near", "issues", "listed")
        sides = {name: side(found, given.limit, keys) for name, found in outcomes.items()}
        sides["medwb"] |= judge.of_sets(audit.copies)
        sides["imagededup"]["found"] = judge.of_hashes(np.load(answer.with_suffix(".npy")), DISTANCES)
        for name in ("cleanvision, copies", "cleanvision, all issues"):
            if outcomes[name][-1].finished:
                sides[name] |= judge.of_sets(sets_of(len(dataset), outcomes[name][-1].answer["sets"]))
    own = sides["medwb"]["at_least_seconds"]
    times = {name: round(other["at_least_seconds"] / own, 2) for name, other in sides.items() if name != "medwb"}
    if not given.no_folder:
        times["cleanvision, folder"] = round(sides["cleanvision, folder"]["at_least_seconds"] / (own + importing), 2)
    figures = {
        "samples": len(dataset),
        "planted": {"each": EACH, "kinds": KINDS, "classes": CLASSES},
        "rounds": given.rounds,
        "limit_seconds": given.limit,
        "import_seconds": round(importing, 1),
        "sides": sides,
        "times_as_long_as_medwb": times,
        "at_least": [name for name in times if not sides[name]["finished"]],
    }
    report(figures, ("numpy", "opencv-python-headless", "faiss-cpu", "cleanlab"))


if __name__ == "__main__":
    main()
