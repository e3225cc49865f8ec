"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medwb.errors import RequestError
from medwb.terminal import by, print_json, print_table, rich_progress, say, show_dataset, watch_runs

app = typer.Typer(
    name="medwb",
    help="A workbench for medical-image multi-label classification.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LABELS_SHOWN = 5  # more do not fit into a terminal's width

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
DatasetName = Annotated[str, typer.Argument(help="Name of an imported dataset.")]
RunId = Annotated[str, typer.Argument(help="Id of a run, as `medwb runs` lists it.")]


@app.command()
def demo(
    name: Annotated[str, typer.Option(help="Name of the dataset.")] = "demo",
    samples: Annotated[int, typer.Option(help="Number of scans.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same scans.")] = 0,
) -> None:
    """Write the demo dataset: synthetic scans with planted faults. Does nothing if it is there."""
    from medwb.demo import write_demo

    with rich_progress("drawing scans") as progress:
        written = write_demo(name, samples, seed, progress)
    say(f"dataset {name!r} is written" if written else f"dataset {name!r} is there already")


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder, zip, CSV or .npz file.")],
    name: Annotated[str, typer.Option(help="Name of the new dataset.")],
    format: Annotated[str | None, typer.Option(help="Name of the format; recognised when not given.")] = None,
    size: Annotated[int | None, typer.Option(help="Height and width to resize to, in pixels.")] = None,
    channels: Annotated[int | None, typer.Option(help="1 or 3; by itself 3 only where a scan has colour.")] = None,
    split: Annotated[str, typer.Option(help="Shares of train, val, test where splits are drawn.")] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(help="Seed of drawn splits.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a source with any bad file or row.")] = False,
    table: Annotated[str | None, typer.Option(help="The CSV with the labels, by its path in the source.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with the image's name or path.")] = None,
    labels: Annotated[str | None, typer.Option(help="Label columns, separated by commas.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column with train, val or test.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column with the patient or study.")] = None,
    uncertain: Annotated[str | None, typer.Option(help="What -1 means: unknown, positive or negative.")] = None,
    unmentioned: Annotated[str | None, typer.Option(help="What a blank means: unknown or negative.")] = None,
    json: AsJson = False,
) -> None:
    """Read a folder of scans and a table of labels into a dataset."""
    from medwb.formats import ReadOptions, import_dataset
    from medwb.splits import parse_fractions

    options = ReadOptions(
        table=table,
        id_column=id_column,
        label_columns=tuple(labels.split(",")) if labels else None,
        split_column=split_column,
        group_column=group_column,
        uncertain=uncertain,
        unmentioned=unmentioned,
    )
    with rich_progress("decoding scans") as progress:
        dataset = import_dataset(
            source,
            name,
            format=format,
            size=size,
            channels=channels,
            options=options,
            fractions=parse_fractions(split),
            seed=seed,
            strict=strict,
            progress=progress,
        )
    show_dataset(dataset, json)


@app.command()
def formats() -> None:
    """List the formats that datasets can be imported from."""
    from medwb.formats import FORMATS

    print_table(["Format", "What it is"], [[entry.name, entry.summary] for entry in FORMATS])


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="A 2D MedMNIST set, such as chestmnist.")],
    size: Annotated[int, typer.Option(help="28, 64, 128 or 224 pixels.")] = 64,
    out: Annotated[Path, typer.Option(help="Folder to keep the file in.")] = Path(),
) -> None:
    """Fetch a MedMNIST set from its public home; an interrupted download continues, its checksum is verified."""
    from medwb.download import download_medmnist

    with rich_progress(f"downloading {name}") as progress:
        path = download_medmnist(name, size, out, progress)
    say(f"{path} is complete; import it with: medwb import {path} --name {name}")


@app.command()
def datasets(json: AsJson = False) -> None:
    """List the datasets that are there."""
    from medwb.dataset import dataset_names, open_dataset

    found = []
    for name in dataset_names():
        try:
            found.append(open_dataset(name))
        except RequestError as error:
            say(f"note: {error}")
    if json:
        keys = ("name", "format", "samples", "fingerprint")
        return print_json([{key: dataset.describe()[key] for key in keys} for dataset in found])
    if not found:
        return say("no dataset yet; `medwb demo` writes one, `medwb import` reads yours")
    rows = [
        [d.name, d.format, f"{len(d):,}", by(d.image_shape), str(len(d.label_names)), d.fingerprint] for d in found
    ]
    return print_table(["Dataset", "Format", "Samples", "Image", "Labels", "Fingerprint"], rows)


@app.command()
def describe(dataset: DatasetName, json: AsJson = False) -> None:
    """Say what is in a dataset: counts, label prevalence, splits, what its import met."""
    from medwb.dataset import open_dataset

    show_dataset(open_dataset(dataset), json)


