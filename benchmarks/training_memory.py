"""Peak memory of a training on 112,120 scans of 64 × 64: as many as the NIH chest X-rays.

    python benchmarks/training_memory.py [--scans 112120] [--architectures medwb-small,cnn-5]

The scans are noise, made for it; one epoch is learned, scored and saved. What counts is the highest resident memory
of the training process, pages of the mapped scans included (the system takes those back when it wants), beside that
of a process which has only imported TensorFlow. Target: under 3 GB.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import command, report

from medwb.runs import list_runs

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
IMPORT = "import re, tensorflow; print(re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"


def write_noise(path: Path, scans: int) -> None:
    """An archive of scans as MedMNIST has them: images uint8 (N, 64, 64), labels (N, 14)."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, share in SHARES.items():
        count = round(scans * share)
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 64, 64), dtype=np.uint8)
        arrays[f"{split}_labels"] = (rng.random((count, 14)) < 0.1).astype(np.uint8)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def peak_mb(architecture: str) -> dict[str, float]:
    """Highest resident memory of a run's process, MB, and how long the run took, s."""
    known = {run.id for run in list_runs()}
    cut = ["--set", "epochs=1"]
    started = time.monotonic()
    training = subprocess.Popen(
        [sys.executable, "-m", "medwb.cli", "train", "noise", "-a", architecture, *cut], stderr=subprocess.DEVNULL
    )
    highest = 0
    while training.poll() is None:
        for run in list_runs():
            pid = run.status().get("pid")
            if run.id not in known and pid and (status := Path(f"/proc/{pid}/status")).exists():
                found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
                highest = max(highest, int(found[1]) if found else 0)
        time.sleep(0.1)
    if training.returncode:
        raise RuntimeError(f"medwb train ended with {training.returncode}")
    return {"peak_mb": highest / 1024, "seconds": time.monotonic() - started}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=112_120)
    parser.add_argument("--architectures", default="medwb-small,cnn-5")
    options = parser.parse_args()
    figures: dict[str, Any] = {"scans": options.scans}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDWB_HOME"] = folder
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        write_noise(Path(folder) / "noise.npz", options.scans)
        command("import", f"{folder}/noise.npz", "--name", "noise")
        imported = subprocess.run([sys.executable, "-c", IMPORT], check=True, stdout=subprocess.PIPE, text=True)
        figures["import_tensorflow_mb"] = int(imported.stdout) / 1024
        figures["trainings"] = {name: peak_mb(name) for name in options.architectures.split(",")}
    report(figures, ("keras", "tensorflow", "numpy"))


if __name__ == "__main__":
    main()
