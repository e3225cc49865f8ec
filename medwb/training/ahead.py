"""Work ahead of whoever needs the results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(make: Callable[[Item], Result], items: Iterable[Item], threads: int, depth: int) -> Generator[Result]:
    """Yield `make` of each item, in order, made on threads while the caller works.

    What `make` raises comes out where its result would. When the iterator is closed, what has not begun is dropped
    and what has is waited for, so that nothing goes on.

    Args:
        make: From an item to its result; called on several threads at once.
        items: Taken as they are needed.
        threads: How many work.
        depth: Results that are made or under way at most, but for the one that the caller has.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
