"""Memory that is used over and over: asking the system for large arrays anew takes longer than computing them."""

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST = 16 * 2**20
"""Bytes of an array that is kept, at most."""

_mine = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """An array whose content is whatever it was; the next call of this thread with that name takes it back.

    Args:
        name: What it is for: arrays that are needed at once have different names.
        shape: Its shape.
        dtype: Its type.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size > LARGEST:
        return np.empty(shape, kind)
    kept: npt.NDArray[np.uint8] | None = getattr(_mine, name, None)
    if kept is None or kept.nbytes < size:
        kept = np.empty(size, np.uint8)
        setattr(_mine, name, kept)
    return kept[:size].view(kind).reshape(shape)
