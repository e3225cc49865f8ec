"""One training step of the reference study's convolutional networks: medwb's update against PyTorch's.

    python benchmarks/step_speed.py PEERS_PYTHON [--rounds 3] [--batch-sizes 32,128]

PEERS_PYTHON has torch's CPU wheel. Both sides do the same work: 64 × 64 grey scans of noise, three labels, binary
cross-entropy, Adam, all cores; PyTorch channels-last; each in float32 and in bfloat16, the better one counts. A
round runs both sides in turn, each in a process of its own. Target: at least PyTorch's images a second.

CNN-5's useful operations a second (three times those of a forward pass, two a multiply-add) stand beside what the
machine reaches in a large matrix product of the same precision. Target: at least 0.7 of it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measure import report

NETWORKS = ("cnn-1", "cnn-2", "cnn-3", "cnn-4", "cnn-5")
SECONDS = 3.0
SHAPE, LABELS = (64, 64, 1), 3


def medwb_speed(name: str, precision: str, batch_size: int) -> dict[str, float]:
    """Images a second of medwb's compiled update, as `medwb.training.fit` makes it."""
    import medwb.training  # noqa: F401  isort: skip  says how TensorFlow starts
    import numpy as np
    import tensorflow as tf

    from medwb.config import make_config
    from medwb.training.fit import make_parts

    settings = {"dataset": "noise", "architecture": name, "recipe": "reference", "precision": precision}
    parts = make_parts(make_config({**settings, "batch_size": batch_size}), SHAPE, LABELS, 0)
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (batch_size, *SHAPE), dtype=np.uint8))
    targets = tf.constant((rng.random((batch_size, LABELS)) < 0.3).astype(np.float32))
    weights = tf.ones_like(targets)
    figures = {"images": _rate(lambda: float(parts.update(images, targets, weights, 1e-3)[0]), batch_size)}
    kind = tf.bfloat16 if precision == "bfloat16" else tf.float32
    left, right = (tf.cast(tf.random.uniform((2048, 2048)), kind) for _ in range(2))
    product = tf.function(lambda: tf.reduce_sum(left @ right))
    figures["products"] = _rate(lambda: float(product()), 1) * 2 * 2048**3
    return figures


def _rate(work: Any, items: int) -> float:
    """Items a second, over `SECONDS` of wall time after two calls that warm up."""
    work(), work()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        work()
        calls += 1
    return calls * items / (time.perf_counter() - started)


def child(python: str, side: str, name: str, precision: str, batch_size: int) -> dict[str, float]:
    """One side's figures, from a process of its own."""
    script = Path(__file__) if side == "medwb" else Path(__file__).with_name("step_speed_torch.py")
    run = [python, str(script), "--child", name, precision, str(batch_size)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    said = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True, env=quiet).stdout
    figures: dict[str, float] = json.loads(said.splitlines()[-1])
    return figures


def compare(name: str, python: str, rounds: int, batch_size: int) -> dict[str, Any]:
    """Median images a second of each side and precision, and the ratio of the better ones."""
    sides = [(side, precision) for side in ("medwb", "torch") for precision in ("float32", "bfloat16")]
    runs: dict[tuple[str, str], list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, precision in sides:
            runs[side, precision].append(
                child(sys.executable if side == "medwb" else python, side, name, precision, batch_size)
            )
    row: dict[str, Any] = {}
    for side, precision in sides:
        row.setdefault(side, {})[precision] = statistics.median(one["images"] for one in runs[side, precision])
    best = [
        [max(runs[side, "float32"][at]["images"], runs[side, "bfloat16"][at]["images"]) for at in range(rounds)]
        for side in ("medwb", "torch")
    ]
    row["ratio"] = statistics.median(ours / theirs for ours, theirs in zip(*best, strict=True))
    operations = 6 * _multiply_adds(name)
    row["share_of_product"] = {
        precision: statistics.median(one["images"] * operations / one["products"] for one in runs["medwb", precision])
        for precision in ("float32", "bfloat16")
    }
    print(name, batch_size, json.dumps(row), file=sys.stderr, flush=True)
    return row


def _multiply_adds(name: str) -> int:
    from medwb.architectures import ARCHITECTURES, describe_layers, total_multiply_adds

    return total_multiply_adds(describe_layers(ARCHITECTURES.get(name), SHAPE, LABELS))


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers_python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-sizes", default="32", help="with commas; 32 is what the networks are trained with")
    parser.add_argument("--architectures", default=",".join(NETWORKS))
    options = parser.parse_args()
    names, sizes = options.architectures.split(","), [int(size) for size in options.batch_sizes.split(",")]
    rows = {
        f"{name}, batches of {size}": compare(name, options.peers_python, options.rounds, size)
        for size in sizes
        for name in names
    }
    report({"networks": rows}, ("keras", "tensorflow"))


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        print(json.dumps(medwb_speed(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        main()
