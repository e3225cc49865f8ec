"""The whole table: the reference study's eight networks, its way in plain Keras, against medwb's default way.

    python benchmarks/whole_table.py LAYOUT [--architectures cnn-5,fcnn-1] [--keep FOLDER]

LAYOUT is a folder as the competition's (see `time_to_f1.py`). The reference way is timed over one epoch of each of an
architecture's three networks, times ten: extrapolated, since all of it takes hours. medwb's is `medwb train -a NAME`
to its end, less what `import tensorflow` takes. Target: a tenth of the time.

F1 on the validation scans that are not black stands beside it. The reference's comes from the whole training, from
FOLDER, where `reference_way.py DATASET ARCHITECTURE LABEL 10` has put it; null where it has not.
Target: no F1 of medwb's below the interval of the reference's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import command, report, seconds
from reference_way import EPOCHS, LitScans, train_reference

from medwb.architectures import select_architectures
from medwb.runs import open_run


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", type=Path)
    parser.add_argument("--architectures", default="reference", help="names, with commas")
    parser.add_argument("--keep", type=Path, help="a folder for the reference's trainings, so as to go on later")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    names = [entry.name for entry in select_architectures(options.architectures.split(","))]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDWB_HOME"] = folder
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        command("import", str(options.layout), "--name", "layout")
        importing = [sys.executable, "-c", "import tensorflow"]
        started = statistics.median(seconds(lambda: subprocess.run(importing, check=True)) for _ in range(3))
        scans = LitScans("layout")
        ours = {name: train(name, started, scans) for name in names}
        theirs = {name: reference(name, scans, options.keep or Path(folder)) for name in names}
    rows = {name: {"reference": theirs[name], "medwb": ours[name]} for name in names}
    for row in rows.values():
        row["ratio"] = row["reference"]["seconds"] / row["medwb"]["seconds"]
    sums = {side: sum(row[side]["seconds"] for row in rows.values()) for side in ("reference", "medwb")}
    figures = {"import_tensorflow": started, "architectures": rows, "seconds": sums}
    report({**figures, "ratio": sums["reference"] / sums["medwb"]}, ("keras", "tensorflow", "numpy"))


def train(name: str, started: float, scans: LitScans) -> dict[str, Any]:
    """medwb's seconds and score."""
    said = ""

    def work() -> None:
        nonlocal said
        said = command("train", "layout", "-a", name, "--json")

    wall = seconds(work) - started
    run = open_run(json.loads(said)["runs"][0])
    row = {"seconds": wall, "macro_f1": scans.macro_f1(run.predictions("val").y_score)}
    print(name, json.dumps(row), file=sys.stderr, flush=True)
    return row


def reference(name: str, scans: LitScans, keep: Path) -> dict[str, Any]:
    """The reference's seconds, and its score where the whole of it has been trained."""
    labels = range(len(scans.label_names))
    networks = [train_reference("layout", name, label, 1, keep) for label in labels]
    row: dict[str, Any] = {"seconds": EPOCHS * sum(float(one.seconds[0]) for one in networks), "macro_f1": None}
    if all((keep / f"{name}-{label}-{EPOCHS}.npz").exists() for label in labels):
        networks = [train_reference("layout", name, label, EPOCHS, keep) for label in labels]
        row["macro_f1"] = scans.macro_f1(np.stack([one.y_score for one in networks], axis=1))
    print(name, json.dumps(row), file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    main()
