"""What each frame is like: brightness, contrast and content, and how it stands out among the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.workers import workers
from medwb.dataset import Dataset
from medwb.images import to_grey
from medwb.progress import Progress, Stages, no_progress

Floats = npt.NDArray[np.float32]
View = Callable[[npt.NDArray[np.uint8]], Floats]
Result = TypeVar("Result")

MIN_FRAMES = 20
"""Fewest different, not constant frames from which it is learnt what the dataset's frames look like."""

BACKGROUND = 12  # grey levels (5 % of the range) around the most common one that noise and JPEG spread it over
MARGIN = 0.3  # of a polarity, on the scale where a common frame has 1 and its negative -1; below it is not told

_BLOCK_BYTES = 8_000_000  # of frames a thread holds at a time: a few stay in the cache
_ROWS = 2048  # frames a step of the comparisons between frames
_SIDE = 16  # of the thumbnails
_SHADES = 16  # bins of the coarse histograms
_FOLDS = 4
_FIT = 4000  # frames that a fit sees: enough for its 512 weights at most, and the time stays linear
_WAVES = 256  # random features
_SURE = 0.75  # share of frames whose polarity must be right out of fold before any frame is doubted
_RIDGE = 0.01  # of the mean eigenvalue
_NEIGHBOUR = 10  # the tenth nearest: a handful of frames that are odd in the same way do not excuse one another
_REFERENCES = 2048  # frames that stand for the dataset when all frames are compared with it
_DENSE = 20_000  # the same, when only the frames in question are
_NEARER = {"whole": 0.8, "local": 0.98}  # see `_polarity`; local contrast is noisier, so distances differ less
_SPARE = 20  # frames a dimension; with fewer, those left out of the estimate look outlying for just that
_FLOOR = 0.03  # share of the mean variance added to each direction, so that directions of mere noise do not decide


def measure_frames(dataset: Dataset, progress: Progress = no_progress) -> pd.DataFrame:
    """Measure every frame, one row a sample in the order of `dataset.samples`, with its index.

    Grey is the weighted sum of the channels (ITU-R BT.601). Time and memory grow linearly with the samples.

    Returns:
        minimum       uint8 0..255: least value of any pixel and channel
        maximum       uint8 0..255: greatest value of any pixel and channel
        constant      uint8 0 or 1: all pixels are the same
        mean          float32 0..255: mean grey
        contrast      float32 0..127.5: standard deviation of grey
        dark          float32 0..1: share of pixels at grey 0
        bright        float32 0..1: share of pixels at grey 255
        border        float32 0..255: mean grey of the outermost ring of pixels
        filled        float32 0..1: share of pixels more than 12 grey levels from the most common grey
        sharpness     float32, grey levels, 0 or more: standard deviation of the Laplacian (Pech-Pacheco et al.,
                      "Diatom autofocusing in brightfield microscopy", ICPR 2000, take its square)
        entropy       float32 0..8 bits: of the 256-bin grey histogram
        colour        float32 0..255: mean difference between the greatest and the least channel; 0 for one channel
        inverted      float32 0..1: how much the frame looks like a negative among the others; a common frame has 0,
                      its negative 1; 0.5 where it cannot be told (constant frames, too few or too varied frames)
        outlyingness  float32: how far the frame lies from its tenth nearest other frame, in standard deviations of
                      the upper half of the dataset, logarithmic; 0 where it cannot be told
    """
    stages = Stages(progress, {"read": 7, "inverted": 1, "outlyingness": 2})
    measured = _read(dataset, stages["read"])
    table, content = measured.table, np.flatnonzero(measured.table["constant"] == 0)
    table["inverted"] = np.full(len(dataset), 0.5, np.float32)
    table["outlyingness"] = np.zeros(len(dataset), np.float32)
    if len(np.unique(measured.keys[content])) >= MIN_FRAMES:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # blocks run side by side; threads inside each product would wait for one another
            table["inverted"][content] = (1 - _polarity(measured, content)) / 2
            stages["inverted"](1, 1)
            table["outlyingness"][content] = _outlyingness(measured, content, stages["outlyingness"])
    progress(1, 1)
    return pd.DataFrame(table, index=dataset.samples.index)


@dataclass
class _Measured:
    """What one pass over the pixels yields.

    Attributes:
        thumbs: uint8 (N, 16, 16) grey.
        shades: float32 (N, 16): square roots of the shares of pixels in 16 ranges of grey.
        keys: uint64 (N,): equal where thumbnails are, so that copies can be kept together.
        table: The columns of `measure_frames` by name, (N,) each.
    """

    thumbs: npt.NDArray[np.uint8]
    shades: Floats
    keys: npt.NDArray[np.uint64]
    table: dict[str, npt.NDArray[np.generic]] = field(default_factory=dict)


