"""The reference study's way of training, in plain Keras: the other side of `time_to_f1.py` and `whole_table.py`.

    python benchmarks/reference_way.py DATASET ARCHITECTURE LABEL EPOCHS OUT.npz

One network a label with two softmax outputs, scans divided by 255, Adam at 1e-3, batches of 32, every training scan
as often as it stands there (black ones too), `Model.fit` as it comes. Nothing of medwb but the dataset's arrays and
the list of layers. OUT.npz gets the validation scores, and the seconds of each epoch of `fit` alone.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.dataset import open_dataset
from medwb.metrics import evaluate
from medwb.process import usable_cores
from medwb.statistics import bootstrap_weights, interval

EPOCHS = 10


class Reference(NamedTuple):
    """One network's training: (E,) seconds of each epoch, (N,) scores of the validation scans."""

    wall: npt.NDArray[np.float64]
    cpu: npt.NDArray[np.float64]
    y_score: npt.NDArray[np.float32]

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Seconds of each epoch on a machine that does nothing else, (E,): no more than were seen.

        All cores cannot finish in less than the processor's seconds over their number, so that a ratio to it claims
        too little rather than too much when others were at work.
        """
        return np.minimum(self.wall, self.cpu / usable_cores())


class LitScans:
    """The validation scans that are not black, and how scores on them are reported."""

    def __init__(self, dataset: str) -> None:
        data = open_dataset(dataset)
        val = data.split("val")
        self.label_names = data.label_names
        self._lit = np.asarray(data.images[val.rows]).reshape(len(val), -1).any(axis=1)
        self._labels = val.labels[self._lit]
        drawn = bootstrap_weights(val.samples["group"].to_numpy(str)[self._lit])
        self._weights = np.vstack([np.ones((1, drawn.shape[1]), np.uint16), drawn])

    def macro_f1(self, y_score: npt.NDArray[np.float32]) -> dict[str, float]:
        """Macro F1 at 0.5 of (N, L) scores of all validation scans, with its interval over samples."""
        values = evaluate("f1", self._labels, y_score[self._lit], weights=self._weights).mean(1)
        return interval(values[0], values[1:])._asdict()


def train_reference(dataset: str, architecture: str, label: int, epochs: int, keep: Path) -> Reference:
    """Train one network in a process of its own; one that `keep` has already is read, not trained again."""
    out = keep / f"{architecture}-{label}-{epochs}.npz"
    if not out.exists():
        arguments = [dataset, architecture, str(label), str(epochs), str(out)]
        subprocess.run(
            [sys.executable, __file__, *arguments], check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
    with np.load(out) as kept:
        return Reference(kept["wall"], kept["cpu"], kept["y_score"])


def _train(dataset_name: str, architecture: str, label: int, epochs: int, out: Path) -> None:
    import keras

    dataset = open_dataset(dataset_name)
    train, val = dataset.split("train"), dataset.split("val")
    images, answers = np.asarray(dataset.images[train.rows]), train.labels[:, label].astype(int)
    keras.utils.set_random_seed(label)
    facts = ARCHITECTURES.get(architecture).layers
    assert facts is not None
    hidden = [getattr(keras.layers, type(layer).__name__)(**vars(layer)) for layer in facts(images.shape[1:])]
    scale = [keras.Input(images.shape[1:], dtype="uint8"), keras.layers.Rescaling(1 / 255)]
    network = keras.Sequential([*scale, *hidden, keras.layers.Dense(2, activation="softmax")])
    network.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])

    wall: list[float] = []
    cpu: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            self.started = time.perf_counter(), time.process_time()

        def on_epoch_end(self, epoch: int, logs: object = None) -> None:
            wall.append(time.perf_counter() - self.started[0])
            cpu.append(time.process_time() - self.started[1])

    network.fit(images, answers, batch_size=32, epochs=epochs, verbose=0, callbacks=[Clock()])
    scores = network.predict(np.asarray(dataset.images[val.rows]), 256, verbose=0)[:, 1]
    part = out.with_name(f"part-{out.name}")
    np.savez(part, wall=wall, cpu=cpu, y_score=scores)
    part.replace(out)


if __name__ == "__main__":
    _train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
