"""Many weightings of the samples, in the forms that sums over samples take them in."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.metrics.scratch import scratch

_FEW = 16
"""With fewer weightings than this, waking BLAS's threads for one product takes longer than all columns do."""


class Weightings:
    """B weightings of N samples.

    Args:
        rows: (B, N), 0 or more, whole numbers or not. A row of ones is the samples as they are; a bootstrap draw is a
            row of counts.
    """

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self.rows = rows
        self.whole = rows.dtype.kind in "bui"

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def most(self) -> float:
        """The largest sum of a row."""
        return float(self.rows.sum(axis=1, dtype=np.int64 if self.whole else np.float64).max(initial=0))

    @cached_property
    def float64(self) -> npt.NDArray[np.float64]:
        """float64 (B, N)."""
        return self.rows.astype(np.float64)

    @cached_property
    def columns(self) -> npt.NDArray[np.float64]:
        """float64 (N, B), each sample's weights side by side."""
        return np.ascontiguousarray(self.rows.T, np.float64)

    @cached_property
    def exact(self) -> npt.NDArray[np.floating]:
        """(B, N), float32 where sums of whole numbers are exact in it: below 2^24. Else float64."""
        return self.rows.astype(np.float32) if self.whole and self.most < 2**24 else self.float64

    def count(self, members: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Sum of the weights of each column's members: bool (N, K) to float64 (B, K)."""
        return _product(self.exact, members.astype(self.exact.dtype)).astype(np.float64)

    def sum(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Weighted sum of each column: float64 (N, K) to (B, K)."""
        return _product(self.float64, values)

    @cached_property
    def lane(self) -> np.dtype[Any]:
        """Type of a lane of `packed`: the smallest that holds twice any sum of weights."""
        if not self.whole:
            return np.dtype(np.float64)
        return np.dtype(np.uint16 if self.most < 2**15 else np.uint32 if self.most < 2**31 else np.uint64)

    @cached_property
    def packed(self) -> npt.NDArray[Any]:
        """(R, N): each number holds the weights of one sample in several weightings side by side, its lanes.

        Adding two such numbers adds all lanes at once, and no lane runs over into the next: a running sum over whole
        weights takes a quarter of the additions. The lanes of row r are the weightings r, R + r, 2 R + r, ...
        Weights that are not whole have a lane each.
        """
        if not self.whole:
            return self.float64
        lanes = 8 // self.lane.itemsize
        rows = -(-len(self.rows) // lanes)
        padded = np.zeros((lanes, rows, self.rows.shape[1]), self.lane)
        padded.reshape(lanes * rows, -1)[: len(self.rows)] = self.rows
        return np.ascontiguousarray(padded.transpose(1, 2, 0)).view(np.uint64)[:, :, 0]

    def unpack(self, packed: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
        """Numbers made from `packed` by adding, (R, K), to float64 (lanes, R, K) in scratch memory of that name."""
        lanes = packed.view(self.lane).reshape(*packed.shape, -1).transpose(2, 0, 1)
        values = scratch(name, lanes.shape)
        values[...] = lanes
        return values

    def flat(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(lanes, R) to (B,): a value a weighting, in order."""
        return values.reshape(-1)[: len(self.rows)]


def _product(rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if len(rows) >= _FEW:
        return rows @ columns
    if not columns.shape[1]:
        return np.zeros((len(rows), 0), rows.dtype)
    return np.stack([rows @ column for column in np.ascontiguousarray(columns.T)], axis=1)
