"""The reference study's eight-step stream on 64 x 64 grey scans: medwb against its library, SOLT and torchvision.

Every side runs in a process of its own on one core, in turn, round after round; medwb's is the function that the
training and the preview call. Peers that their environment lacks are left out and named.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
from augment_side import SIDES
from measure import report

HERE = Path(__file__).parent


def scans_from(archive: Path, count: int) -> np.ndarray:
    """uint8 (count, 64, 64, 1): scans from all classes."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpeg"))
        chosen = [names[i] for i in np.linspace(0, len(names) - 1, count).astype(int)]
        scans = [cv2.imdecode(np.frombuffer(file.read(name), np.uint8), cv2.IMREAD_GRAYSCALE) for name in chosen]
    return np.stack(scans)[..., None]


def main() -> None:
    """Measure, print, write `results/augmenting.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mednist", type=Path, help="the MedNIST zip")
    parser.add_argument("peers", type=Path, help="Python of an environment with solt and torchvision")
    parser.add_argument("--python", type=Path, default=Path(".venv/bin/python"), help="Python with medwb")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scans", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    python = dict.fromkeys(SIDES, options.peers) | {"medwb": options.python, "albumentations": options.python}
    speeds: dict[str, list[float]] = {name: [] for name in SIDES}
    versions, missing = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scans.npy"
        np.save(file, scans_from(options.mednist, options.scans))
        for _ in range(options.rounds):
            for name in SIDES:
                if name in missing:
                    continue
                command = [str(python[name]), str(HERE / "augment_side.py"), name, str(file), str(options.batch)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    missing[name] = (done.stderr.strip().splitlines() or ["it failed"])[-1]
                    continue
                answer = json.loads(done.stdout.splitlines()[-1])
                speeds[name].append(answer["images_per_second"])
                versions[name] = answer["version"]
    typical = {name: statistics.median(values) for name, values in speeds.items() if values}
    report(
        {
            "scans": options.scans,
            "batch": options.batch,
            "rounds": options.rounds,
            "cores_a_side": 1,
            "peers": versions,
            "missing": missing,
            "images_per_second": {name: round(value) for name, value in typical.items()},
            "ratio": {name: round(typical["medwb"] / value, 2) for name, value in typical.items() if name != "medwb"},
        },
        ("numpy", "opencv-python-headless", "albumentations"),
    )


if __name__ == "__main__":
    main()
