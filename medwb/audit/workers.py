"""Threads for work in blocks."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """As many threads as cores, each with one thread of BLAS and of OpenMP: their own would be in the way, and spin.

    What has not begun when the body is left, on Ctrl-C for one, is dropped.
    """
    from threadpoolctl import threadpool_limits

    # OpenMP keeps its limit by thread, so each worker sets its own.
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(os.cpu_count(), initializer=threadpool_limits, initargs=(1, "openmp")) as pool,
    ):
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
