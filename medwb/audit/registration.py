"""Laying pairs of scans over one another, many pairs at a time, and saying how alike they are then.

Two scans of like anatomy share what is coarse: outline, organs, brightness. Copies share what is fine as well:
texture and noise. So likeness is the correlation of the fine detail, after one scan was moved, turned, stretched,
toned and blurred to fit the other.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

DETAIL = (1.0, 2.0)
"""Detail that decides: between two Gaussian blurs of these widths, in pixels of 64."""

_THUMB_BLUR = 6.0  # pixels of 64: what is coarser is taken out of thumbnails before they are compared
_SMOOTH = 1.5  # pixels of 64: blur under which scans are aligned
_MARGIN = 3  # pixels of 64 at the edges of both that are not compared: a shifted copy is filled up there
_LEAST = 0.4  # share of the frame that must overlap
_TILE = 8  # pixels
_LEVELLING = 2.0  # of the mean strength: with more, strong edges decide; with less, noise and JPEG do
_SURE, _HOPELESS = 0.98, 0.82  # likeness from which, and below which, tone and blur are not fitted
_TONES = 24
_BLURS = (0.7, 1.0, 1.4)  # pixels of 64
_AS_SHARP = 0.15  # logarithm of two sharpnesses up to which no blur is fitted
_AS_SKEWED = 0.03  # difference of two skewnesses up to which no tone curve is fitted
_MOST_MOVED, _MOST_STRETCHED = 0.16, 0.2  # share of the side, and of the length: more is no small shift, turn or crop


def align(a: Floats, b: Floats, matrices: npt.NDArray[np.float64], rounds: int) -> npt.NDArray[np.float64]:
    """Refine where each `b` must be read so that it fits `a`.

    Gauss-Newton on the squared difference over the six numbers of an affine map, gain and offset taken out: the
    inverse compositional algorithm of Baker and Matthews, "Lucas-Kanade 20 years on" (IJCV 2004), section 3.2.

    Args:
        a: float32 (n, S, S); n * S is below 32,768, the largest image that OpenCV reads.
        b: float32 (n, S, S).
        matrices: float64 (n, 2, 3): first guess; from a pixel (x, y) of `a` to one of `b`.
        rounds: Steps.

    Returns:
        float64 (n, 2, 3): the refined maps.
    """
    pairs, side = len(a), a.shape[1]
    x, y = _grid(side)
    slopes = np.gradient(a, axis=(1, 2))
    down, right = (_without_edges(np.asarray(slope, np.float32)) for slope in slopes)
    steepest = np.stack([right * x, right * y, right, down * x, down * y, down], axis=1).reshape(pairs, 6, -1)
    flat = a.reshape(pairs, -1)
    normal = (steepest @ steepest.transpose(0, 2, 1)).astype(np.float64)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 6 + 1e-3
    normal += damping[:, None, None] * np.eye(6)
    maps = _centred(matrices, side)
    for _ in range(rounds):
        warped, inside = _warp(b, _uncentred(maps, side))
        share = inside.reshape(pairs, -1).astype(np.float32)
        target, spread = _deviation(flat, share)
        values, other_spread = _deviation(warped.reshape(pairs, -1), share)
        error = values * (spread / other_spread) - target
        step = np.linalg.solve(normal, (steepest @ error[:, :, None]).astype(np.float64))[:, :, 0]
        small = np.tile(np.eye(3), (pairs, 1, 1))
        small[:, :2] += np.clip(step / side, -0.1, 0.1).reshape(pairs, 2, 3)
        maps = maps @ np.linalg.inv(small)
    return _uncentred(maps, side)


def _deviation(values: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Difference from the mean of what is compared, 0 elsewhere, and its root mean square: (n, p) and (n, 1)."""
    weight = np.maximum(share.sum(axis=1, keepdims=True), 1)
    mean = np.einsum("np,np->n", values, share)[:, None] / weight
    difference = (values - mean) * share
    return difference, np.maximum(np.sqrt(np.einsum("np,np->n", difference, difference)[:, None] / weight), 1e-3)


def plausible(matrices: npt.NDArray[np.float64], starts: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.bool_]:
    """Which maps (n, 2, 3) are a small shift, turn or crop away from where they started."""
    change = _centred(matrices, side)[:, :2] - _centred(starts, side)[:, :2]
    stretched = np.abs(change[:, :, :2]).max(axis=(1, 2))
    moved = np.abs(change[:, :, 2]).max(axis=1)
    return (stretched < _MOST_STRETCHED) & (moved < _MOST_MOVED)


