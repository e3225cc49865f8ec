"""Laying pairs of scans over one another, many pairs at a time, and saying how alike they are then.

Two scans of like anatomy share what is coarse: outline, organs, brightness. Copies share what is fine as well:
texture and noise. So likeness is the correlation of the fine detail, after one scan was moved, turned, stretched,
toned and blurred to fit the other.

A map, float64 (2, 3), says where a place (x, y, 1) of one scan lies in the other. Both are counted from the centre,
in sides of the scan, so that a map holds at any resolution.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Maps = npt.NDArray[np.float64]

DETAIL = (1.0, 2.0)
"""Detail that decides: between two Gaussian blurs of these widths, in pixels of 64."""

_THUMB_BLUR = 6.0  # pixels of 64: what is coarser is taken out of thumbnails before they are compared
_SMOOTH = 1.3  # pixels of 64: blur under which scans are aligned
_GRID = 40  # side of the grid on which scans are aligned and detail is compared: blurred as they are, it holds them
_SAMPLED = 32  # side of the grid of pixels whose tones are compared
_EDGE = 0.445  # sides from the centre: what is farther out is not compared, for a shifted copy is filled up there
_LEAST = 0.4  # share of the frame that must overlap
_TILES = 8  # a side
_LEVELLING = 2.0  # of the mean strength: with more, strong edges decide; with less, noise and JPEG do
_SURE, _HOPELESS = 0.98, 0.82  # likeness from which, and below which, tone and blur are not fitted
_UNLIKE = 0.88  # likeness below which they are fitted only to what differs much: other copies are more alike
_FAR_AS_SHARP, _FAR_AS_SKEWED = 0.5, 0.3  # what is much, in the measures of _AS_SHARP and _AS_SKEWED
_TONES = 24
_FINER = 1024  # steps of a tone curve when it is applied
_BLURS = (0.7, 1.0, 1.4)  # pixels of 64
_AS_SHARP = 0.25  # logarithm of two sharpnesses up to which no blur is fitted
_AS_SKEWED = 0.03  # difference of two skewnesses up to which no tone curve is fitted
_MOST_MOVED, _MOST_STRETCHED = 0.16, 0.2  # share of the side, and of the length: more is no small shift, turn or crop


def align(a: Floats, b: Floats, maps: Maps, rounds: int) -> Maps:
    """Refine where each `b` must be read so that it fits `a`.

    Gauss-Newton on the squared difference over the six numbers of an affine map, gain and offset taken out: the
    inverse compositional algorithm of Baker and Matthews, "Lucas-Kanade 20 years on" (IJCV 2004), section 3.2.

    Args:
        a: float32 (n, S, S); n * S is below 32,768, the largest image that OpenCV reads.
        b: float32 (n, S, S).
        maps: float64 (n, 2, 3): first guess; from a place in `a` to one in `b`.
        rounds: Steps.

    Returns:
        float64 (n, 2, 3): the refined maps.
    """
    pairs, side = len(a), a.shape[1]
    edge = int(np.ceil((side - 1) / 2 - _EDGE * side))
    places, target = _places(side, edge), _inner(a, edge)
    right = (_inner(a, edge, right=1) - _inner(a, edge, right=-1)) / 2
    down = (_inner(a, edge, down=1) - _inner(a, edge, down=-1)) / 2
    # A column of the Jacobian is a slope times x, y or 1: its products are moments of the products of slopes.
    second = (places[:, None] * places).reshape(9, -1).T
    squares = [(product @ second).reshape(pairs, 3, 3) for product in (right * right, right * down, down * down)]
    normal = np.block([[squares[0], squares[1]], [squares[1], squares[2]]])
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 6 + 1e-3
    inverse = np.linalg.inv(normal.astype(np.float64) + damping[:, None, None] * np.eye(6))
    square = np.tile(np.eye(3), (pairs, 1, 1))
    square[:, :2] = maps
    for _ in range(rounds):
        there = _carried(square[:, :2], places)
        share = _compared(there, places)
        wanted, spread = _deviation(target, share)
        values, other_spread = _deviation(_read(b, there), share)
        error = values * (spread / other_spread) - wanted
        gradient = np.concatenate([(slope * error) @ places.T for slope in (right, down)], axis=1)
        step = inverse @ gradient[:, :, None]
        small = np.tile(np.eye(3), (pairs, 1, 1))
        small[:, :2] += np.clip(step / side, -0.1, 0.1).reshape(pairs, 2, 3)
        square = square @ np.linalg.inv(small)
    return square[:, :2]


def _inner(frames: Floats, edge: int, right: int = 0, down: int = 0) -> Floats:
    """(n, p): what lies inside an edge, or so many pixels to the right of it or below."""
    rows, columns = (slice(edge + by, frames.shape[1] - edge + by) for by in (down, right))
    return frames[:, rows, columns].reshape(len(frames), -1)


def _deviation(values: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Difference from the mean of what is compared, 0 elsewhere, and its root mean square: (n, p) and (n, 1)."""
    weight = np.maximum(share.sum(axis=1, keepdims=True), 1)
    difference = values - np.vecdot(values, share)[:, None] / weight
    difference *= share
    return difference, np.maximum(np.sqrt(np.vecdot(difference, difference)[:, None] / weight), 1e-3)


