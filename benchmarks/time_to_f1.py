"""How long the reference study's score takes: its way in plain Keras against `medwb train` at its defaults.

    python benchmarks/time_to_f1.py LAYOUT [--rounds 5] [--epochs 10] [--keep FOLDER]

LAYOUT is a folder as the competition's: 12,000 training and 3,000 validation scans of 64 × 64, a third of them
black. The reference way is CNN-5, a network a label, ten epochs each, timed by `fit` alone. medwb's time is that
of the whole command, less what `import tensorflow` takes. Both are scored at 0.5 on the validation scans that are not
black. Targets: macro F1 no lower, at least 100 times less wall time.
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

from medwb.runs import open_run

IMPORT = "import tensorflow"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layout", type=Path)
    parser.add_argument("--rounds", type=int, default=5, help="trainings with medwb, seeds 0, 1, ...")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--keep", type=Path, help="a folder for the reference's trainings, so as to go on later")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDWB_HOME"] = folder
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        command("import", str(options.layout), "--name", "layout")
        keep = options.keep or Path(folder)
        keep.mkdir(parents=True, exist_ok=True)
        figures = compare(options.rounds, options.epochs, keep)
    report(figures, ("keras", "tensorflow", "numpy"))


def compare(rounds: int, epochs: int, keep: Path) -> dict[str, Any]:
    """Both sides' seconds and scores."""
    scans = LitScans("layout")
    imports: list[float] = []
    trainings: list[dict[str, Any]] = []

    def train(seed: int) -> None:
        imports.append(seconds(lambda: subprocess.run([sys.executable, "-c", IMPORT], check=True)))
        said = ""

        def work() -> None:
            nonlocal said
            said = command("train", "layout", "--seeds", str(seed), "--json")

        wall = seconds(work)
        (run_id,) = json.loads(said)["runs"]
        run = open_run(run_id)
        facts = {"architecture": run.config.architecture, "seed": seed, "wall": wall}
        facts["train_seconds"] = run.status()["train_seconds"]
        trainings.append({**facts, "macro_f1": scans.macro_f1(run.predictions("val").y_score)})

    for seed in range(rounds):
        train(seed)
    labels = range(len(scans.label_names))
    networks = [train_reference("layout", "cnn-5", label, epochs, keep) for label in labels]
    started = statistics.median(imports)
    whole = statistics.median(training["wall"] for training in trainings)
    reference = {key: sum(float(getattr(one, key).sum()) for one in networks) for key in ("seconds", "wall", "cpu")}
    scores = scans.macro_f1(np.stack([one.y_score for one in networks], axis=1))
    return {
        "reference": {**reference, "epochs": epochs, "macro_f1": scores},
        "medwb": trainings,
        "import_tensorflow": started,
        "ratio": reference["seconds"] / (whole - started),
        "ratio_with_import": reference["seconds"] / whole,
        "macro_f1_difference": statistics.mean(one["macro_f1"]["value"] for one in trainings) - scores["value"],
    }


if __name__ == "__main__":
    main()
