"""imagededup and cleanvision on decoded frames; run by `auditing.py` with a Python that has them.

    python audit_peers.py imagededup FRAMES_NPY ANSWER DISTANCE
    python audit_peers.py cleanvision-copies|cleanvision-all FRAMES_NPY ANSWER
    python audit_peers.py cleanvision-folder FOLDER ANSWER

FRAMES_NPY is uint8 (N, H, W, 1): no file is read or decoded, imagededup takes arrays, cleanvision a data set of
pictures. `cleanvision-folder` is how cleanvision is used: it lists, reads and decodes the files of a folder; what
reading and decoding take is measured beside it. The number of workers is what each takes by default: all cores, but
one for cleanvision on pictures (with two it took three times as long). The clock starts when packages are imported.
ANSWER is written when it starts and after each step, so that it tells what was done when time ran out.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np

COPIES = ("exact_duplicates", "near_duplicates")


class Frames:
    """Frames of a .npy file as pictures, with a label nobody asks for; sent to workers by the name of the file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.frames = np.load(path, mmap_mode="r")

    def __reduce__(self) -> tuple[type["Frames"], tuple[str]]:
        return Frames, (self.path,)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return Image.fromarray(np.asarray(self.frames[index, :, :, 0])), 0


def imagededup(path: str, answer: "Answer", distance: int) -> None:
    """PHash: encode, keep the hashes in `<answer>.npy`, search."""
    global hasher
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    answer.start("imagededup")
    blocks = [(path, start, start + 500) for start in range(0, len(np.load(path, mmap_mode="r")), 500)]
    with Pool(os.cpu_count()) as pool:
        hashes = [code for block in pool.imap(encode, blocks) for code in block]
    answer.add("encode")
    np.save(answer.path.with_suffix(".npy"), np.array([int(code, 16) for code in hashes], np.uint64))
    answer.continue_clock()
    names = {str(number): code for number, code in enumerate(hashes)}
    found = hasher.find_duplicates(encoding_map=names, max_distance_threshold=distance)
    answer.add("search", listed=sum(map(len, found.values())) // 2)


def encode(block: tuple[str, int, int]) -> list[str]:
    """Hashes of some frames."""
    path, start, stop = block
    return [hasher.encode_image(image_array=frame[:, :, 0]) for frame in np.load(path, mmap_mode="r")[start:stop]]


def cleanvision(path: str, answer: "Answer", kind: str) -> None:
    """Imagelab: copies alone, or all its issues."""
    from cleanvision import Imagelab

    answer.start("cleanvision")
    if kind == "cleanvision-folder":
        files = sorted(str(place) for place in Path(path).rglob("*.*"))
        with Pool(os.cpu_count()) as pool:
            for _ in pool.imap_unordered(decode, files, 100):
                pass
        answer.add("decode")
        answer.continue_clock()
        lab = Imagelab(data_path=path, verbose=False)
        lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, verbose=False)
        answer.add("find_issues", sets={name: len(lab.info[name]["sets"]) for name in COPIES})
        return
    lab = Imagelab(torchvision_dataset=Frames(path), verbose=False)
    wanted = None if kind == "cleanvision-all" else {name: {} for name in COPIES}
    lab.find_issues(wanted, verbose=False)
    sets = {name: [[int(index) for index in found] for found in lab.info[name]["sets"]] for name in COPIES}
    answer.add("find_issues", sets=sets, issues=dict(lab.issue_summary[["issue_type", "num_images"]].to_numpy()))


def decode(path: str) -> None:
    """Read a file, and decode it as cleanvision does."""
    from PIL import Image

    with Path(path).open("rb") as file:
        Image.open(file).copy()


class Answer:
    """The file that is written, and the clock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {"seconds": {}}

    def start(self, package: str) -> None:
        """Begin to count."""
        self.record["version"] = version(package)
        self._write()
        self.continue_clock()

    def continue_clock(self) -> None:
        """Count from here."""
        self.began = time.perf_counter()

    def add(self, step: str, **more: Any) -> None:
        """Keep the seconds of a step that is done."""
        self.record["seconds"][step] = round(time.perf_counter() - self.began, 1)
        self.record.update(more)
        self._write()

    def _write(self) -> None:
        temporary = self.path.with_suffix(".partial")
        temporary.write_text(json.dumps(self.record))
        temporary.replace(self.path)


if __name__ == "__main__":
    tool, frames, place, *rest = sys.argv[1:]
    if tool == "imagededup":
        imagededup(frames, Answer(Path(place)), int(rest[0]))
    else:
        cleanvision(frames, Answer(Path(place)), tool)
