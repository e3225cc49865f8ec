"""Commands about studies: grids of runs that answer one question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medwb.cli.shared import AsJson, DatasetName, command
from medwb.terminal import print_json, print_table, say, watch_runs

if TYPE_CHECKING:
    from medwb.statistics import Score
    from medwb.studies import StudyTable


@command("Training")
def study(
    dataset: DatasetName,
    study: Annotated[str, typer.Argument(help="The question: `cleaning` (of contradictions) or `augmentation`.")],
    architecture: Annotated[str, typer.Option("--architecture", "-a", help="What to train.")] = "cnn-2",
    config: Annotated[Path | None, typer.Option(help="JSON or YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of all variants, key=value.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; one run a variant each.")] = "0,1,2",
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; ask again for the table later.")] = False,
    json: AsJson = False,
) -> None:
    """Train variants that differ in one thing, and answer with paired intervals. Finished runs are used again."""
    from medwb.config import parse_seeds, read_settings
    from medwb.dataset import open_dataset
    from medwb.studies import STUDIES, start_study, study_table

    STUDIES.get(study)
    opened = open_dataset(dataset)
    started = start_study(study, opened, architecture, read_settings(config, set_ or []), parse_seeds(seeds))
    there = len(started.all_runs) - started.started
    say(f"{len(started.variants)} variants: {started.started} runs are queued, {there} were there already")
    if detach:
        ids = [run.id for run in started.all_runs]
        return print_json({"runs": ids}) if json else print("\n".join(ids))
    watch_runs([run for run in started.all_runs if run.state != "finished"])
    if not any(run.state == "finished" for run in started.all_runs):
        say("no run of the study has finished; the same command trains what is missing")
        raise typer.Exit(1)
    table = study_table(started, draws=draws)
    if json:
        print_json(table.to_json())
    else:
        _show_study(table)
    if any(run.state == "failed" for run in started.all_runs):
        raise typer.Exit(1)
    return None


def _show_study(table: "StudyTable") -> None:
    first = table.rows["variant"].iloc[0]
    headers = ["Variant", "What it does", "Runs", "Macro F1", f"Difference to {first}", "Verdict"]
    rows = [
        [
            cells["variant"],
            cells["facts"],
            str(cells["runs"]),
            str(table.score(row, "macro_f1")),
            _signed(table.score(row, "difference")) if row else "",
            cells["verdict"],
            str(table.score(row, "all_macro_f1")),
        ]
        for row, cells in enumerate(table.rows.to_dict("records"))
    ]
    trained = f"{table.architecture} {table.settings}".strip()
    where = f"{table.scored:,} of {table.samples:,} validation samples"
    title = f"Study {table.study} on {table.dataset}: {trained}, {where}, 95 % intervals"
    print_table([*headers, "Macro F1, all scans"], rows, title=title)
    for note in table.notes:
        say(f"note: {note}")


def _signed(score: "Score") -> str:
    return "undefined" if score.value != score.value else f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"