def plausible(maps: Maps, starts: Maps) -> npt.NDArray[np.bool_]:
    """Which maps (n, 2, 3) are a small shift, turn or crop away from where they started."""
    change = np.abs(maps - starts)
    return (change[:, :, :2].max(axis=(1, 2)) < _MOST_STRETCHED) & (change[:, :, 2].max(axis=1) < _MOST_MOVED)


def likeness(a: Floats, b: Floats, maps: Maps) -> Floats:
    """How alike pairs are once `b` is read through `maps`, float32 (n,) in 0..1.

    The correlation of fine detail. Where it is neither certain nor hopeless, a tone curve (brightness, contrast,
    gamma, clipping) is fitted, and the sharper scan is blurred; copies gain by that, look-alikes hardly.

    Args:
        a: float32 (n, 64, 64), 0..255.
        b: float32 (n, 64, 64), 0..255.
        maps: float64 (n, 2, 3) as `align` returns.
    """
    warped = _read(b, _carried(maps, _places(b.shape[1])), cubic=True).reshape(b.shape)
    share = _compared(_carried(maps, _places(_GRID)), _places(_GRID))
    tones = _compared(_carried(maps, _places(_SAMPLED)), _places(_SAMPLED))
    mine, other = _Side(a, _detail(a)), _Side(warped, _detail(warped))
    result = np.where(share.mean(axis=1) >= _LEAST, _correlation(mine.detail, other.detail, share), 0)
    doubtful = np.flatnonzero((result < _SURE) & (result >= _HOPELESS))
    if len(doubtful):
        fitted = _fitted(mine.at(doubtful), other.at(doubtful), share[doubtful], tones[doubtful], result[doubtful])
        result[doubtful] = np.maximum(result[doubtful], fitted)
    return np.clip(result, 0, 1).astype(np.float32)


def coarse_likeness(a: Floats, b: Floats, maps: Maps) -> Floats:
    """Correlation, float32 (n,), of pairs of thumbnails (n, S, S) with their coarsest part taken out."""
    places = _places(a.shape[1])
    there = _carried(maps, places)
    warped = _read(b, there).reshape(b.shape)
    a, warped = (frames - _blur(frames, _THUMB_BLUR, a.shape[1]) for frames in (a, warped))
    return _correlation(a.reshape(len(a), -1), warped.reshape(len(a), -1), _compared(there, places))


def smooth(frames: Floats) -> Floats:
    """Frames (n, S, S) under the blur at which they are aligned, float32 (n, 40, 40)."""
    return _blur(frames, _SMOOTH, _GRID)


class _Side(NamedTuple):
    """One side of pairs: frames float32 (n, S, S), and their detail (n, p)."""

    frames: Floats
    detail: Floats

    def at(self, where: npt.NDArray[Any]) -> "_Side":
        """Some of the frames."""
        return _Side(self.frames[where], self.detail[where])