def likeness(a: Floats, b: Floats, matrices: npt.NDArray[np.float64]) -> Floats:
    """How alike pairs are once `b` is read through `matrices`, float32 (n,) in 0..1.

    The correlation of fine detail. Where it is neither certain nor hopeless, a tone curve (brightness, contrast,
    gamma, clipping) is fitted, and the sharper scan is blurred; copies gain by that, look-alikes hardly.

    Args:
        a: float32 (n, 64, 64), 0..255.
        b: float32 (n, 64, 64), 0..255.
        matrices: float64 (n, 2, 3) as `align` returns.
    """
    warped, inside = _warp(b, matrices, cubic=True)
    share = inside.astype(np.float32)
    mine, other = _Side(a, _detail(a)), _Side(warped, _detail(warped))
    result = np.where(share.mean(axis=(1, 2)) >= _LEAST, _correlation(mine.detail, other.detail, share), 0)
    doubtful = np.flatnonzero((result < _SURE) & (result >= _HOPELESS))
    if len(doubtful):
        fitted = _fitted(mine.at(doubtful), other.at(doubtful), share[doubtful])
        result[doubtful] = np.maximum(result[doubtful], fitted)
    return np.clip(result, 0, 1).astype(np.float32)


def coarse_likeness(a: Floats, b: Floats, matrices: npt.NDArray[np.float64]) -> Floats:
    """Correlation, float32 (n,), of pairs of thumbnails with their coarsest part taken out."""
    warped, inside = _warp(b, matrices)
    band = (0.0, _THUMB_BLUR)
    return _correlation(_band(a, band), _band(warped, band), inside.astype(np.float32))


def smooth(frames: Floats) -> Floats:
    """Frames (n, S, S) under the blur at which they are aligned."""
    return _blur(frames, _SMOOTH)


class _Side(NamedTuple):
    """One side of pairs: frames float32 (n, S, S), and their detail."""

    frames: Floats
    detail: Floats

    def at(self, where: npt.NDArray[Any]) -> "_Side":
        """Some of the frames."""
        return _Side(self.frames[where], self.detail[where])


def _fitted(a: _Side, b: _Side, share: Floats) -> Floats:
    """Likeness after what differs was fitted, tones or sharpness or both; (n,), 0 where neither differs."""
    sharper = np.log(_sharpness(a.frames) / _sharpness(b.frames))
    best = np.zeros(len(share), np.float32)
    toned = np.abs(_skewness(a.frames, share) - _skewness(b.frames, share)) > _AS_SKEWED
    some = np.flatnonzero(toned | (np.abs(sharper) > _AS_SHARP))
    if not len(some):
        return best
    a, b, share = a.at(some), b.at(some), share[some]
    # Clipping can be followed in one direction only, so each side takes on the tones of the other in turn.
    for plain, other in ((a, b), (b, a)):
        frames = _tone(other.frames, plain.frames, share)
        like = _Side(frames, _detail(frames))
        alike = _correlation(plain.detail, like.detail, share)
        ratio = np.log(_sharpness(plain.frames) / _sharpness(like.frames))
        for sharp, dull, which in ((plain, like, ratio > _AS_SHARP), (like, plain, ratio < -_AS_SHARP)):
            if which.any():
                alike[which] = np.maximum(alike[which], _blurred(sharp.at(which), dull.at(which), share[which]))
        best[some] = np.maximum(best[some], alike)
    return best


def _blurred(sharp: _Side, dull: _Side, share: Floats) -> Floats:
    """Likeness after the sharper side was blurred, (n,)."""
    alike = [_correlation(_detail(_blur(sharp.frames, width)), dull.detail, share) for width in _BLURS]
    return np.max(alike, axis=0)


def _skewness(frames: Floats, share: Floats) -> Floats:
    """Third standardised moment of the grey levels that are compared, (n,): no gain or offset changes it."""
    weight = share.reshape(len(share), -1)
    difference, spread = _deviation(frames.reshape(len(frames), -1), weight)
    third = np.einsum("np,np,np->n", difference, difference, difference)
    return third / (np.maximum(weight.sum(axis=1), 1) * spread[:, 0] ** 3)


def _sharpness(frames: Floats) -> Floats:
    """Strength of the differences between neighbouring pixels against those four apart, (n,)."""
    near, far = frames[:, :, 1:] - frames[:, :, :-1], frames[:, :, 4:] - frames[:, :, :-4]
    return np.maximum(np.einsum("nij,nij->n", near, near), 1e-6) / np.maximum(np.einsum("nij,nij->n", far, far), 1e-6)


def _tone(source: Floats, target: Floats, share: Floats) -> Floats:
    """The rising tone curve (piecewise linear) that brings each source nearest to its target, applied."""
    pairs = len(source)
    low, above = _tones(source[:, ::2, ::2])  # every fourth pixel is enough for a curve
    weight, wanted = share[:, ::2, ::2], target[:, ::2, ::2]
    weights, sums = np.zeros(pairs * _TONES), np.zeros(pairs * _TONES)
    for bin_of, part in ((low, (1 - above) * weight), (low + 1, above * weight)):
        weights += np.bincount(bin_of.ravel(), part.ravel(), pairs * _TONES)
        sums += np.bincount(bin_of.ravel(), (part * wanted).ravel(), pairs * _TONES)
    seen = weights.reshape(pairs, _TONES) > 0.5
    means = (sums / np.maximum(weights, 1e-9)).reshape(pairs, _TONES)
    curve = np.maximum.accumulate(np.where(seen, means, -np.inf), axis=1)
    first = np.where(seen, curve, np.inf).min(axis=1, keepdims=True)
    curve = np.where(np.isfinite(curve), curve, np.where(np.isfinite(first), first, 0)).astype(np.float32).ravel()
    low, above = _tones(source)
    return curve[low] * (1 - above) + curve[low + 1] * above


