"""Telling a waiting user how far the work is."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate, pairwise

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


class Stages:
    """Work in stages of different length, reported as one.

    Args:
        progress: Told thousandths of the whole.
        shares: How long each stage takes, in any unit.
    """

    def __init__(self, progress: Progress, shares: Mapping[str, float]) -> None:
        self._progress = progress
        total = sum(shares.values())
        ends = list(accumulate(share / total for share in shares.values()))
        self._spans = dict(zip(shares, pairwise([0.0, *ends]), strict=True))

    def __getitem__(self, stage: str) -> Progress:
        """The progress of one stage: from where it begins to where it ends in the whole."""
        begin, end = self._spans[stage]

        def progress(done: int, total: int) -> None:
            share = done / total if total else 1.0
            self._progress(round(1000 * (begin + (end - begin) * share)), 1000)

        return progress
