"""Signatures: a perceptual hash of a scan that keeps its distances, and the search for its neighbours.

A hash of 64 bits is too coarse for scans of one anatomy: most lie within a few bits of one another, and a copy that
was moved by two pixels lies farther. So the signature stays a vector of floats, and a scan is looked up several
times: as it is, and moved, turned and enlarged a little. A copy meets its original in one of these poses.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.audit.registration import blurring
from medwb.audit.workers import workers
from medwb.dataset import Dataset
from medwb.images import to_grey
from medwb.progress import Progress

Floats = npt.NDArray[np.float32]

SIDE = 64
"""Height and width, in pixels, at which scans are compared."""

_THUMB, _COARSE = 24, 12  # sides of the blurred thumbnail and of the grid that a signature describes
_THUMB_BLUR = 1.2  # pixels (of 64), as much as the thumbnail's pixels need
_BLUR = 2.2  # pixels (of 64) more for signatures: a pixel or two between two poses then hardly matters
_DIMENSIONS = 48
_BLOCK = 1024  # frames at a time
_LOOKED_UP = 32 * _BLOCK  # frames that are looked up at a time
_A_POSE = 4  # neighbours looked at in each pose, the sample itself perhaps among them
_ALL_PAIRS = 8000  # frames up to which each is compared with all
_CELLS = 3  # times the square root of the number of frames: finding a cell then takes as long as looking through it
_HELD_BY = 6  # cells that hold a vector
_TOGETHER = 2048  # vectors of one cell that are looked up at a time
_FITTED_ON = 20_000  # frames that the axes are fitted on

MIN_CONTRAST = 2.0
"""Grey levels of deviation below which a scan shows nothing that could be recognised."""


@dataclass(frozen=True)
class Pose:
    """How a scan is held when it is looked up: content moves by (right, down), turns and grows about the centre.

    Attributes:
        right: Pixels of 64.
        down: Pixels of 64.
        degrees: Counter-clockwise.
        zoom: Above 1 enlarges.
        mirrored: Left and right are exchanged first.
    """

    right: float = 0.0
    down: float = 0.0
    degrees: float = 0.0
    zoom: float = 1.0
    mirrored: bool = False

    def map(self) -> npt.NDArray[np.float64]:
        """(2, 3): from a place of the posed scan to where it comes from, as in `medwb.audit.registration`."""
        angle = np.deg2rad(self.degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / self.zoom
        if self.mirrored:
            turn = np.diag([-1.0, 1.0]) @ turn
        return np.column_stack([turn, -turn @ np.array([self.right, self.down]) / SIDE])

    def matrix(self, side: int = SIDE) -> npt.NDArray[np.float64]:
        """(2, 3): the same from pixel (x, y) to pixel."""
        matrix, centre = self.map(), (side - 1) / 2
        matrix[:, 2] = matrix[:, 2] * side + centre - matrix[:, :2].sum(axis=1) * centre
        return matrix


# A pair is found when either of the two is posed like the other, so of opposite poses one is enough.
_UPRIGHT = (
    Pose(),
    *(
        Pose(right, down)
        for right, down in ((2.5, 0), (0, 2.5), (2, 2), (2, -2), (4, 0), (0, 4), (3.5, 3.5), (3.5, -3.5))
    ),
    Pose(degrees=4),
    *(Pose(x, y, zoom=1.06) for x in (-1.25, 1.25) for y in (-1.25, 1.25)),
    *(Pose(x, y, zoom=1.11) for x in (-2.5, 2.5) for y in (-2.5, 2.5)),
)


def poses(mirrored: bool = False) -> tuple[Pose, ...]:
    """The poses in which a scan is looked up; the first is the scan as it is."""
    if not mirrored:
        return _UPRIGHT
    both_ways = {Pose(-p.right, -p.down, -p.degrees, p.zoom) for p in _UPRIGHT if p.zoom == 1} | set(_UPRIGHT)
    flipped = [Pose(p.right, p.down, p.degrees, p.zoom, True) for p in sorted(both_ways, key=repr)]
    return (*_UPRIGHT, *flipped)


def grey_frames(dataset: Dataset, positions: npt.NDArray[np.int64]) -> Floats:
    """float32 (n, SIDE, SIDE), 0..255: the samples at these positions, grey and shrunk or enlarged to one size."""
    import cv2

    frames = dataset.images[dataset.rows[positions]]
    frames = (frames if frames.shape[3] == 1 else to_grey(frames))[..., 0]
    if frames.shape[1:] != (SIDE, SIDE):
        frames = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames])
    return frames.astype(np.float32)


@dataclass(frozen=True)
class Signatures:
    """Signatures of the samples that show something.

    Attributes:
        positions: int64 (n,): the samples, by position in the dataset's table.
        thumbs: uint8 (n, 24, 24) thumbnails, from which a signature in any pose is computed.
        axes: float32 (144, d): from a grid to a signature.
        upright: float32 (n, d), of length 1: signatures of the samples as they are.
    """

    positions: npt.NDArray[np.int64]
    thumbs: npt.NDArray[np.uint8]
    axes: Floats
    upright: Floats


def make_signatures(dataset: Dataset, positions: npt.NDArray[np.int64], progress: Progress) -> Signatures:
    """Signatures of the samples at these positions, without those that show nothing."""
    thumbs = np.zeros((len(positions), _THUMB, _THUMB), np.uint8)
    shows = np.zeros(len(positions), bool)
    shrink = blurring(SIDE, _THUMB, _THUMB_BLUR)

    def fill(start: int) -> int:
        frames = grey_frames(dataset, positions[start : start + _BLOCK])
        small = shrink @ frames @ shrink.T
        thumbs[start : start + _BLOCK] = np.rint(small)
        shows[start : start + _BLOCK] = small.std(axis=(1, 2)) > MIN_CONTRAST
        return len(frames)

    done = 0
    with workers() as pool:
        for count in pool.map(fill, range(0, len(positions), _BLOCK)):
            done += count
            progress(done, len(positions))
    positions, thumbs = positions[shows], thumbs[shows]
    sample = np.linspace(0, len(thumbs) - 1, min(len(thumbs), _FITTED_ON)).astype(np.int64)
    axes = _principal_axes(_project(thumbs[sample], _posing(Pose()), _COARSE**2))
    posing = _posing(Pose()) @ axes
    parts = [
        _project(thumbs[start : start + _BLOCK], posing, axes.shape[1]) for start in range(0, len(thumbs), _BLOCK)
    ]
    return Signatures(positions, thumbs, axes, np.concatenate([np.zeros((0, axes.shape[1]), np.float32), *parts]))


class Candidates(NamedTuple):
    """Pairs that lie close together when one of the two is posed, the nearest first, each pair once.

    Attributes:
        posed: int64 (m,): the one that is posed, an index into `Signatures.positions`.
        other: int64 (m,): the other one.
        distance: float32 (m,).
        pose: int16 (m,): number of the pose.
    """

    posed: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    distance: Floats
    pose: npt.NDArray[np.int16]


def neighbours(
    signatures: Signatures, radius: float, held: tuple[Pose, ...], count: int, progress: Progress
) -> Candidates:
    """Look every sample up in every pose among the samples as they are.

    Args:
        signatures: Of n samples.
        radius: Largest distance of two signatures, 0..2: sqrt(2 - 2 correlation) of what the axes keep.
        held: The poses to try.
        count: Nearest others that a sample is paired with, over all its poses.
        progress: Called as samples are looked up.
    """
    total, dimensions = signatures.upright.shape
    if not total:
        none = np.zeros(0, np.int64)
        return Candidates(none, none, np.zeros(0, np.float32), np.zeros(0, np.int16))
    posing, found = np.concatenate([_posing(pose) @ signatures.axes for pose in held], axis=1), []
    with workers() as pool:
        cells = _Cells.of(signatures.upright, pool)
        for start in range(0, total, _LOOKED_UP):
            stop = min(start + _LOOKED_UP, total)
            thumbs = (signatures.thumbs[at : min(at + _BLOCK, stop)] for at in range(start, stop, _BLOCK))
            queries = np.concatenate(list(pool.map(lambda some: _project(some, posing, dimensions), thumbs)))
            squared, other = cells.nearest(queries, _A_POSE, pool)
            by_sample = (stop - start, len(held) * _A_POSE)
            found.append(_nearest(start, squared.reshape(by_sample), other.reshape(by_sample), radius, count))
            progress(stop, total)
    posed, other, squared, pose = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(squared, kind="stable")
    pair = np.minimum(posed, other)[order] * total + np.maximum(posed, other)[order]
    order = order[np.sort(np.unique(pair, return_index=True)[1])]
    distance = np.sqrt(np.maximum(squared[order], 0)).astype(np.float32)
    return Candidates(posed[order], other[order], distance, pose[order].astype(np.int16))


def _nearest(
    start: int, squared: Floats, other: npt.NDArray[np.int64], radius: float, count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """The nearest `count` different others of each sample: posed, other, squared distance, pose."""
    by_distance = np.argsort(squared, axis=1, kind="stable")
    squared, other = np.take_along_axis(squared, by_distance, 1), np.take_along_axis(other, by_distance, 1)
    posed = np.arange(start, start + len(other))[:, None]
    by_other = np.argsort(other, axis=1, kind="stable")
    ordered = np.take_along_axis(other, by_other, 1)
    again = np.zeros(other.shape, bool)
    np.put_along_axis(again, by_other[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
    fits = (other >= 0) & (other != posed) & (squared <= radius**2) & ~again
    fits &= np.cumsum(fits, axis=1) <= count
    row, column = np.nonzero(fits)
    return start + row, other[row, column], squared[row, column], by_distance[row, column] // _A_POSE


@dataclass(frozen=True)
class _Cells:
    """Vectors in cells of k-means, each in several, so that a look into one cell finds most of what is near.

    That is an inverted file (Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", PAMI 2011),
    with the vectors in several cells and not the queries. Queries are looked up many at a time: those of one cell are
    compared with its members by a matrix product, which takes a fraction of the time of one query after another.

    Attributes:
        vectors: float32 (n, d).
        centres: Search index over the centres of the cells.
        members: For each cell, int64: the vectors in it.
    """

    vectors: Floats
    centres: Any
    members: list[npt.NDArray[np.int64]]

    @staticmethod
    def of(vectors: Floats, pool: ThreadPoolExecutor) -> "_Cells":
        """Cells of one vector or more."""
        import faiss

        total, dimensions = vectors.shape
        count = round(_CELLS * total**0.5) if total > _ALL_PAIRS else 1
        kmeans = faiss.Kmeans(dimensions, count, niter=8, min_points_per_centroid=1, max_points_per_centroid=48)
        kmeans.train(vectors)
        return _Cells(vectors, kmeans.index, _by_cell(kmeans.index, vectors, min(_HELD_BY, count), pool))

    def nearest(self, queries: Floats, count: int, pool: ThreadPoolExecutor) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Squared distances, float32 (n, count), and the vectors there, int64 (n, count), -1 where there is none."""
        import faiss

        squared = np.full((len(queries), count), np.inf, np.float32)
        found = np.full((len(queries), count), -1, np.int64)

        def look(task: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> None:
            asked, members = task
            squared[asked], place = faiss.knn(queries[asked], self.vectors[members], count)
            found[asked] = np.where(place < 0, -1, members[place])

        asked = _by_cell(self.centres, queries, 1, pool)
        tasks = [
            (some[start : start + _TOGETHER], members)
            for some, members in zip(asked, self.members, strict=True)
            for start in range(0, len(some) if len(members) else 0, _TOGETHER)
        ]
        list(pool.map(look, tasks))
        return squared, found


def _by_cell(centres: Any, vectors: Floats, count: int, pool: ThreadPoolExecutor) -> list[npt.NDArray[np.int64]]:
    """For each cell the vectors that have it among the `count` nearest."""
    step = 16 * _BLOCK
    blocks = (vectors[start : start + step] for start in range(0, len(vectors), step))
    cell = np.concatenate([nearest.ravel() for _, nearest in pool.map(lambda x: centres.search(x, count), blocks)])
    order = np.argsort(cell.astype(np.uint16), kind="stable")
    return np.split(order // count, np.cumsum(np.bincount(cell, minlength=centres.ntotal))[:-1])


def _project(thumbs: npt.NDArray[np.uint8], operator: Floats, dimensions: int) -> Floats:
    """Apply an operator (576, k * dimensions) to thumbnails: float32 (n * k, dimensions), each row of length 1."""
    flat = thumbs.reshape(len(thumbs), _THUMB**2).astype(np.float32)
    vectors = (flat @ operator).reshape(-1, dimensions)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors


@cache
def _posing(pose: Pose) -> Floats:
    """(576, 144): from a thumbnail to the coarse grid of the posed thumbnail, its mean taken out.

    Beyond the edge the edge goes on.
    """
    import cv2

    units = np.eye(_THUMB**2, dtype=np.float32).reshape(-1, _THUMB, _THUMB)
    matrix = pose.matrix(_THUMB)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    rows = []
    for unit in units:
        moved = cv2.warpAffine(unit, matrix, (_THUMB, _THUMB), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        moved = cv2.GaussianBlur(moved, (0, 0), _BLUR * _THUMB / SIDE, borderType=cv2.BORDER_REPLICATE)
        rows.append(cv2.resize(moved, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA).ravel())
    grids = np.array(rows, np.float32)
    return grids - grids.mean(axis=1, keepdims=True)


def _principal_axes(grids: Floats) -> Floats:
    """(144, d): the directions in which the grids vary most."""
    centred = grids - grids.mean(axis=0) if len(grids) else grids
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, :_DIMENSIONS], dtype=np.float32)
