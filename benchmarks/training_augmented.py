"""Training with the reference study's whole augmentation against training without.

    python benchmarks/training_augmented.py [--rounds 9]

The same compiled update of a network takes an epoch of 64 × 64 grey scans, once augmented by the preset "study" and
once as they are, in turn; everything else is alike. Target: at least 0.95 times the speed without, for a network of
the reference study.
"""

import argparse
import os
import statistics
import time
from contextlib import closing

import medwb.training  # noqa: F401  isort: skip  says how TensorFlow and OpenCV start

import numpy as np
import pandas as pd
import tensorflow as tf
from measure import report

from medwb.architectures import ARCHITECTURES
from medwb.augment import PRESETS, Augmentation
from medwb.config import RunConfig
from medwb.dataset import Dataset
from medwb.training.data import RunData
from medwb.training.fit import make_optimizer, make_update
from medwb.training.network import build_network

SCANS = {"fcnn-1": 16_384, "cnn-2": 8_192, "cnn-5": 512}
"""Scans an epoch: some seconds."""

SHAPE = (64, 64, 1)
LABELS = 3


def noise(scans: int) -> Dataset:
    """Scans of noise; how long anything takes does not depend on what they show."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (scans, *SHAPE), dtype=np.uint8)
    names = tuple(f"label {number}" for number in range(LABELS))
    samples = pd.DataFrame((rng.random((scans, LABELS)) < 0.3).astype(np.float32), columns=list(names))
    samples["id"] = [str(number) for number in range(scans)]
    samples["split"] = ["train"] * (scans - 2) + ["val", "val"]
    samples["group"] = ""
    return Dataset("noise", names, samples, images, "0" * 16, "csv", "made for a benchmark")


def measure(name: str, scans: int, rounds: int, batch_size: int) -> dict[str, object]:
    """Images a second of both sides in each round, and the median of the rounds' ratios."""
    config = RunConfig(dataset="noise", architecture=name, batch_size=batch_size)
    network = build_network(ARCHITECTURES.get(name), SHAPE, LABELS, config)
    update = make_update(network, make_optimizer(network, config), config)
    dataset = noise(scans)
    sides = {"without": Augmentation(), "study": PRESETS["study"]}
    data = {side: RunData(dataset, config, None, augmentation) for side, augmentation in sides.items()}

    def speed(side: str, epoch: int) -> float:
        started = time.perf_counter()
        with closing(data[side].epoch(epoch, np.arange(LABELS), 0)) as batches:
            for batch in batches:
                loss, answer = update(*batch, np.float32(config.learning_rate))
                float(loss), answer.numpy()
        return (scans - 2) / (time.perf_counter() - started)

    for side in sides:
        speed(side, 1)
    found: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides)[:: 1 if number % 2 else -1]:  # each goes first as often
            found[side].append(speed(side, number + 2))
    ratios = [study / without for study, without in zip(found["study"], found["without"], strict=True)]
    return {
        "scans": scans,
        "images_per_second": {side: round(statistics.median(values), 1) for side, values in found.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
    }


def main() -> None:
    """Measure each network, and print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--networks", default=",".join(SCANS))
    given = parser.parse_args()
    tf.config.experimental.enable_op_determinism()  # as in training
    load = os.getloadavg()[0]
    networks = {
        name: measure(name, SCANS[name], given.rounds, given.batch_size) for name in given.networks.split(",")
    }
    figures = {
        "image_shape": list(SHAPE),
        "batch_size": given.batch_size,
        "rounds": given.rounds,
        "steps": [step.transform for step in PRESETS["study"].active],
        "load_before": round(load, 2),
        "networks": networks,
        "target_ratio": 0.95,
    }
    report(figures, ("tensorflow", "keras", "numpy", "opencv-python-headless"))


if __name__ == "__main__":
    main()
