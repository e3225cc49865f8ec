"""Patch features: what small patches of a frame look like, and where in the frame."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medwb.dataset import Dataset

SIDE = 24  # pixels, of a thumbnail
PATCH = 6  # pixels, of a patch
PATTERNS = 128  # found by k-means
PLACES = 4  # along each side, over which answers are averaged

_LEVEL = 400.0  # added to the variance of a patch, in grey values squared: keeps flat patches flat
_WHITEN = 0.1  # added to the eigenvalues of patches
_SHARE_ON = 0.2  # of patches that a pattern answers to
_SAMPLED = 20_000  # patches that k-means learns from, at most
_ROUNDS = 10  # of k-means
_TOGETHER = 16  # frames worked on at once: they fit the cache

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Patches:
    """How thumbnails are described.

    Attributes:
        patterns: float32 (patch pixels + 1, PATTERNS); the last row is minus the thresholds.
        channels: 1 when all channels are alike.
    """

    patterns: Floats
    channels: int

    @property
    def width(self) -> int:
        """Features a frame."""
        return PLACES * PLACES * self.patterns.shape[1]

    @staticmethod
    def learn(dataset: Dataset, positions: Numbers) -> "Patches":
        """Find the patterns in patches of these samples."""
        rng = np.random.default_rng(2)
        some = np.sort(rng.choice(positions, min(len(positions), 2000), replace=False))
        thumbnails = _thumbnails(dataset, some, dataset.image_shape[2])
        channels = 1 if np.ptp(thumbnails, axis=1).max() == 0 else thumbnails.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(thumbnails[:, :channels], (PATCH, PATCH), axis=(2, 3))
        sampled = min(_SAMPLED, 100 * len(some) + 1000)
        which = rng.integers(0, len(some), sampled)
        top, left = rng.integers(0, windows.shape[2], (2, sampled))
        patches = windows[which, :, top, left].reshape(sampled, -1)
        patches = patches - patches.mean(axis=1, keepdims=True)
        patches /= np.sqrt((patches**2).mean(axis=1, keepdims=True) + _LEVEL)
        spread, axes = np.linalg.eigh(patches.T @ patches / sampled)
        whitening = (axes / np.sqrt(np.maximum(spread, 0) + _WHITEN)) @ axes.T
        patterns = whitening @ _spherical_k_means(patches @ whitening, rng).T
        thresholds = np.quantile(patches @ patterns, 1 - _SHARE_ON, axis=0)
        patterns -= patterns.mean(axis=0)  # so that a patch need not have its mean removed
        return Patches(np.vstack([patterns, -thresholds]).astype(np.float32), channels)

    def describe(self, dataset: Dataset, positions: Numbers) -> Floats:
        """Features of these samples, float32 (n, width)."""
        thumbnails = _thumbnails(dataset, positions, self.channels)
        steps, pixels, patterns = SIDE - PATCH + 1, len(self.patterns) - 1, self.patterns.shape[1]
        place = np.minimum(np.arange(steps) * PLACES // steps, PLACES - 1)
        pool = (place == np.arange(PLACES)[:, None]).astype(np.float32)
        pool /= pool.sum(axis=1, keepdims=True)
        features = np.empty((len(positions), self.width), np.float32)
        for start in range(0, len(positions), _TOGETHER):
            frames = thumbnails[start : start + _TOGETHER]
            count = len(frames)
            level = self._level(frames)
            patches = np.ones((pixels + 1, count, steps, steps), np.float32)
            rows = iter(patches)
            for channel in range(self.channels):
                for y in range(PATCH):
                    for x in range(PATCH):
                        np.multiply(frames[:, channel, y : y + steps, x : x + steps], level, out=next(rows))
            fit = patches.reshape(pixels + 1, -1).T @ self.patterns
            np.maximum(fit, 0, out=fit)
            pooled = np.matmul(pool, fit.reshape(count, steps, steps * patterns))
            pooled = np.matmul(pool, pooled.reshape(count, PLACES, steps, patterns))
            features[start : start + count] = pooled.reshape(count, -1)
        return features

    def _level(self, frames: Floats) -> Floats:
        """One over the contrast of the patch at each place, (n, steps, steps), from sums along each axis."""
        steps, pixels = SIDE - PATCH + 1, len(self.patterns) - 1
        sums = [frames.sum(axis=1), np.einsum("ncyx,ncyx->nyx", frames, frames)]
        for number, plane in enumerate(sums):
            along = sum(plane[:, :, x : x + steps] for x in range(PATCH))
            sums[number] = sum(along[:, y : y + steps] for y in range(PATCH)) / pixels
        variance = np.maximum(sums[1] - sums[0] ** 2, 0)
        return np.asarray(1 / np.sqrt(variance + _LEVEL), np.float32)


def _thumbnails(dataset: Dataset, positions: Numbers, channels: int) -> Floats:
    """The frames at these positions, float32 (n, channels, SIDE, SIDE) in 0..255."""
    import cv2

    small = np.empty((len(positions), SIDE, SIDE, channels), np.float32)
    kind = cv2.INTER_AREA if min(dataset.image_shape[:2]) >= SIDE else cv2.INTER_LINEAR
    for target, row in zip(small, dataset.rows[positions], strict=True):
        frame = cv2.resize(dataset.images[row], (SIDE, SIDE), interpolation=kind)
        target[:] = frame[..., :channels] if frame.ndim == 3 else frame[..., None]
    return np.ascontiguousarray(small.transpose(0, 3, 1, 2))


def _spherical_k_means(points: Floats, rng: np.random.Generator) -> Floats:
    """PATTERNS directions, (PATTERNS, pixels), each the mean of the points nearest to it."""
    centres = points[rng.choice(len(points), PATTERNS, replace=False)]
    centres = centres / (np.linalg.norm(centres, axis=1, keepdims=True) + 1e-6)
    rows = np.arange(len(points))
    for _ in range(_ROUNDS):
        member = np.zeros((len(points), PATTERNS), np.float32)
        member[rows, (points @ centres.T).argmax(axis=1)] = 1
        sums = member.T @ points
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 1e-3, sums / np.maximum(length, 1e-3), centres)
    return centres