def _fitted(a: _Side, b: _Side, share: Floats, tones: Floats, before: Floats) -> Floats:
    """Likeness after what differs was fitted, tones or sharpness or both; (n,), 0 where too little differs.

    `share` says which detail is compared, `tones` which of the pixels in `_sampled`, `before` how alike they are.
    """
    sharper = np.abs(np.log(_sharpness(a.frames) / _sharpness(b.frames)))
    skewed = np.abs(_skewness(a.frames, tones) - _skewness(b.frames, tones))
    best = np.zeros(len(share), np.float32)
    differ = (skewed > _AS_SKEWED) | (sharper > _AS_SHARP)
    differ_much = (skewed > _FAR_AS_SKEWED) | (sharper > _FAR_AS_SHARP)
    some = np.flatnonzero(np.where(before < _UNLIKE, differ_much, differ))
    if not len(some):
        return best
    a, b, share, tones = a.at(some), b.at(some), share[some], tones[some]
    # Clipping can be followed in one direction only, so each side takes on the tones of the other in turn.
    for plain, other in ((a, b), (b, a)):
        frames = _tone(other.frames, plain.frames, tones)
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
    alike = [_correlation(_detail(sharp.frames, width), dull.detail, share) for width in _BLURS]
    return np.max(alike, axis=0)


def _skewness(frames: Floats, share: Floats) -> Floats:
    """Third standardised moment of the grey levels that are compared, (n,): no gain or offset changes it."""
    difference, spread = _deviation(_sampled(frames), share)
    third = np.vecdot(difference * difference, difference)
    return third / (np.maximum(share.sum(axis=1), 1) * spread[:, 0] ** 3)


def _sharpness(frames: Floats) -> Floats:
    """Strength of the differences between neighbouring pixels against those four apart, (n,)."""
    near, far = ((frames[:, by:] - frames[:, :-by]).reshape(len(frames), -1) for by in (1, 4))
    return np.maximum(np.vecdot(near, near), 1e-6) / np.maximum(np.vecdot(far, far), 1e-6)


def _tone(source: Floats, target: Floats, share: Floats) -> Floats:
    """The rising tone curve (piecewise linear) that brings each source nearest to its target, applied."""
    pairs = len(source)
    place = source * np.float32((_FINER - 1) / 255)
    np.clip(place, 0, _FINER - 1, out=place)
    step = place.astype(np.intp)
    step += np.arange(pairs)[:, None, None] * _FINER
    # What falls on a step counts for the two tones beside it, so it is summed by step first.
    sampled = _sampled(step).ravel()
    weights, sums = (
        np.bincount(sampled, part.ravel(), pairs * _FINER).reshape(pairs, _FINER).astype(np.float32) @ _finer().T
        for part in (share, share * _sampled(target))
    )
    seen = weights > 0.5
    means = sums / np.maximum(weights, 1e-9)
    curve = np.maximum.accumulate(np.where(seen, means, -np.inf), axis=1)
    first = np.where(seen, curve, np.inf).min(axis=1, keepdims=True)
    curve = np.where(np.isfinite(curve), curve, np.where(np.isfinite(first), first, 0)).astype(np.float32)
    toned: Floats = (curve @ _finer()).ravel().take(step)
    return toned


@cache
def _finer() -> Floats:
    """(tones, steps): from the tones of a curve to its many steps, each taken at its middle."""
    place = (np.arange(_FINER) + 0.5) * (_TONES - 1) / (_FINER - 1)
    return np.maximum(0, 1 - np.abs(place - np.arange(_TONES)[:, None])).astype(np.float32)


def _correlation(a: Floats, b: Floats, share: Floats) -> Floats:
    """Correlation of each pair (n, p) over what is compared, (n,)."""
    (a, spread_a), (b, spread_b) = _deviation(a, share), _deviation(b, share)
    weight = np.maximum(share.sum(axis=1), 1)
    return np.vecdot(a, b) / (weight * spread_a[:, 0] * spread_b[:, 0])


