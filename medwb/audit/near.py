"""Near copies: candidates by a perceptual signature, then verified on pixels."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.registration import align, coarse_likeness, likeness, plausible, smooth
from medwb.audit.sets import DuplicateSets
from medwb.audit.signatures import Candidates, Signatures, grey_frames, make_signatures, neighbours, poses
from medwb.audit.workers import workers
from medwb.dataset import Dataset, release_pages
from medwb.errors import RequestError
from medwb.progress import Progress, Stages, no_progress

RADIUS = 0.35
"""Distance of signatures up to which two scans are candidates."""

SIMILARITY = 0.96
"""Correlation of fine detail from which a candidate may be a copy."""

CERTAIN = 0.995
"""Correlation of fine detail from which a candidate is a copy, whatever else is like it."""

STAND_OUT = 2.5
"""How many times nearer than the next other scan a copy is, in 1 - similarity.

Neighbouring slices of one volume are as alike as a scan and its JPEG. But a slice has several neighbours, each a bit
farther than the one before, and behind a scan's last copy there is a gap.
"""

_NEIGHBOURS = 8  # others that a scan is paired with
_COARSE = 0.92  # correlation of aligned thumbnails below which a pair is not looked at in full: no copy lies there
_OTHER = 0.9  # similarity that the next other scan is taken to have where none was compared
_LOOK_ALIKES = 2  # a scan is not compared further after so many that are no copies of it
_BLOCKS_HELD = 32  # blocks after which the images that were read are let go; a page fault maps pages around it too
_BLOCK = 128  # pairs aligned at a time: their frames fit into a processor's cache


@dataclass(frozen=True)
class NearCopies:
    """What the search for near copies found.

    Attributes:
        pairs: Candidate pairs that were compared in full, the most alike first. Columns `a`, `b` (int64 positions in
            the dataset's table, a < b), `distance` (float32: of the signatures), `similarity` (float32 in 0..1: of
            the detail once the two are laid over one another), `copy` (bool). Two scans that are certainly joined
            through others are not compared.
        sets: Connected groups of the pairs that are copies.
        radius: Largest distance of a candidate.
        similarity: Least similarity of a copy.
    """

    pairs: pd.DataFrame
    sets: DuplicateSets
    radius: float
    similarity: float


def find_near_copies(
    dataset: Dataset,
    exact: DuplicateSets,
    *,
    radius: float | None = None,
    similarity: float | None = None,
    mirrored: bool = False,
    progress: Progress = no_progress,
) -> NearCopies:
    """Find samples that show one and the same scan: shifted, toned, re-encoded, blurred, turned or cropped a little.

    Args:
        dataset: Where to look.
        exact: Its exact copies: only the first of each set is looked up.
        radius: Largest distance of candidates' signatures, 0..2.
        similarity: Least correlation of detail, 0..1.
        mirrored: Whether mirror images count.
        progress: Called as work goes on.

    Raises:
        RequestError: The radius or the similarity is out of range.
    """
    radius = RADIUS if radius is None else radius
    similarity = SIMILARITY if similarity is None else similarity
    if not 0 <= radius <= 2:
        raise RequestError(f"radius={radius:g} is out of range; it goes from 0 to 2")
    if not 0 <= similarity <= 1:
        raise RequestError(f"similarity={similarity:g} is out of range; it goes from 0 to 1")
    stages = Stages(progress, {"sign": 1, "look up": 6, "compare": 8})
    first = exact.of < 0
    first[exact.representatives] = True
    signatures = make_signatures(dataset, np.flatnonzero(first), stages["sign"])
    held = poses(mirrored)
    found = neighbours(signatures, radius, held, _NEIGHBOURS, stages["look up"])
    starts = np.stack([pose.map() for pose in held])[found.pose]
    alike = _Verifier(dataset, signatures, found, starts, similarity).run(stages["compare"])
    seen = np.flatnonzero(~np.isnan(alike))
    ends = np.sort(signatures.positions[np.stack([found.posed[seen], found.other[seen]])], axis=0)
    columns = {"a": ends[0], "b": ends[1], "distance": found.distance[seen], "similarity": alike[seen]}
    pairs = pd.DataFrame(columns).sort_values("similarity", ascending=False, kind="stable", ignore_index=True)
    a, b, similarities = (pairs[name].to_numpy() for name in ("a", "b", "similarity"))
    pairs["copy"] = stand_out(a, b, similarities, similarity)
    copies = pairs[pairs["copy"]]
    sets = DuplicateSets.from_pairs(len(dataset), copies["a"].to_numpy(), copies["b"].to_numpy())
    return NearCopies(pairs, sets, radius, similarity)


def stand_out(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], alike: npt.NDArray[np.float32], least: float
) -> npt.NDArray[np.bool_]:
    """Which of the compared pairs are copies, bool (m,).

    Seen from either end, the pair stands before the gap: its similarity is at least `least`, and after it, or after
    one that is less alike, the distance to the next scan grows `STAND_OUT` times. Pairs above `CERTAIN` are copies
    anyway. The idea is the ratio test of Lowe, "Distinctive image features from scale-invariant keypoints" (IJCV
    2004), section 7.1, for scans that may have several copies.

    Args:
        a: int64 (m,): one end of each pair.
        b: int64 (m,): the other.
        alike: float32 (m,) in 0..1.
        least: Least similarity of a copy.
    """
    ends, similarity = np.concatenate([a, b]), np.tile(alike, 2)
    order = np.lexsort((-similarity, ends))
    ends, similarity = ends[order], similarity[order].astype(np.float64)
    last = np.append(ends[1:] != ends[:-1], True) if len(ends) else np.zeros(0, bool)
    following = np.where(last, _OTHER, np.append(similarity[1:], _OTHER)[: len(similarity)])
    distance = np.maximum(1 - similarity, 1 - CERTAIN)
    gap = (similarity >= least) & (1 - following >= STAND_OUT * distance)
    gaps_after = np.append(np.cumsum(gap[::-1])[::-1], 0)  # from here to the end of the table
    ends_at = np.flatnonzero(last)
    end_of = ends_at[np.searchsorted(ends_at, np.arange(len(ends)))]
    before = np.zeros(len(ends), bool)
    before[order] = gaps_after[:-1] > gaps_after[end_of + 1]
    return (before[: len(a)] & before[len(a) :]) | (alike >= CERTAIN)


@dataclass
class _Verifier:
    """Compares candidates in two steps: thumbnails first, then the frames of those that are left."""

    dataset: Dataset
    signatures: Signatures
    found: Candidates
    maps: npt.NDArray[np.float64]
    similarity: float

    def run(self, progress: Progress) -> npt.NDArray[np.float32]:
        """Similarity of each candidate; NaN for those that were not compared in full."""
        stages = Stages(progress, {"coarse": 1, "fine": 2})
        total, samples = len(self.found.posed), len(self.signatures.positions)
        alike = np.full(total, np.nan, np.float32)
        with workers() as pool:
            coarse = self._compare(pool, self._coarse, np.arange(total), 4 * _BLOCK, stages["coarse"])
            left = np.argsort(-coarse, kind="stable")[: int((coarse >= _COARSE).sum())]
            waiting = max(len(left), 1)
            look_alikes = np.zeros(samples, np.int64)
            while len(left):
                # Each scan that is still of interest is compared with the nearest of those that it was not yet.
                ends = np.stack([self.found.posed[left], self.found.other[left]])
                turn = np.full(samples, len(left))
                for end in ends:
                    np.minimum.at(turn, end, np.arange(len(left)))
                open_ends = look_alikes[ends] < _LOOK_ALIKES
                now = ((turn[ends] == np.arange(len(left))) & open_ends).any(axis=0)
                alike[left[now]] = self._compare(pool, self._fine, left[now], _BLOCK, no_progress)
                unlike = ends[:, now][:, alike[left[now]] < self.similarity]
                look_alikes += np.bincount(unlike.ravel(), minlength=samples)
                certain = np.flatnonzero(alike >= CERTAIN)
                joined = DuplicateSets.from_pairs(samples, self.found.posed[certain], self.found.other[certain]).units
                left = left[~now & open_ends.any(axis=0) & (joined[ends[0]] != joined[ends[1]])]
                stages["fine"](waiting - len(left), waiting)
        return alike

    def _compare(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
        pairs: npt.NDArray[np.int64],
        block: int,
        progress: Progress,
    ) -> npt.NDArray[np.float32]:
        """Work on pairs in blocks, in threads."""
        blocks = [pairs[start : start + block] for start in range(0, len(pairs), block)]
        results = [np.zeros(0, np.float32)]
        for values in pool.map(work, blocks):
            results.append(values)
            if len(results) % _BLOCKS_HELD == 0:
                release_pages(self.dataset.images)
            progress(min(block * (len(results) - 1), len(pairs)), len(pairs))
        return np.concatenate(results)

    def _coarse(self, block: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Correlation of thumbnails, aligned; keeps the map that aligned them."""
        thumbs = self.signatures.thumbs
        a, b = (thumbs[index[block]].astype(np.float32) for index in (self.found.other, self.found.posed))
        maps = align(a, b, self.maps[block], 2)
        fits = plausible(maps, self.maps[block])
        self.maps[block] = maps
        return np.where(fits, coarse_likeness(a, b, maps), 0)

    def _fine(self, block: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Correlation of detail in full size."""
        positions = self.signatures.positions
        a, b = (grey_frames(self.dataset, positions[index[block]]) for index in (self.found.other, self.found.posed))
        maps = align(smooth(a), smooth(b), self.maps[block], 2)
        return likeness(a, b, maps)
