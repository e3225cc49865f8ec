"""What the command line shows: tables, JSON, and bars with an estimate. rich is loaded only when it draws."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medwb.errors import printable
from medwb.progress import Progress

if TYPE_CHECKING:
    from medwb.dataset import Dataset
    from medwb.runs import Run


def say(text: str) -> None:
    """Tell the user something that is not the command's result."""
    print(printable(text), file=sys.stderr)


def print_json(value: object) -> None:
    """Print strict JSON on standard output; NaN becomes null."""
    from medwb.strict_json import dump_json

    print(dump_json(value))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table on standard output; cells are text, whatever brackets they hold."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    view = Table(title=title, title_justify="left")
    for header in headers:
        view.add_column(escape(printable(header)), overflow="fold")
    for row in rows:
        view.add_row(*(escape(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width; do not fold a run's id
    console.print(view)


@contextmanager
def rich_progress(description: str, *, counts: bool = True) -> Iterator[Progress]:
    """A bar with an estimate on standard error; nothing where that is no terminal.

    Args:
        description: What is being done.
        counts: Whether what is done is counted in things that mean something; otherwise a share is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    done_column = MofNCompleteColumn() if counts else TaskProgressColumn()
    columns = (TextColumn(description), BarColumn(), done_column, TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _run_bars(runs: "Sequence[Run]") -> Iterator[Any]:
    """One bar a run: its place in the queue, epoch, score, estimate; silent where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from medwb.estimate import progress_text
    from medwb.runs import ACTIVE_STATES

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = [bars.add_task(_what(run), total=None, left="queued", start=False) for run in runs]

        def show(statuses: list[dict[str, Any]]) -> None:
            for run, task, status in zip(runs, tasks, statuses, strict=True):
                if status["state"] == "running":
                    bars.start_task(task)
                done = status.get("total") if status["state"] == "finished" else status.get("done", 0)
                left = progress_text(run, status)
                bars.update(task, completed=done, total=status.get("total"), left=left)
                if status["state"] not in ACTIVE_STATES:
                    bars.stop_task(task)

        yield show


def _what(run: "Run") -> str:
    """What tells a run from those beside it: "cnn-2 keep-one-soft s0"."""
    config = run.config
    cleaning = "" if config.cleaning == "none" else f" {config.cleaning}"
    return f"{config.architecture}{cleaning} s{config.seed}"


def by(shape: Sequence[int]) -> str:
    """Write a shape: "64×64×1"."""
    return "×".join(map(str, shape))


def show_dataset(dataset: "Dataset", json: bool) -> None:
    """Print what is in a dataset: a table of positives a label and split, or JSON."""
    facts = dataset.describe()
    if json:
        return print_json(facts)
    groups = f"{facts['groups']:,} groups" if facts["groups"] else "no groups"
    shape = by(dataset.image_shape)
    say(f"{dataset.name}: {len(dataset):,} samples of {shape}, {groups}, format {dataset.format}")
    say(f"source {facts['source']}, fingerprint {facts['fingerprint']}")
    met = ", ".join(f"{count:,} {event}" for event, count in facts["ingest"].items() if count)
    if met:
        where = f" ({dataset.path / 'ingest.parquet'} lists each file)" if dataset.path else ""
        say(f"import: {met}{where}")
    rows = []
    for label, by_split in facts["labels"].items():
        row = [label]
        for counts in by_split.values():
            known = counts["positive"] + counts["negative"]
            unknown = f", {counts['unknown']:,} unknown" if counts["unknown"] else ""
            row.append(f"{counts['positive']:,} ({counts['positive'] / known:.1%}){unknown}" if known else "unknown")
        rows.append(row)
    headers = ["Positives", *(f"{split} ({count:,})" for split, count in facts["splits"].items())]
    return print_table(headers, rows)


def watch_runs(runs: "Sequence[Run]") -> None:
    """Show the progress of runs until they are over; Ctrl-C ends the watching, and the runs go on.

    Raises:
        KeyboardInterrupt: The user has seen enough; he was told that the runs go on.
    """
    from medwb.launch import watch

    try:
        with _run_bars(runs) as show:
            for statuses in watch(runs):
                show(statuses)
    except KeyboardInterrupt:
        active = [run.id for run in runs if run.state in ("queued", "running")]
        if active:
            still = "1 run goes on" if len(active) == 1 else f"{len(active)} runs go on"
            say(f"no longer watching; {still}: `medwb runs` shows them, `medwb stop RUN` stops one")
        raise
    for run in runs:
        status = run.status()
        collapsed = (
            f", collapsed on {', '.join(status['collapsed_labels'])}" if status.get("collapsed_labels") else ""
        )
        error = f": {status['error']}" if status.get("error") else ""
        say(f"{run.id} {status['state']}{collapsed}{error}")
