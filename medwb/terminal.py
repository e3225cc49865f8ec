"""What the command line shows: tables, JSON, and bars with an estimate. rich is loaded only when it draws."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medwb.progress import Progress

if TYPE_CHECKING:
    from medwb.runs import Run


def say(text: str) -> None:
    """Tell the user something that is not the command's result."""
    print(text, file=sys.stderr)


def print_json(value: object) -> None:
    """Print strict JSON on standard output; NaN becomes null."""
    from medwb.table import dump_json

    print(dump_json(value))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on standard output; cells are text, whatever brackets they hold."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    view = Table(title=title, title_justify="left")
    for header in headers:
        view.add_column(escape(header), overflow="fold")
    for row in rows:
        view.add_row(*(escape(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width; do not fold a run's id
    console.print(view)


@contextmanager
def rich_progress(description: str) -> Iterator[Progress]:
    """A bar with an estimate on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(description), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def run_bars(runs: "Sequence[Run]") -> Iterator[Any]:
    """One bar a run, with its estimate; silent where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = [bars.add_task(run.config.architecture, total=None, left="queued", start=False) for run in runs]

        def show(statuses: list[dict[str, Any]]) -> None:
            for task, status in zip(tasks, statuses, strict=True):
                state, eta = status["state"], status.get("eta")
                if state == "running":
                    bars.start_task(task)
                left = f"at most {eta:.0f} s left" if state == "running" and eta is not None else state
                done = status.get("total") if state == "finished" else status.get("done", 0)
                bars.update(task, completed=done, total=status.get("total"), left=left)
                if state not in ("queued", "running", "stopping"):
                    bars.stop_task(task)

        yield show