def _read(dataset: Dataset, progress: Progress) -> _Measured:
    """Go through the pixels once, a block a thread."""
    rows, images = dataset.rows, dataset.images
    samples = len(rows)
    step = max(1, min(_ROWS, _BLOCK_BYTES // max(1, int(np.prod(dataset.image_shape)))))
    measured = _Measured(
        np.empty((samples, _SIDE, _SIDE), np.uint8),
        np.empty((samples, _SHADES), np.float32),
        np.empty(samples, np.uint64),
    )
    mixing = np.random.default_rng(0).integers(1, 2**63, _SIDE * _SIDE, dtype=np.uint64)

    def read(start: int) -> dict[str, npt.NDArray[np.generic]]:
        frames = np.asarray(images[rows[start : start + step]])
        stop = start + len(frames)
        grey, colour = _to_grey(frames)
        thumbs = measured.thumbs[start:stop]
        counts = np.empty((len(frames), 256), np.float32)
        sharpness = np.empty(len(frames), np.float32)
        for number, frame in enumerate(grey):
            counts[number] = cv2.calcHist([frame], [0], None, [256], [0, 256]).ravel()
            laplacian = cv2.Laplacian(frame, cv2.CV_16S, borderType=cv2.BORDER_REPLICATE)
            sharpness[number] = cv2.meanStdDev(laplacian)[1][0, 0]
            thumbs[number] = cv2.resize(frame, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        share = counts / np.float32(grey[0].size)
        measured.shades[start:stop] = np.sqrt(share.reshape(len(frames), _SHADES, -1).sum(2))
        measured.keys[start:stop] = thumbs.reshape(len(frames), -1).astype(np.uint64) @ mixing
        flat = frames.reshape(len(frames), -1, frames.shape[3])
        return {
            "minimum": flat.min(axis=(1, 2)),
            "maximum": flat.max(axis=(1, 2)),
            "constant": (flat.max(axis=1) == flat.min(axis=1)).all(axis=1).astype(np.uint8),
            **_of_histogram(share.astype(np.float64)),
            "border": _border(grey),
            "sharpness": sharpness,
            "colour": colour,
        }

    blocks = _side_by_side(read, range(0, samples, step), progress)
    measured.table = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return measured


def _side_by_side(work: Callable[[int], Result], starts: Sequence[int], progress: Progress) -> list[Result]:
    """The results of `work(start)`, a start a thread, in order."""
    results: list[Result] = []
    with workers() as pool:
        for result in pool.map(work, starts):
            results.append(result)
            progress(len(results), len(starts))
    return results


def _to_grey(frames: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Grey of (n, H, W, C) as (n, H, W), and the mean spread of the channels, (n,)."""
    if frames.shape[3] == 1:
        return frames[..., 0], np.zeros(len(frames), np.float32)
    spread = frames.max(axis=3) - frames.min(axis=3)
    return to_grey(frames)[..., 0], spread.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)


def _of_histogram(share: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.generic]]:
    """The measures that follow from shares of 256 grey levels, (n, 256) that sum to 1."""
    levels = np.arange(256.0)
    mean, square = (share @ np.stack([levels, levels**2], axis=1)).T
    total = np.pad(share.cumsum(axis=1), ((0, 0), (1, 0)))
    common = share.argmax(axis=1)
    each = np.arange(len(share))
    near = total[each, np.minimum(common + BACKGROUND + 1, 256)] - total[each, np.maximum(common - BACKGROUND, 0)]
    columns = {
        "mean": mean,
        "contrast": np.sqrt(np.maximum(square - mean**2, 0)),
        "dark": share[:, 0],
        "bright": share[:, 255],
        "filled": np.clip(1 - near, 0, 1),
        "entropy": -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1) + 0.0,  # not -0
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def _border(grey: npt.NDArray[np.uint8]) -> Floats:
    """Mean of the outermost ring of (n, H, W); (n,)."""
    height, width = grey.shape[1:]
    total = grey.sum(axis=(1, 2), dtype=np.float64)
    pixels = height * width
    if min(height, width) > 2:
        total -= grey[:, 1:-1, 1:-1].sum(axis=(1, 2), dtype=np.float64)
        pixels -= (height - 2) * (width - 2)
    return (total / pixels).astype(np.float32)


# Inverted frames


def _whole(thumbs: npt.NDArray[np.uint8]) -> Floats:
    """(n, 16, 16) to 8 x 8 around mid grey, (n, 64) of length 1: a negative has the opposite signs."""
    small = _halve(thumbs)
    return small / np.sqrt((small**2).sum(axis=1, keepdims=True) + np.float32(1e-3))


def _local(thumbs: npt.NDArray[np.uint8]) -> Floats:
    """(n, 16, 16) to (n, 256): light or dark against the surroundings, whatever frame is around the picture."""
    grey = thumbs.astype(np.float32) / np.float32(127.5) - 1
    detail = grey - _blur(grey, 2)
    return (detail / np.sqrt(_blur(detail**2, 3) + np.float32(1e-3))).reshape(len(thumbs), -1)


def _halve(thumbs: npt.NDArray[np.uint8]) -> Floats:
    """(n, 16, 16) to float32 (n, 64) in -1..1."""
    half = _SIDE // 2
    small = thumbs.reshape(-1, half, 2, half, 2).mean(axis=(2, 4), dtype=np.float32)
    return small.reshape(len(thumbs), -1) / np.float32(127.5) - 1


def _blur(grey: Floats, radius: int) -> Floats:
    """Box filter of (n, 16, 16); at the edge the mean of what is inside."""
    place = np.arange(_SIDE)
    band = (np.abs(place[:, None] - place) <= radius).astype(np.float32)
    band /= band.sum(axis=0)
    for _ in range(2):
        grey = (grey.reshape(-1, _SIDE) @ band).reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1)
    return grey


def _polarity(measured: _Measured, content: npt.NDArray[np.int64]) -> Floats:
    """Which way round black and white are: about 1 for a common frame, -1 for a negative; 0 when in doubt.

    Nobody says which frames are negatives. But a model that is an odd function of a picture around mid grey answers
    the opposite for its negative, so it can be fitted to answer 1 for every frame, and the few negatives in the set
    do not stop it. It is a ridge regression on the values and on sines of random projections (the odd half of the
    features of Rahimi and Recht, "Random features for large-scale kernel machines", NIPS 2007, so that sets of many
    kinds of scans are told as well), asked out of fold, with copies in one fold.

    A frame is called a negative only when two views say so, and its negative also lies nearer to the other frames
    than itself: a scan on a white sheet looks inverted to the model, but its negative looks like nothing else.
    """
    views: dict[str, View] = {"whole": _whole, "local": _local}
    answers = np.stack([_odd_model(view, measured, content) for view in views.values()])
    agreed = (answers < 0).all(axis=0) | (answers > 0).all(axis=0)
    polarity: Floats = np.where(agreed, np.clip(answers.mean(axis=0), -1, 1), np.float32(0))
    if (answers > 0).mean(axis=1).min() < _SURE:
        return np.zeros(len(content), np.float32)
    doubted = np.flatnonzero(polarity < -MARGIN)
    if not len(doubted):
        return polarity
    references = _references(measured, content, int(np.clip(4e8 / len(doubted), _REFERENCES, _DENSE)))
    for name, view in views.items():
        known = view(measured.thumbs[references])
        for start in range(0, len(doubted), _ROWS):
            rows = doubted[start : start + _ROWS]
            frames, keys = view(measured.thumbs[content[rows]]), measured.keys[content[rows]]
            itself = _distance(frames, known, keys, measured.keys[references])
            negative = _distance(-frames, known, keys, measured.keys[references])
            polarity[rows[negative > _NEARER[name] * itself]] = 0
    return polarity


def _odd_model(view: View, measured: _Measured, content: npt.NDArray[np.int64]) -> Floats:
    """Out-of-fold answers of the model of `_polarity` for one view, (frames,)."""
    rng = np.random.default_rng(0)
    fold = measured.keys[content] % np.uint64(_FOLDS)
    shuffled = rng.permutation(len(content))
    some = view(measured.thumbs[content[shuffled[:_FIT]]])
    length = np.sqrt((some**2).sum(axis=1).mean()) + np.float32(1e-6)
    waves = rng.standard_normal((some.shape[1], _WAVES), np.float32) / length

    def features(rows: npt.NDArray[np.int64]) -> Floats:
        values = view(measured.thumbs[content[rows]])
        return np.concatenate([values, np.sin(values @ waves)], axis=1)

    def fit(number: int) -> Floats:
        return _fit_ones(features(shuffled[fold[shuffled] != number][:_FIT]))

    weights = np.stack(_side_by_side(fit, range(_FOLDS), no_progress), axis=1)

    def answer(start: int) -> Floats:
        rows = np.arange(start, min(start + _ROWS, len(content)))
        every: Floats = features(rows) @ weights
        return every[np.arange(len(rows)), fold[rows].astype(np.int64)]

    return np.concatenate(_side_by_side(answer, range(0, len(content), _ROWS), no_progress))


def _fit_ones(features: Floats) -> Floats:
    """Ridge weights for which `features @ weights` is near 1; frames on the wrong side are then left out, twice."""
    keep = np.ones(len(features), bool)
    weights = np.zeros(features.shape[1], np.float32)
    for _ in range(3):
        kept = features[keep]
        if not len(kept):
            break
        product = kept.T @ kept / np.float32(len(kept))
        product[np.diag_indices(len(product))] += _RIDGE * np.trace(product) / len(product) + np.float32(1e-9)
        weights = np.linalg.solve(product, kept.mean(axis=0))
        keep = features @ weights > 0
    return weights


# Outlying frames


def _outlyingness(measured: _Measured, content: npt.NDArray[np.int64], progress: Progress) -> Floats:
    """Distance to the tenth nearest of the reference frames, as a robust z of its logarithm; (frames,).

    The distance to a near neighbour (Ramaswamy et al., "Efficient algorithms for mining outliers", SIGMOD 2000; for
    learnt features Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022) needs no
    single centre, so sets of several kinds of scans are handled. It is taken in whitened space (Mahalanobis): a
    deviation counts for much where the frames agree. The spread is that between the median and the 90th percentile.
    """
    references = _references(measured, content, _FIT)
    fitted = _appearance(measured, references)
    inner = fitted
    for _ in range(2):  # the second time without the outer hundredth, where there are frames enough to spare
        centre = inner.mean(axis=0)
        variance, directions = np.linalg.eigh(np.cov((inner - centre).T, dtype=np.float64))
        variance = np.maximum(variance, 0)
        floor = _FLOOR + len(variance) / len(inner)  # few frames overstate how much they agree
        scale = np.sqrt(variance + floor * variance.mean() + 1e-6)
        whitening = (directions / scale).astype(np.float32)
        square = (((fitted - centre) @ whitening) ** 2).sum(axis=1)
        if len(fitted) < _SPARE * len(variance):
            break
        inner = fitted[square <= np.quantile(square, 0.99)]
    references = references[:_REFERENCES]
    known = (fitted[:_REFERENCES] - centre) @ whitening

    def distances(start: int) -> Floats:
        rows = content[start : start + _ROWS]
        white = (_appearance(measured, rows) - centre) @ whitening
        return _distance(white, known, measured.keys[rows], measured.keys[references])

    found = _side_by_side(distances, range(0, len(content), _ROWS), progress)
    logarithm = np.log(np.concatenate(found) + np.float32(0.1))
    middle, high = np.quantile(logarithm, [0.5, 0.9])
    spread = max((high - middle) / 1.2816, 0.05)  # 1.2816 is the normal z of 0.9; 5 % nearer or farther is nothing
    return ((logarithm - middle) / spread).astype(np.float32)


def _appearance(measured: _Measured, rows: npt.NDArray[np.int64]) -> Floats:
    """Thumbnail, coarse histogram, sharpness, entropy and contrast: float32 (rows, 83), about equally weighted."""
    sharpness, entropy, contrast = (
        measured.table[name][rows].astype(np.float32) for name in ("sharpness", "entropy", "contrast")
    )
    measures = np.stack([2 * np.log1p(sharpness), entropy, contrast / np.float32(25)], axis=1)
    return np.concatenate([_halve(measured.thumbs[rows]), 4 * measured.shades[rows], measures], axis=1)


def _references(measured: _Measured, content: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Up to so many of the frames at random, no two with the same thumbnail."""
    drawn = np.random.default_rng(0).permutation(content)
    drawn = drawn[: 4 * count]  # of sets with more than three copies a frame, fewer remain
    return drawn[np.sort(np.unique(measured.keys[drawn], return_index=True)[1])][:count]


def _distance(
    frames: Floats, known: Floats, keys: npt.NDArray[np.uint64], known_keys: npt.NDArray[np.uint64]
) -> Floats:
    """Euclidean distance of each of (n, F) to its tenth nearest of `known`, (m, F); its own copies do not count."""
    square = frames @ known.T
    square *= -2
    square += (frames**2).sum(axis=1)[:, None]
    square += (known**2).sum(axis=1)
    square[keys[:, None] == known_keys] = np.inf
    nth = min(_NEIGHBOUR, square.shape[1] - 1) - 1
    nearest: Floats = np.partition(square, nth, axis=1)[:, nth]
    return np.sqrt(np.maximum(nearest, 0))