def _carried(maps: Maps, places: Floats) -> Floats:
    """Where maps (n, 2, 3) say that places (3, p) lie, (n, 2, p)."""
    there: Floats = maps.astype(np.float32) @ places
    return there


def _read(frames: Floats, there: Floats, cubic: bool = False) -> Floats:
    """Read frames (n, S, S) at places (n, 2, p), (n, p). Beyond the edge the edge goes on."""
    import cv2

    pairs, side = len(frames), frames.shape[1]
    # All frames stand in one tall image, so that one call reads them all.
    along, across = there[:, 0] * side, there[:, 1] * side
    along += (side - 1) / 2
    across += (side - 1) / 2
    np.clip(across, 0, side - 1, out=across)
    across += (np.arange(pairs, dtype=np.float32) * side)[:, None]
    method = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    tall = np.ascontiguousarray(frames).reshape(-1, side)
    read: Floats = cv2.remap(tall, along, across, method, borderMode=cv2.BORDER_REPLICATE)
    return read


def _compared(there: Floats, places: Floats) -> Floats:
    """1 where a place (2, p) and what it is compared with (n, 2, p) are away from the edges, 0 elsewhere; (n, p)."""
    farthest = np.abs(there).max(axis=1)
    return (np.maximum(farthest, np.abs(places[:2]).max(axis=0)) <= _EDGE).astype(np.float32)


def _detail(frames: Floats, blur: float = 0.0) -> Floats:
    """Detail that decides, (n, p), levelled over tiles: strong edges count for more than faint texture, not for all.

    Args:
        frames: float32 (n, S, S).
        blur: Width, in pixels of 64, of a blur before.
    """
    fine, coarse = (_blur(frames, width, _GRID, blur) for width in DETAIL)
    pairs, tile = len(frames), _GRID // _TILES
    band = (fine - coarse).reshape(pairs, _TILES, tile, _GRID)
    # Sums and factors of the tiles of a row by products: sums over so short an axis cost more.
    strength = np.square(band).sum(axis=2) @ _tiles() / tile**2
    typical = strength.mean(axis=(1, 2), keepdims=True)
    level = 1 / np.sqrt(strength + _LEVELLING * typical + 1e-6)
    band *= (level.reshape(-1, _TILES) @ _tiles().T).reshape(pairs, _TILES, 1, _GRID)
    return band.reshape(pairs, -1)


@cache
def _tiles() -> Floats:
    """(places, tiles): 1 where a place of a row lies in a tile, 0 elsewhere."""
    return np.repeat(np.eye(_TILES, dtype=np.float32), _GRID // _TILES, axis=0)


def _blur(frames: Floats, width: float, to: int, before: float = 0.0) -> Floats:
    """Frames (n, S, S) blurred (twice, with `before`) and read at `to` x `to` places."""
    side = frames.shape[1]
    kernel = blurring(side, to, width)
    if before:
        kernel = kernel @ blurring(side, side, before)
    along = (frames.reshape(-1, side) @ kernel.T).reshape(len(frames), side, to)
    return kernel @ along


@cache
def blurring(side: int, to: int, width: float) -> Floats:
    """(to, side): Gaussian blur of one axis, `width` in pixels of 64; at the edge, weights of what is there."""
    centres = (np.arange(to) + 0.5) * side / to - 0.5
    distance = (centres[:, None] - np.arange(side)) * 64 / side
    weights = np.exp(-0.5 * (distance / width) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _sampled(frames: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(n, p): every second pixel in both directions of frames (n, 64, 64)."""
    step = frames.shape[1] // _SAMPLED
    return frames[:, ::step, ::step].reshape(len(frames), -1)


@cache
def _places(side: int, edge: int = 0) -> Floats:
    """(3, p): x, y and 1 of the pixels inside an edge, about the centre, in sides."""
    line = (np.arange(edge, side - edge) - (side - 1) / 2) / side
    across, down = np.meshgrid(line, line)
    return np.stack([across, down, np.ones_like(down)]).reshape(3, -1).astype(np.float32)
