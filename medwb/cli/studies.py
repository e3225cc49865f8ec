"""Commands about studies and searches: runs that together answer one question."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, command, number_text
from medwb.terminal import print_json, print_table, say, watch_runs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medwb.statistics import Score
    from medwb.studies import StudyTable

Settings = Annotated[Path | None, typer.Option(help="JSON or YAML file of settings.")]
Draws = Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)]


@command("Training")
def studies(json: AsJson = False) -> None:
    """List the studies: what each asks, and what the reference study found."""
    from medwb.studies import STUDIES

    if json:
        return print_json(
            [
                {"name": entry.name, "title": entry.title, "question": entry.summary, "finding": entry.finding}
                for entry in STUDIES
            ]
        )
    return print_table(
        ["Study", "Question", "The reference study"],
        [[entry.name, entry.summary, entry.finding] for entry in STUDIES],
    )


@command("Training")
def study(
    dataset: DatasetName,
    study: Annotated[str, typer.Argument(help="The question, as `medwb studies` lists it.")],
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="What to train; cnn-2 unless the study varies it.")
    ] = None,
    config: Settings = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of all variants, key=value.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; one run a variant each.")] = "0,1,2",
    draws: Draws = 1000,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; ask again for the table later.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    json: AsJson = False,
) -> None:
    """Train variants that differ in one thing, and answer with paired intervals.

    Finished runs are used again, and stopped ones go on: the same command continues a study that was interrupted.
    """
    from medwb.config import parse_seeds, read_settings
    from medwb.dataset import open_dataset
    from medwb.errors import RequestError
    from medwb.studies import STUDIES, start_study, study_table

    if csv and json:
        raise RequestError("--csv and --json exclude one another; choose one")
    STUDIES.get(study)
    opened = open_dataset(dataset)
    started = start_study(study, opened, architecture, read_settings(config, set_ or []), parse_seeds(seeds))
    there = len(started.all_runs) - started.started - started.continued
    goes_on = f", {started.continued} go on" if started.continued else ""
    say(f"{len(started.variants)} variants: {started.started} runs are queued{goes_on}, {there} were there already")
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
    elif csv:
        print(table.to_csv(), end="")
    else:
        _show_study(table)
    if any(run.state == "failed" for run in started.all_runs):
        raise typer.Exit(1)
    return None


@command("Training")
def search(
    dataset: DatasetName,
    architecture: Annotated[str, typer.Option("--architecture", "-a", help="What to train.")] = "cnn-2",
    minutes: Annotated[float, typer.Option(help="How long to try settings; 0 shows what is there.", min=0)] = 30.0,
    trials: Annotated[int | None, typer.Option(help="Trials in all, earlier ones included.", min=1)] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file that says what to look through.")] = None,
    config: Settings = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of all trials, not searched.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the trials and of the sampler.", min=0)] = 0,
    name: Annotated[str | None, typer.Option(help="Folder below searches/; from dataset and architecture.")] = None,
    confirm: Annotated[int, typer.Option(help="Compare the best with the usual on so many new seeds.", min=0)] = 0,
    draws: Draws = 1000,
    json: AsJson = False,
) -> None:
    """Look for good settings of one architecture within a time budget; the same command goes on.

    The best of many trials is optimistic: --confirm 3 trains it and the usual settings on three new seeds, after the
    time is up, and compares them. Only the validation split is looked at.
    """
    from medwb.config import read_settings
    from medwb.dataset import open_dataset
    from medwb.studies import start_runs, study_table
    from medwb.studies.search import confirm_grid, confirmed
    from medwb.studies.search import search as run_search
    from medwb.studies.space import read_space

    opened, settings = open_dataset(dataset), read_settings(config, set_ or [])
    try:
        found = run_search(
            opened,
            architecture,
            settings,
            minutes=minutes,
            trials=trials,
            space=read_space(space) if space else None,
            seed=seed,
            name=name,
            report=_say_trial,
        )
    except KeyboardInterrupt:
        say("the trial at work goes on by itself; the same command goes on with the search")
        raise
    grid = confirm_grid(found, opened, confirm) if confirm and found.best else None
    if confirm and grid is None:
        found.notes.append("nothing is confirmed: no trial is finished, or the usual settings are the best")
    if grid:
        started = start_runs(grid)
        watch_runs([run for run in started.all_runs if run.state != "finished"])
        if any(run.state == "finished" for run in started.all_runs):
            found = confirmed(found, study_table(started, draws=draws))
    if json:
        print_json(found.to_json())
    else:
        rows = [
            [str(row["number"]), row["settings"], row["run"], row["state"], number_text(row["macro_f1"], ".3f")]
            for row in found.trials.to_dict("records")
        ]
        print_table(["Trial", "Settings", "Run", "State", "Macro F1"], rows, title=f"Search {found.name}")
        if found.confirmation:
            _show_table(found.confirmation)
        print(found.answer)
    for note in [*found.notes, *(found.confirmation.notes if found.confirmation else [])]:
        say(f"note: {note}")
    if not found.best and minutes:
        raise typer.Exit(1)


def _say_trial(row: "Mapping[str, Any]") -> None:
    ended = row["reason"] or f"macro F1 {row['macro_f1']:.3f}"
    say(f"trial {row['number']}: {row['settings'] or 'nothing changed'}: {ended}")


def _show_study(table: "StudyTable") -> None:
    _show_table(table)
    print(f"{table.question} {table.answer}")
    print(f"{table.finding}")
    for note in table.notes:
        say(f"note: {note}")


def _show_table(table: "StudyTable") -> None:
    first = table.rows["variant"].iloc[0]
    headers = ["Variant", "What it does", "Runs", "Macro F1", f"Difference to {first}", "Verdict"]
    whole = table.scored == table.samples
    rows = [
        [
            cells["variant"],
            cells["facts"],
            str(cells["runs"]),
            str(table.score(row, "macro_f1")),
            _signed(table.score(row, "difference")) if row else "",
            cells["verdict"],
            *([] if whole else [str(table.score(row, "all_macro_f1"))]),
        ]
        for row, cells in enumerate(table.rows.to_dict("records"))
    ]
    trained = f"{table.architecture} {table.settings}".strip()
    where = f"{table.scored:,} of {table.samples:,} validation samples"
    title = f"Study {table.study} on {table.dataset}: {trained}, {where}, 95 % intervals"
    print_table([*headers, *([] if whole else ["Macro F1, all scans"])], rows, title=title)


def _signed(score: "Score") -> str:
    return "undefined" if score.value != score.value else f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"
