"""The command that says how long trainings take before they are launched."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medwb.cli.shared import AsJson, DatasetName, command, count_text
from medwb.terminal import print_json, print_table, rich_progress, say

if TYPE_CHECKING:
    from medwb.budget import Budget, Seconds


@command("Training")
def plan(
    dataset: DatasetName,
    architecture: Annotated[
        list[str], typer.Option("--architecture", "-a", help="A name, `reference`, `baseline` or `all`; may repeat.")
    ],
    config: Annotated[Path | None, typer.Option(help="JSON or YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; may repeat.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; one run each.")] = "0",
    minutes: Annotated[float | None, typer.Option(help="Say what fits into so many minutes.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured within a day.")] = False,
    json: AsJson = False,
) -> None:
    """Measure a few steps of each architecture, and say how long training all of them takes on this machine."""
    from medwb.architectures import select_architectures
    from medwb.config import make_configs, parse_seeds, read_settings
    from medwb.dataset import open_dataset
    from medwb.plan import check_minutes
    from medwb.plan import plan as make_plan
    from medwb.runs import check_trainable

    check_minutes(minutes)
    opened, settings = open_dataset(dataset), read_settings(config, set_ or [])
    names = [name for item in architecture for name in item.split(",")]
    configs = make_configs(dataset, select_architectures(names), settings, parse_seeds(seeds))
    for one in configs:
        check_trainable(one, opened)
    with rich_progress("Measuring") as bar:
        budget = make_plan(configs, minutes=minutes, fresh=fresh, report=lambda done, total, _: bar(done, total))
    if json:
        print_json(budget.to_json())
    else:
        _show(budget)
    for note in budget.notes:
        say(f"note: {note}")
    if not budget.known:
        raise typer.Exit(1)


def _show(budget: "Budget") -> None:
    rows = []
    for row in budget.rows:
        known, network = row.measured, row.epochs > 0
        rows.append(
            [
                f"{row.config.architecture}{' per label' if row.config.heads == 'per-label' else ''}",
                _milliseconds(known.step) if known and known.step else "–",
                count_text(known.steps if known and network else None),
                count_text(row.epochs or None),
                str(row.seconds(1)) if known else row.error,
                str(row.runs),
            ]
        )
    headers = ["Architecture", "A step", "Steps an epoch", "Epochs", "A run", "Runs"]
    print_table(headers, rows, title=f"Trainings on {budget.dataset}, on {budget.machine['processor']}")
    print(budget.answer)


def _milliseconds(seconds: "Seconds") -> str:
    value, low, high = (1000 * end for end in (seconds.value, seconds.low, seconds.high))
    return f"{value:.3g} ms [{low:.3g}, {high:.3g}]"
