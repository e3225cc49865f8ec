"""Commands about training: what can be trained, runs and their states."""

from pathlib import Path
from typing import Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, command, count_text, number_text
from medwb.terminal import print_json, print_table, say, watch_runs


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
