"""Telling a waiting user how far the work is, in the terminal and in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called as progress(done, total) while work goes on; the dashboard passes its bar's setter."""


def no_progress(done: int, total: int) -> None:
    """Say nothing."""


@contextmanager
def rich_progress(description: str, *, enabled: bool = True) -> Iterator[Progress]:
    """A bar with an estimate on standard error; nothing where that is no terminal or `enabled` is false."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def tqdm_progress(description: str) -> Iterator[Progress]:
    """A tqdm bar: a widget in a notebook, text elsewhere."""
    from tqdm.auto import tqdm

    with tqdm(desc=description, total=1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
