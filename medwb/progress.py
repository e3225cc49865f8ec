"""Telling a waiting user how far the work is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called as progress(done, total) while work goes on; the dashboard passes its bar's setter."""


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@contextmanager
def tqdm_progress(description: str) -> Iterator[Progress]:
    """A tqdm bar: a widget in a notebook, text elsewhere."""
    from tqdm.auto import tqdm

    with tqdm(desc=description, total=1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