def _tones(frames: Floats) -> tuple[npt.NDArray[np.int32], Floats]:
    """The tone at or below each pixel, numbered through all frames, and how far it is to the next, 0..1."""
    place = np.clip(frames * ((_TONES - 1) / 255), 0, _TONES - 1.001)
    low = place.astype(np.int32)
    return low + np.arange(len(frames), dtype=np.int32)[:, None, None] * _TONES, place - low


def _correlation(a: Floats, b: Floats, share: Floats) -> Floats:
    """Correlation of each pair over what is compared, (n,)."""
    (a, spread_a), (b, spread_b) = (_deviation(x.reshape(len(x), -1), share.reshape(len(x), -1)) for x in (a, b))
    weight = np.maximum(share.sum(axis=(1, 2)), 1)
    return np.einsum("np,np->n", a, b) / (weight * spread_a[:, 0] * spread_b[:, 0])


def _warp(
    frames: Floats, matrices: npt.NDArray[np.float64], cubic: bool = False
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Read frames (n, S, S) through maps (n, 2, 3), and say which pixels count. Beyond the edge the edge goes on."""
    import cv2

    pairs, side = len(frames), frames.shape[1]
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    m = matrices.astype(np.float32)[:, :, :, None, None]
    along = m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]
    across = m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
    low, high = _margin(side), side - 1 - _margin(side)
    inside = (along >= low) & (along <= high) & (across >= low) & (across <= high)
    inside = _without_edges(inside)
    # All frames stand in one tall image, so that one call reads them all.
    np.clip(along, 0, side - 1, out=along)
    np.clip(across, 0, side - 1, out=across)
    across += (np.arange(pairs, dtype=np.float32) * side)[:, None, None]
    method = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    tall = np.ascontiguousarray(frames).reshape(-1, side)
    read = cv2.remap(tall, along.reshape(-1, side), across.reshape(-1, side), method, borderMode=cv2.BORDER_REPLICATE)
    return read.reshape(frames.shape), inside


def _without_edges(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Frames (n, S, S) with their margins set to 0, in place."""
    margin = _margin(frames.shape[1])
    frames[:, :margin] = frames[:, -margin:] = frames[:, :, :margin] = frames[:, :, -margin:] = 0
    return frames


def _margin(side: int) -> int:
    return round(_MARGIN * side / 64)


def _band(frames: Floats, band: tuple[float, float]) -> Floats:
    """Detail between two blurs, in pixels of 64."""
    return _blur(frames, band[0]) - _blur(frames, band[1])


def _detail(frames: Floats) -> Floats:
    """Detail that decides, levelled over tiles: strong edges count for more than faint texture, but not for all."""
    band = _band(frames, DETAIL)
    pairs, side = len(band), band.shape[1]
    tiles = band.reshape(pairs, side // _TILE, _TILE, side // _TILE, _TILE)
    strength = np.einsum("nabcd,nabcd->nac", tiles, tiles) / _TILE**2
    typical = strength.mean(axis=(1, 2), keepdims=True)
    level = 1 / np.sqrt(strength + _LEVELLING * typical + 1e-6)
    return (tiles * level[:, :, None, :, None]).reshape(band.shape)


def _blur(frames: Floats, width: float) -> Floats:
    if not width:
        return frames
    kernel = _blurring(frames.shape[1], width)
    return kernel @ (frames @ kernel.T)


@cache
def _blurring(side: int, width: float) -> Floats:
    """(side, side): Gaussian blur of one axis; at the edge, weights of what is there."""
    width *= side / 64
    distance = np.arange(side)[:, None] - np.arange(side)[None]
    weights = np.exp(-0.5 * (distance / width) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _grid(side: int) -> tuple[Floats, Floats]:
    """Coordinates of the pixels about the centre, as shares of the side."""
    line = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
    across, down = np.meshgrid(line, line)
    return across.astype(np.float32), down.astype(np.float32)


def rescaled(matrices: npt.NDArray[np.float64], side: int, to: int) -> npt.NDArray[np.float64]:
    """Maps (n, 2, 3) between frames of one side, for the same frames at another."""
    return _uncentred(_centred(matrices, side), to)


def _centred(matrices: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Maps of pixels (n, 2, 3) to maps (n, 3, 3) of coordinates about the centre, as shares of the side."""
    share = _shares(side)
    square = np.tile(np.eye(3), (len(matrices), 1, 1))
    square[:, :2] = matrices
    return share @ square @ np.linalg.inv(share)


def _uncentred(maps: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """The opposite of `_centred`."""
    share = _shares(side)
    return (np.linalg.inv(share) @ maps @ share)[:, :2]


def _shares(side: int) -> npt.NDArray[np.float64]:
    centre = (side - 1) / 2
    return np.array([[1, 0, -centre], [0, 1, -centre], [0, 0, side]]) / side
