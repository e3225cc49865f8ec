"""Random numbers that follow from what they are for, not from what was drawn before.

A number is a hash of (seed, epoch, step, sample): whatever batch a sample comes in, on whichever thread, in the
preview or in training, it draws the same. Counter-based generators are described in Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3" (SC 2011); the mixing function is SplitMix64's (Steele et al., OOPSLA 2014).
"""

import hashlib

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(stream: str, samples: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), float64 (count, n).

    Args:
        stream: What the numbers are for.
        samples: int64 (n,): numbers of the samples that they are for.
        count: Numbers a sample.
    """
    key = np.frombuffer(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "<u8")[0]
    of_sample = _mixed(key + samples.astype(np.uint64) * _GOLDEN)
    slots = np.arange(1, count + 1, dtype=np.uint64)[:, None] * _GOLDEN
    return np.asarray((_mixed(of_sample + slots) >> np.uint64(11)) * 2.0**-53, np.float64)


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
