"""How soon `medwb train` learns, against `import tensorflow`; and how long the network waits for its data.

    python benchmarks/training_start.py [--rounds 5]

1. From the command to the end of the first step of `medwb-small` on a demo dataset, less what `import tensorflow`
takes in the same round. Target: at most 2.5 s.
2. The share of an epoch in which the loop waits for the next batch, in the shipped pipeline: without and with the
reference study's augmentation. Target: under 5 % without.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import medwb.training  # noqa: F401  isort: skip  says how TensorFlow and OpenCV start

import numpy as np
from measure import command, report, seconds
from training_augmented import LABELS, SHAPE, noise

from medwb.architectures import ARCHITECTURES
from medwb.augment import PRESETS, Augmentation
from medwb.config import make_config
from medwb.training.data import RunData
from medwb.training.fit import make_parts

NETWORKS = ("medwb-small", "cnn-2", "cnn-5", "fcnn-1")
SCANS = {"medwb-small": 8192, "cnn-2": 8192, "cnn-5": 512, "fcnn-1": 16_384}


def first_step(home: Path) -> float:
    """Seconds from the command until the first step is done, as the run's own status says it."""
    started = time.perf_counter()
    before = set(home.glob("runs/*"))
    run = subprocess.Popen(
        [sys.executable, "-m", "medwb.cli", "train", "demo", "-a", "medwb-small", "--json"], stdout=subprocess.DEVNULL
    )
    try:
        while run.poll() is None:
            for folder in set(home.glob("runs/*")) - before:
                status = folder / "status.json"
                if status.exists() and json.loads(status.read_text()).get("done"):
                    return time.perf_counter() - started
            time.sleep(0.005)
        raise RuntimeError("the run ended before it told of a step")
    finally:
        run.wait()


def waiting(name: str, augmentation: Augmentation) -> float:
    """Share of an epoch's wall time in which the loop has no batch."""
    config = make_config({"dataset": "noise", "architecture": name})
    parts = make_parts(config, SHAPE, LABELS, 0)
    data = RunData(noise(SCANS[name]), config, None, augmentation)
    waited = 0.0
    for epoch in (1, 2):  # the first compiles
        with closing(data.epoch(epoch, np.arange(LABELS), seed=0)) as batches:
            started, waited = time.perf_counter(), 0.0
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                waited += time.perf_counter() - asked
                if batch is None:
                    break
                loss, _ = parts.update(batch.images, batch.targets, batch.weights, np.float32(1e-3))
                float(loss)
    return waited / (time.perf_counter() - started)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    starts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDWB_HOME"] = folder
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        command("demo", "--samples", "500")
        for _ in range(rounds):
            imported = seconds(lambda: subprocess.run([sys.executable, "-c", "import tensorflow"], check=True))
            starts.append({"import_tensorflow": imported, "first_step": first_step(Path(folder))})
    shares: dict[str, Any] = {}
    for name in NETWORKS:
        assert name in ARCHITECTURES.names()
        sides = {"as they are": Augmentation(), "study": PRESETS["study"]}
        shares[name] = {
            side: statistics.median(waiting(name, augmentation) for _ in range(3))
            for side, augmentation in sides.items()
        }
    over = statistics.median(start["first_step"] - start["import_tensorflow"] for start in starts)
    report({"starts": starts, "seconds_over_import": over, "waiting_share": shares}, ("keras", "tensorflow"))


if __name__ == "__main__":
    main()
