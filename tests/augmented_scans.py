"""Scans and pools that the tests of the augmentation share."""

import cv2
import numpy as np

from medwb.augment import Augmentation, Pool, augment_samples


def scans(count=3, shape=(64, 64, 1), seed=0):
    """Smooth blobs with some grain, uint8 (count, H, W, C)."""
    rng = np.random.default_rng(seed)
    height, width, channels = shape
    coarse = rng.random((count, 6, 6, channels)).astype(np.float32)
    smooth = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC).reshape(shape) for one in coarse]
    return np.clip(np.stack(smooth) * 220 + rng.normal(0, 6, (count, *shape)), 0, 255).astype(np.uint8)


def pool_of(images, labels=None):
    """A pool of these images; without labels, sample k has label k of as many."""
    labels = np.eye(len(images), dtype=np.float32) if labels is None else labels
    return Pool(np.arange(len(images)) + 100, labels, lambda positions: images[positions])


def augmented(images, *steps, seed=0, epoch=0, positions=None):
    """All images, or those at some positions, augmented."""
    positions = np.arange(len(images)) if positions is None else np.asarray(positions)
    return augment_samples(pool_of(images), positions, Augmentation(steps), seed, epoch)


def corners(entry):
    """Settings at both ends of every range, one at a time and all together, and every option of every choice."""
    yield {}
    yield {param.name: param.low for param in entry.params}
    yield {param.name: param.high for param in entry.params}
    for param in entry.params:
        yield from ({param.name: end} for end in (param.low, param.high))
    for choice in entry.choices:
        yield from ({choice.name: option} for option in choice.options)
