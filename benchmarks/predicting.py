"""Answering a folder of image files with a trained network.

    python benchmarks/predicting.py [SCANS]

The other side is Keras as its guides have it: `image_dataset_from_directory` and `model.predict`, with the same
network as medwb exported it. Both answer the same PNG files, each in a process of its own, and must give the same
scores. `seconds` are those of the whole process; `a_second` is without loading packages and the network.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from measure import command, medians, report

from medwb.dataset import open_dataset
from medwb.demo import write_demo

ROUNDS = 3
SIDE = Path(__file__).parent / "predicting_keras.py"


def main() -> None:
    """Train once, write the scans as files, and answer them with both sides in turn."""
    scans = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        write_demo("demo", scans)
        (run,) = json.loads(command("train", "demo", "-a", "cnn-2", "--set", "epochs=1", "--json"))["runs"]
        folder, model = Path(scratch) / "scans", Path(scratch) / "model.keras"
        command("export", run, "--format", "keras", "--out", str(model))
        folder.mkdir()
        for row, image in enumerate(open_dataset("demo").images):
            cv2.imwrite(str(folder / f"{row:06d}.png"), image)
        speeds: dict[str, list[float]] = {"medwb": [], "keras": []}
        csv, npz = Path(scratch) / "medwb.csv", Path(scratch) / "keras.npz"

        def ours() -> None:
            arguments = ["predict", run, str(folder), "--scores", "--csv", str(csv), "--json"]
            speeds["medwb"].append(json.loads(command(*arguments))["images_per_second"])

        def theirs() -> None:
            side = [sys.executable, str(SIDE), str(model), str(folder), str(npz)]
            done = subprocess.run(side, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            speeds["keras"].append(json.loads(done.stdout.splitlines()[-1])["a_second"])

        seconds = medians({"medwb": ours, "keras": theirs}, ROUNDS)
        table = pd.read_csv(csv)
        found = table[[name for name in table if name.startswith("score:")]].to_numpy()
        difference = float(np.abs(found - np.load(npz)["scores"]).max())
    figures: dict[str, Any] = {"scans": scans, "rounds": ROUNDS, "architecture": "cnn-2", "image": "64 x 64 PNG"}
    for name in speeds:
        figures[name] = {"seconds": round(seconds[name], 2), "a_second": round(float(np.median(speeds[name])))}
    figures["times_faster"] = round(seconds["keras"] / seconds["medwb"], 2)
    figures["times_faster_without_loading"] = round(figures["medwb"]["a_second"] / figures["keras"]["a_second"], 2)
    report({**figures, "max_difference": difference}, ("keras", "tensorflow", "onnxruntime"))


if __name__ == "__main__":
    main()
