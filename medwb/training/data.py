"""What a run feeds its model: batches of pixels, targets and weights, in an order that the seed decides."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.config import RunConfig, input_shape
from medwb.dataset import Dataset
from medwb.images import Pixels, resize, to_grey


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        images: uint8 (B, H, W, C).
        targets: float32 (B, L): 0 or 1; 0 where the label is unknown.
        weights: float32 (B, L): 0 where the label is unknown, else the class weight.
    """

    images: Pixels
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


class RunData:
    """A dataset as one run sees it: resized, with the channels asked for, weighted.

    Nothing is copied but the batch at hand: images stay in the dataset's memory map.
    """

    def __init__(self, dataset: Dataset, config: RunConfig) -> None:
        self.dataset = dataset
        self.config = config
        self.shape = input_shape(config, dataset)
        self._splits = {split: dataset.split(split) for split in dataset.splits}

    def split(self, name: str) -> Dataset:
        """The samples of one split, in the order in which they are predicted."""
        return self._splits[name]

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
        rows = self._splits["train"].rows
        for start in range(0, len(order), self.config.batch_size):
            batch = order[start : start + self.config.batch_size]
            yield Batch(self._load(rows[batch]), targets[batch][:, labels], weights[batch][:, labels])

    @cached_property
    def _train(self) -> npt.NDArray[np.int64]:
        """Positions in the training split of samples with at least one known label."""
        return np.flatnonzero(~np.isnan(self._splits["train"].labels).all(axis=1))

    @cached_property
    def _targets(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        labels = self._splits["train"].labels
        known = ~np.isnan(labels)
        weights = known.astype(np.float32)
        if self.config.class_weights == "balanced":
            for value in (0, 1):
                count = np.maximum((labels == value).sum(0), 1)
                weights = np.where(labels == value, known.sum(0) / (2 * count), weights).astype(np.float32)
        return np.nan_to_num(labels), weights

    def _load(self, rows: npt.NDArray[np.int64]) -> Pixels:
        images = self.dataset.images[rows]
        height, width, channels = self.shape
        if channels == 1 and images.shape[3] == 3:
            images = np.stack([to_grey(image) for image in images])
        elif channels == 3 and images.shape[3] == 1:
            images = np.repeat(images, 3, axis=3)
        if images.shape[1:3] != (height, width):
            images = np.stack([resize(image, height, width) for image in images])
        return images
