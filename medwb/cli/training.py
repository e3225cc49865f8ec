"""Commands about training: what can be trained, runs and their states."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, command, count_text, number_text
from medwb.terminal import print_json, print_table, say, watch_runs

if TYPE_CHECKING:
    from medwb.runs import Run


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
    from medwb.errors import RequestError

    shape = (size, size, channels)
    if diagram:
        from medwb.architectures.facts import find_facts
        from medwb.diagram import network_svg

        if (wanted := ARCHITECTURES.get(diagram)).backbone:
            find_facts(wanted, shape)
        return print(network_svg(wanted, shape, outputs))
    rows: list[dict[str, Any]] = []
    for entry in ARCHITECTURES:
        try:
            layers = describe_layers(entry, shape, outputs)
        except RequestError:  # the input is too small for this one
            layers = []
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
        list[str] | None,
        typer.Option("--architecture", "-a", help="A name, a family such as `reference`, or `all`; may repeat."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="JSON or YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting, key=value; may repeat.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas; one run each.")] = "0",
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the runs go on by themselves.")] = False,
    launcher: Annotated[str, typer.Option(help="`local`: this machine; `ray`: a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster's dashboard, http://HEAD:8265.")] = None,
    cpus: Annotated[float | None, typer.Option(help="Cores that a run holds on the Ray cluster.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs that a run holds on the Ray cluster.")] = None,
    json: AsJson = False,
) -> None:
    """Train architectures on a dataset, medwb's own small network if none is named; runs wait in a queue."""
    from medwb.architectures import DEFAULT_ARCHITECTURE, select_architectures
    from medwb.config import make_configs, parse_seeds, read_settings
    from medwb.launch import launch

    settings = read_settings(config, set_ or [])
    names = [name for item in architecture or [DEFAULT_ARCHITECTURE] for name in item.split(",")]
    configs = make_configs(dataset, select_architectures(names), settings, parse_seeds(seeds))
    options = {"address": address, "cpus": cpus, "gpus": gpus}
    runs = launch(configs, launcher, **{name: value for name, value in options.items() if value is not None})
    say(f"{_count(runs)} queued; `medwb runs` shows them, `medwb stop RUN` stops one")
    _follow(runs, detach, json)


def _count(runs: "Sequence[Run]") -> str:
    return "1 run is" if len(runs) == 1 else f"{len(runs)} runs are"


def _follow(runs: "Sequence[Run]", detach: bool, json: bool) -> None:
    """Watch runs until they are over, or say which they are and return; exit status 1 when one failed."""
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
    dataset: Annotated[str | None, typer.Argument(help="Only the runs of this dataset.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask Ray clusters for lost jobs.")] = False,
    json: AsJson = False,
) -> None:
    """List runs with their states, and their places in the queue."""
    from medwb.dataset import open_dataset
    from medwb.launch import look_after, queue_note
    from medwb.launch import refresh as ask_clusters
    from medwb.queue import positions
    from medwb.runs import damaged_runs, list_runs

    look_after()
    found = list_runs(dataset)
    if dataset is not None and not found:
        open_dataset(dataset)  # raises for a name that is none
    if refresh:
        for problem in ask_clusters(found):
            say(f"medwb: {problem}")
    places = positions()
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
                "position": places.get(run.id),
                "eta": status.get("eta"),
                "progress": progress_of(run, {**status, "position": places.get(run.id)}),
                "launcher": status.get("launcher", "local"),
            }
        )
    damaged = damaged_runs() if dataset is None else {}
    if json:
        return print_json({"runs": rows, "damaged": [{"id": name, "error": text} for name, text in damaged.items()]})
    for text in damaged.values():
        say(f"medwb: {text}")
    if note := queue_note() if places else "":
        say(f"medwb: {note}")
    if not rows:
        return say("no run yet; `medwb train DATASET --architecture reference` starts the eight networks")
    cells = [
        [
            row["id"],
            row["dataset"],
            row["cleaning"],
            row["augmentation"],
            row["progress"] + (", collapsed" if row["collapsed"] else ""),
            str(row["epoch"]),
            "; ".join(filter(None, [row["error"], *(warning.partition(":")[0] for warning in row["warnings"])])),
        ]
        for row in rows
    ]
    return print_table(["Run", "Dataset", "Cleaning", "Augmentation", "State", "Epoch", "Notes"], cells)


def progress_of(run: "Run", status: dict[str, Any]) -> str:
    """The state of a run in words, with what is left of one at work."""
    from medwb.estimate import progress_text

    text = progress_text(run, status)
    return f"{status['state']}: {text}" if status["state"] in ("running", "stopping") else text


RunIds = Annotated[list[str], typer.Argument(help="Ids of runs, as `medwb runs` lists them.")]


@command("Training")
def stop(
    run: RunIds,
    now: Annotated[bool, typer.Option("--now", help="Kill it; what is left is its last checkpoint.")] = False,
) -> None:
    """Stop runs after the batch at hand; a queued one never starts."""
    from medwb.launch import stop as stop_run

    for opened in _open_all(run):
        stop_run(opened, now)
        stopped = opened.state == "stopped"
        say(f"{opened.id} is stopped" if stopped else f"{opened.id} ends after the batch at hand")


@command("Training")
def cancel(run: RunIds) -> None:
    """Take queued runs out of the queue; running ones are left alone."""
    from medwb.launch import cancel as cancel_run

    for opened in _open_all(run):
        cancel_run(opened)
        say(f"{opened.id} is taken out of the queue")


Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the runs go on by themselves.")]


@command("Training")
def resume(run: RunIds, detach: Detach = False, json: AsJson = False) -> None:
    """Go on with stopped or failed runs from their checkpoints; without one, from the start."""
    from medwb.launch import check_resumable
    from medwb.launch import resume as resume_run

    opened = _open_all(run)
    for one in opened:
        check_resumable(one)
    for one in opened:
        resume_run(one)
    say(f"{_count(opened)} queued again")
    _follow(opened, detach, json)


@command("Training")
def retry(run: RunIds, detach: Detach = False, json: AsJson = False) -> None:
    """Train stopped or failed runs again from the start; their checkpoints and answers are removed."""
    from medwb.launch import check_resumable
    from medwb.launch import retry as retry_run

    opened = _open_all(run)
    for one in opened:
        check_resumable(one, "tried again")
    for one in opened:
        retry_run(one)
    say(f"{_count(opened)} queued again, from the start")
    _follow(opened, detach, json)


@command("Training")
def move(
    run: RunId,
    first: Annotated[bool, typer.Option("--first", help="To the front.")] = False,
    last: Annotated[bool, typer.Option("--last", help="To the end.")] = False,
    before: Annotated[str | None, typer.Option(help="Before this waiting run.")] = None,
) -> None:
    """Move a waiting run in the queue."""
    from medwb.launch import move as move_run
    from medwb.queue import positions

    (opened,) = _open_all([run])
    move_run(opened, first=first, last=last, before=_open_all([before])[0] if before else None)
    say(f"{run} is at place {positions().get(run, 0)} of the queue")


def _open_all(run_ids: list[str]) -> "list[Run]":
    from medwb.runs import open_run

    return [open_run(run_id) for run_id in dict.fromkeys(run_ids)]
