"""Importing and opening 58,954 scans.

    python benchmarks/importing.py MEDNIST_ZIP

The other side is the least that any tool does: one thread that reads each file and decodes it with OpenCV, and keeps
nothing; once over the unpacked folder, once over the zip file as it is. medwb also recognises the format, checks
that files are whole, looks for equal channels, draws stratified splits, writes array and tables, and takes the
fingerprint. Target: at most 0.7 times the loop; opening at most 50 ms.
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from measure import medians, report, seconds

from medwb.dataset import open_dataset
from medwb.formats import import_dataset

ROUNDS = 5


def main() -> None:
    """Unpack the set, then time both sides."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        folder = Path(scratch) / "mednist"
        with zipfile.ZipFile(sys.argv[1]) as archive:
            archive.extractall(folder)
        paths = sorted(str(path) for path in folder.rglob("*.jpeg"))
        count = 0

        def plain_folder() -> None:
            for path in paths:
                cv2.imread(path, cv2.IMREAD_UNCHANGED)

        def plain_zip() -> None:
            with zipfile.ZipFile(sys.argv[1]) as archive:
                for name in archive.namelist():
                    cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)

        def medwb_import(source: str | Path) -> None:
            nonlocal count
            count += 1
            import_dataset(source, f"mednist-{count}")

        plain_folder()  # the files are in the page cache for both sides
        found = medians(
            {
                "folder, plain OpenCV loop": plain_folder,
                "folder, medwb import": lambda: medwb_import(folder),
                "zip, plain OpenCV loop": plain_zip,
                "zip, medwb import": lambda: medwb_import(sys.argv[1]),
            },
            ROUNDS,
        )
        opening = sorted(seconds(lambda: open_dataset("mednist-1")) for _ in range(11))[5]
        ratios = {
            kind: round(found[f"{kind}, medwb import"] / found[f"{kind}, plain OpenCV loop"], 2)
            for kind in ("folder", "zip")
        }
        figures = {"files": len(paths), "rounds": ROUNDS, "seconds": found, "ratio": ratios}
        report({**figures, "open_ms": round(opening * 1000, 1)}, ("opencv-python-headless", "numpy", "pandas"))


if __name__ == "__main__":
    main()
