"""What a run feeds its model: batches of pixels, targets and weights, in an order that the seed decides."""

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from medwb.audit.cleaning import Cleaning
from medwb.audit.sets import exact_sets, without_copies
from medwb.augment import Augmentation, Augmented, Pool, augment_samples
from medwb.augment.receipt import EXAMPLES, Receipt, read_receipt, save_examples
from medwb.config import RunConfig, input_shape, total_epochs
from medwb.dataset import Dataset
from medwb.images import Pixels, to_shape
from medwb.training.ahead import ahead

Targets: TypeAlias = npt.NDArray[np.float32]

_BLOCK = 256  # scans augmented at a time: what they draw is the same whatever is drawn beside it
_BLOCK_BYTES = 16_000_000  # of pixels a block, unless a batch has more
_MOST_THREADS = 4


class Batch(NamedTuple):
    """One step's input.

    Attributes:
        images: uint8 (B, H, W, C).
        targets: float32 (B, L) in 0..1, a share of votes or of a mixed scan where it lies between; 0 where the label
            is unknown.
        weights: float32 (B, L): 0 where the label is unknown, else the class weight.
    """

    images: Pixels
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


class RunData:
    """A dataset as one run sees it: cleaned, resized, with the channels asked for, augmented, weighted.

    What is learned and watched is cleaned, and what is learned augmented; what is predicted is every sample as it is,
    with its labels as imported, so that runs under different cleanings answer the same samples. Nothing is copied but
    the batches at hand: images stay in the dataset's memory map.

    Attributes:
        train: The samples that are learned from, and what they are taught: labels in 0..1, NaN for unknown.
        val: The samples that early stopping and the schedule watch.
        train_positions: int64: where the samples of `train` stand in the train split.
        val_positions: int64: where those of `val` stand in the val split.
        pool: The cleaned train split as the network sees it before augmentation.
        receipt: What augmentation has done so far; None without one.
        examples: The first scans that were handed out, as they are and as they became; None without augmentation.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: RunConfig,
        cleaning: Cleaning | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.dataset = dataset
        self.config = config
        self.cleaning = cleaning
        self.augmentation = augmentation or Augmentation()
        self.receipt: Receipt | None = None
        self.examples: tuple[Pixels, Pixels] | None = None
        self.shape = input_shape(config, dataset)
        self._splits = {split: dataset.split(split) for split in dataset.splits}
        self._pictures: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}
        cleaned = cleaning.apply(dataset) if cleaning else dataset
        self.train, self.val = (learned := cleaned.split("train")), cleaned.split("val")
        if config.copies == "once":
            self.train = without_copies(learned)
        self.train_positions = np.flatnonzero(np.isin(self._splits["train"].rows, self.train.rows))
        self.val_positions = np.flatnonzero(np.isin(self._splits["val"].rows, self.val.rows))
        # The pool has the copies too: a preview, which knows nothing of `copies`, mixes with the same partners.
        self._in_pool = np.flatnonzero(np.isin(learned.rows, self.train.rows))
        rows, labels = learned.rows, learned.labels.copy()
        labels[self._in_pool] = self.train.labels
        self.pool = Pool(rows, labels, lambda positions: self._load(rows[positions]))
        if self.augmentation.active:
            self.receipt = Receipt.of(self.augmentation, config.augmentation, config.seed)
            empty = np.zeros((0, *self.shape), np.uint8)
            self.examples = empty, empty

    def split(self, name: str) -> Dataset:
        """All samples of one split with their labels as imported, in the order in which they are predicted."""
        return self._splits[name]

    def describe(self) -> list[str]:
        """What the cleaning and the augmentation do to what is learned, a line each, for the log."""
        lines = []
        if self.cleaning is not None:
            lines = [
                f"cleaning {self.cleaning.name} ({self.cleaning.digest}): {split}: {len(part):,} of "
                f"{len(self._splits[split]):,} samples stay, {self.cleaning.relabelled[split]:,} labels change"
                for split, part in (("train", self.train), ("val", self.val))
            ]
            lines += [f"cleaning {self.cleaning.name}: {note}" for note in self.cleaning.notes]
        if self.config.copies == "once":
            lines.append(f"of scans that are equal one is learned: {len(self.train):,} scans")
        if self.augmentation.active:
            names = ", ".join(step.transform for step in self.augmentation.active)
            lines.append(f"augmentation {self.config.augmentation} ({self.augmentation.digest}): {names}")
        return lines

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self._train) // self.config.batch_size)

    @property
    def epochs(self) -> int:
        """Epochs of a network that is not stopped early."""
        return total_epochs(self.config, self.steps)

    def images(self, split: str, positions: slice | npt.NDArray[np.int64]) -> Pixels:
        """uint8 (n, H, W, C): samples of a split by their positions in it."""
        return self._load(self._splits[split].rows[positions])

    def pictures(self, split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Each picture of a split once, since equal scans get equal scores.

        Returns:
            int64 (P,) positions of the pictures in the split, and int64 (N,): which picture each sample is.
        """
        if split not in self._pictures:
            units = exact_sets(self._splits[split]).units
            _, first, unit_of = np.unique(units, return_index=True, return_inverse=True)
            self._pictures[split] = np.sort(first), np.argsort(np.argsort(first))[unit_of]
        return self._pictures[split]

    def epoch(self, epoch: int, labels: npt.NDArray[np.int64], seed: int, start: int = 0) -> Generator[Batch]:
        """Every training sample with a known label once, augmented, in an order that follows from (seed, epoch).

        Batches are made ahead, on threads. What augmentation draws follows from the run's seed, not from this one, so
        that a preview needs to know the run alone. Close the iterator when it is left early.

        Args:
            epoch: Number of the epoch, from 1.
            labels: int64: which labels.
            seed: Of the order.
            start: Batches to leave out at the beginning; the others are as they would be without.
        """
        size = self.config.batch_size
        order = np.random.default_rng((seed, epoch)).permutation(self._train)[start * size :]
        length = size * max(1, min(_BLOCK, _BLOCK_BYTES // int(np.prod(self.shape))) // size)
        blocks = [order[start : start + length] for start in range(0, len(order), length)]
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        with closing(ahead(lambda block: self._block(block, epoch), blocks, threads, threads + 1)) as made:
            for block, (augmented, targets, weights) in zip(blocks, made, strict=True):
                handed = 0
                try:
                    for start in range(0, len(block), size):
                        batch = slice(start, min(start + size, len(block)))
                        handed = batch.stop
                        yield Batch(augmented.images[batch], targets[batch][:, labels], weights[batch][:, labels])
                finally:  # also when the iterator is closed
                    self._count(block, augmented, handed)

    def _block(self, positions: npt.NDArray[np.int64], epoch: int) -> tuple[Augmented, Targets, Targets]:
        here = self._in_pool[positions]
        augmented = augment_samples(self.pool, here, self.augmentation, self.config.seed, epoch)
        return augmented, *self._weighed(augmented.targets)

    def _count(self, positions: npt.NDArray[np.int64], augmented: Augmented, handed: int) -> None:
        """Add the first scans of a block, those that were handed out, to the receipt."""
        if self.receipt is None or self.examples is None:
            return
        self.receipt.count(augmented.drawn, handed)
        if (missing := min(EXAMPLES - len(self.examples[0]), handed)) > 0:
            sides = self.pool.images(self._in_pool[positions[:missing]]), augmented.images[:missing]
            before, after = (np.concatenate(pair) for pair in zip(self.examples, sides, strict=True))
            self.examples = before, after
            self.receipt.examples += self.train.samples["id"].iloc[positions[:missing]].tolist()

    def save_receipt(self, folder: Path, head: str, epoch: int) -> None:
        """Write what augmentation has done until now into the run's folder; nothing without augmentation."""
        if self.receipt is None or self.examples is None:
            return
        if not self.receipt.epochs:
            save_examples(folder, *self.examples)
        self.receipt.epochs[head] = epoch
        self.receipt.save(folder)

    def receipt_state(self) -> tuple[dict[str, Any] | None, list[Pixels]]:
        """What augmentation has done until now, for a checkpoint: the receipt's JSON, and the examples."""
        return (self.receipt.describe() if self.receipt else None), list(self.examples or ())

    def restore_receipt(self, receipt: dict[str, Any] | None, examples: Sequence[Pixels]) -> None:
        """Go on from what `receipt_state` gave."""
        if receipt is not None:
            before, after = examples
            self.receipt, self.examples = read_receipt(receipt), (before, after)

    @cached_property
    def _train(self) -> npt.NDArray[np.int64]:
        """Positions in `train` of samples with at least one known label."""
        return np.flatnonzero(~np.isnan(self.train.labels).all(axis=1))

    @cached_property
    def _class_weights(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Weight of a positive and of a negative of each label, for balance; a share of votes counts as that part."""
        labels = self.train.labels
        known, yes = (~np.isnan(labels)).sum(0), np.nan_to_num(labels).sum(0, dtype=np.float64)
        for_yes, for_no = (known / (2 * np.maximum(count, 1)) for count in (yes, known - yes))
        return for_yes, for_no

    def _weighed(self, labels: Targets) -> tuple[Targets, Targets]:
        """Targets and weights of labels that may be unknown."""
        known = ~np.isnan(labels)
        targets, weights = np.nan_to_num(labels), known.astype(np.float32)
        if self.config.class_weights == "balanced":  # a share of votes weighs as that part of a yes
            for_yes, for_no = self._class_weights
            weights = (known * (targets * for_yes + (1 - targets) * for_no)).astype(np.float32)
        return targets, weights

    def _load(self, rows: npt.NDArray[np.int64]) -> Pixels:
        return to_shape(self.dataset.images[rows], self.shape)
