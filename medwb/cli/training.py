"""Commands about training: what can be trained, runs and their states."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, command, count_text, number_text
from medwb.terminal import print_json, print_table, say, watch_runs

if TYPE_CHECKING:
    from medwb.statistics import Score
    from medwb.studies import StudyTable


@command("Training")
def architectures(
    diagram: Annotated[str | None, typer.Option(help="Print the diagram of this one as SVG.")] = None,
    size: Annotated[int, typer.Option(help="Height and width of the input, in pixels.")] = 64,
    channels: Annotated[int, typer.Option(help="Channels of the input.")] = 1,
    outputs: Annotated[int, typer.Option(help="Number of labels.")] = 3,
    json: AsJson = False,
) -> None:
    """List what can be trained: family, parameters, multiply-adds, the reference study's score."""
    from medwb.architectures import ARCHITECTURES, describe_layers, total_multiply_adds, total_parameters

    shape = (size, size, channels)
    if diagram:
        from medwb.diagram import network_svg

        return print(network_svg(ARCHITECTURES.get(diagram), shape, outputs))
    rows: list[dict[str, Any]] = []
    for entry in ARCHITECTURES:
        layers = describe_layers(entry, shape, outputs)
        rows.append(
            {
                "name": entry.name,
                "family": entry.family,
                "summary": entry.summary,
                "parameters": total_parameters(layers) if layers else None,
                "multiply_adds": total_multiply_adds(layers) if layers else None,
                "reference_score": entry.reference_score,
            }
        )
    if json:
        return print_json(rows)
    cells = [
        [
            row["name"],
            row["family"],
            count_text(row["parameters"]),
            count_text(row["multiply_adds"]),
            number_text(row["reference_score"]),
        ]
        for row in rows
    ]
    return print_table(["Architecture", "Family", "Parameters", "Multiply-adds", "Reference F1"], cells)


@command("Training")
def train(
    dataset: DatasetName,
    architecture: Annotated[
        list[str], typer.Option("--architecture", "-a", help="A name, `reference`, `baseline` or `all`; may repeat.")
    ],
    config: Annotated[Path | None, typer.Option(help="JSON or YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; may repeat.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; one run each.")] = "0",
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the runs go on by themselves.")] = False,
    json: AsJson = False,
) -> None:
    """Train architectures on a dataset, one after the other."""
    from medwb.architectures import select_architectures
    from medwb.config import make_configs, parse_seeds, read_settings
    from medwb.launch import launch

    settings = read_settings(config, set_ or [])
    names = [name for item in architecture for name in item.split(",")]
    configs = make_configs(dataset, select_architectures(names), settings, parse_seeds(seeds))
    runs = launch(configs)
    say(f"{len(runs)} runs are queued; `medwb runs` shows them, `medwb stop RUN` stops one")
    if not detach:
        watch_runs(runs)
    if json:
        print_json({"runs": [run.id for run in runs]})
    elif detach:
        print("\n".join(run.id for run in runs))
    if not detach and any(run.state == "failed" for run in runs):
        raise typer.Exit(1)


@command("Training")
def runs(
    dataset: Annotated[str | None, typer.Argument(help="Only the runs of this dataset.")] = None, json: AsJson = False
) -> None:
    """List runs with their states."""
    from medwb.dataset import open_dataset
    from medwb.runs import list_runs

    found = list_runs(dataset)
    if dataset is not None and not found:
        open_dataset(dataset)  # raises for a name that is none
    rows: list[dict[str, Any]] = []
    for run in found:
        status = run.status()
        rows.append(
            {
                "id": run.id,
                "dataset": run.config.dataset,
                "architecture": run.config.architecture,
                "heads": run.config.heads,
                "seed": run.config.seed,
                "state": status["state"],
                "epoch": status.get("epoch", 0),
                "collapsed": status.get("collapsed", False),
                "error": status.get("error"),
                "cleaning": run.config.cleaning,
                "augmentation": run.config.augmentation,
                "warnings": run.warnings,
            }
        )
    if json:
        return print_json({"runs": rows})
    if not rows:
        return say("no run yet; `medwb train DATASET --architecture reference` starts the eight networks")
    cells = [
        [
            row["id"],
            row["dataset"],
            row["cleaning"],
            row["augmentation"],
            row["state"] + (", collapsed" if row["collapsed"] else ""),
            str(row["epoch"]),
            "; ".join(filter(None, [row["error"], *(warning.partition(":")[0] for warning in row["warnings"])])),
        ]
        for row in rows
    ]
    return print_table(["Run", "Dataset", "Cleaning", "Augmentation", "State", "Epoch", "Notes"], cells)


@command("Training")
def stop(run: RunId) -> None:
    """Stop a run after the batch at hand; a queued one never starts."""
    from medwb.launch import stop as stop_run
    from medwb.runs import open_run

    opened = open_run(run)
    stop_run(opened)
    say(f"{run} is stopped" if opened.state == "stopped" else f"{run} ends after the batch at hand")


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