@app.command()
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
            _count(row["parameters"]),
            _count(row["multiply_adds"]),
            _text(row["reference_score"]),
        ]
        for row in rows
    ]
    return print_table(["Architecture", "Family", "Parameters", "Multiply-adds", "Reference F1"], cells)


@app.command()
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


@app.command()
def runs(
    dataset: Annotated[str | None, typer.Argument(help="Only the runs of this dataset.")] = None, json: AsJson = False
) -> None:
    """List runs with their states."""
    from medwb.dataset import open_dataset
    from medwb.runs import list_runs

    found = list_runs(dataset)
    if dataset is not None and not found:
        open_dataset(dataset)  # raises for a name that is none
    rows = []
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
            row["state"] + (", collapsed" if row["collapsed"] else ""),
            str(row["epoch"]),
            row["error"] or "",
        ]
        for row in rows
    ]
    return print_table(["Run", "Dataset", "State", "Epoch", "Error"], cells)


@app.command()
def stop(run: RunId) -> None:
    """Stop a run after the batch at hand; a queued one never starts."""
    from medwb.launch import stop as stop_run
    from medwb.runs import open_run

    opened = open_run(run)
    stop_run(opened)
    say(f"{run} is stopped" if opened.state == "stopped" else f"{run} ends after the batch at hand")


@app.command()
def table(
    dataset: DatasetName,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    json: AsJson = False,
) -> None:
    """Print the per-architecture F1 table, every score with its 95 % interval."""
    from medwb.table import f1_table

    if csv + markdown + json > 1:
        raise RequestError("--csv, --markdown and --json exclude one another; choose one")
    scores = f1_table(dataset, split, draws=draws)
    if json:
        return print_json(scores.to_json())
    if csv:
        return print(scores.to_csv(), end="")
    if markdown:
        return print(scores.to_markdown(), end="")
    labels = scores.label_names if len(scores.label_names) <= _LABELS_SHOWN else ()
    shown = [*(f"f1:{label}" for label in labels), "macro_f1", "roc_auc"]
    headers = ["Architecture", "Runs", *(f"F1 {label}" for label in labels), "Macro F1", "ROC AUC", "Reference F1"]
    rows = [
        [
            f"{cells['title']} {cells['settings']}".strip() + (" (collapsed)" if cells["collapsed"] else ""),
            str(cells["runs"]),
            *(str(scores.score(row, column)) for column in shown),
            _text(cells["reference_score"]),
        ]
        for row, cells in enumerate(scores.rows.to_dict("records"))
    ]
    print_table(headers, rows, title=f"{scores.dataset}, split {split}, 95 % intervals")
    if not labels:
        say(f"note: --csv, --json and --markdown show the F1 of each of the {len(scores.label_names)} labels")
    for note in scores.notes:
        say(f"note: {note}")
    return None


@app.command()
def submit(
    run: RunId,
    sample: Annotated[Path, typer.Option(help="The sample submission to fit.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    json: AsJson = False,
) -> None:
    """Write a submission: the sample's ids, order and columns, with thresholds tuned on validation."""
    from medwb.runs import open_run
    from medwb.submission import write_submission

    submission = write_submission(open_run(run), sample, out)
    positives = {label: int(submission.table[label].sum()) for label in submission.thresholds}
    if json:
        facts = {"out": str(out), "rows": len(submission.table), "positives": positives}
        return print_json({**facts, "thresholds": submission.thresholds, "notes": submission.notes})
    say(f"{out}: {len(submission.table):,} rows")
    for label, threshold in submission.thresholds.items():
        say(f"  {label}: {positives[label]:,} positive, threshold {threshold:.3f} (tuned on validation)")
    for note in submission.notes:
        say(f"note: {note}")
    return None


@app.command()
def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
) -> None:
    """Open the dashboard, at http://localhost:8501 unless told otherwise."""
    import os
    import subprocess

    from medwb.paths import home

    page = Path(__file__).parent.parent / "dashboard" / "app.py"
    if not page.is_file():
        raise RequestError(f"{page} is not there; the dashboard runs from a checkout of medwb")
    environment = {**os.environ, "MEDWB_HOME": str(home())}  # the settings in .streamlit lie in the checkout
    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    options = ["--server.port", str(port), "--server.address", address, "--browser.gatherUsageStats", "false"]
    raise typer.Exit(subprocess.run([*command, *options], cwd=page.parent.parent, env=environment).returncode)


def main() -> None:
    """Run the command line: exit status 0 done, 1 the work failed, 2 the request was wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed import sweeps up, as after Ctrl-C
    try:
        app()
    except RequestError as error:
        say(f"medwb: {error}")
        sys.exit(2)
    except OSError as error:
        say(f"medwb: failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _text(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:g}"


if __name__ == "__main__":
    main()
