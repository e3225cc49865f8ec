"""What a run feeds its model: batches of pixels, targets and weights, in an order that the seed decides."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.audit.cleaning import Cleaning
from medwb.config import RunConfig, input_shape
from medwb.dataset import Dataset
from medwb.images import Pixels, resize, to_grey


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        images: uint8 (B, H, W, C).
        targets: float32 (B, L) in 0..1, a share of votes where it lies between; 0 where the label is unknown.
        weights: float32 (B, L): 0 where the label is unknown, else the class weight.
    """

    images: Pixels
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


class RunData:
    """A dataset as one run sees it: cleaned, resized, with the channels asked for, weighted.

    What is learned and watched is cleaned; what is predicted is every sample with its labels as imported, so that
    runs under different cleanings answer the same samples. Nothing is copied but the batch at hand: images stay in
    the dataset's memory map.

    Attributes:
        train: The samples that are learned from, and what they are taught: labels in 0..1, NaN for unknown.
        val: The samples that early stopping and the schedule watch.
        train_positions: int64: where the samples of `train` stand in the train split.
        val_positions: int64: where those of `val` stand in the val split.
    """

    def __init__(self, dataset: Dataset, config: RunConfig, cleaning: Cleaning | None = None) -> None:
        self.dataset = dataset
        self.config = config
        self.cleaning = cleaning
        self.shape = input_shape(config, dataset)
        self._splits = {split: dataset.split(split) for split in dataset.splits}
        cleaned = cleaning.apply(dataset) if cleaning else dataset
        self.train, self.val = cleaned.split("train"), cleaned.split("val")
        self.train_positions = np.flatnonzero(np.isin(self._splits["train"].rows, self.train.rows))
        self.val_positions = np.flatnonzero(np.isin(self._splits["val"].rows, self.val.rows))

    def split(self, name: str) -> Dataset:
        """All samples of one split with their labels as imported, in the order in which they are predicted."""
        return self._splits[name]

    def describe(self) -> list[str]:
        """What the cleaning does to what is learned, a line each, for the log; nothing without one."""
        if self.cleaning is None:
            return []
        lines = [
            f"cleaning {self.cleaning.name} ({self.cleaning.digest}): {split}: {len(part):,} of "
            f"{len(self._splits[split]):,} samples stay, {self.cleaning.relabelled[split]:,} labels change"
            for split, part in (("train", self.train), ("val", self.val))
        ]
        return lines + [f"cleaning {self.cleaning.name}: {note}" for note in self.cleaning.notes]

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self._train) // self.config.batch_size)

    def images(self, split: str, start: int, stop: int) -> Pixels:
        """uint8 (stop - start, H, W, C): consecutive samples of a split."""
        return self._load(self._splits[split].rows[start:stop])

    def epoch(self, epoch: int, labels: npt.NDArray[np.int64], seed: int) -> Iterator[Batch]:
        """Every training sample with a known label once, in an order that follows from (seed, epoch)."""
        order = np.random.default_rng((seed, epoch)).permutation(self._train)
        targets, weights = self._targets
        rows = self.train.rows
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size]
            yield Batch(self._load(rows[batch]), targets[batch][:, labels], weights[batch][:, labels])

    @cached_property
    def _train(self) -> npt.NDArray[np.int64]:
        """Positions in `train` of samples with at least one known label."""
        return np.flatnonzero(~np.isnan(self.train.labels).all(axis=1))

    @cached_property
    def _targets(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        labels = self.train.labels
        known = ~np.isnan(labels)
        targets, weights = np.nan_to_num(labels), known.astype(np.float32)
        if self.config.class_weights == "balanced":  # a share of votes counts, and weighs, as that part of a yes
            yes = targets.sum(0, dtype=np.float64)
            for_yes, for_no = (known.sum(0) / (2 * np.maximum(count, 1)) for count in (yes, known.sum(0) - yes))
            weights = (known * (targets * for_yes + (1 - targets) * for_no)).astype(np.float32)
        return targets, weights

    def _load(self, rows: npt.NDArray[np.int64]) -> Pixels:
        images = self.dataset.images[rows]
        height, width, channels = self.shape
        if channels == 1 and images.shape[3] == 3:
            images = to_grey(images)
        elif channels == 3 and images.shape[3] == 1:
            images = np.repeat(images, 3, axis=3)
        if images.shape[1:3] != (height, width):
            images = np.stack([resize(image, height, width) for image in images])
        return images
