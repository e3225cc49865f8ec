"""Commands about data: the demo, imports, downloads, what is there."""

from pathlib import Path
from typing import Annotated

import typer

from medwb.cli.shared import AsJson, DatasetName, command
from medwb.errors import RequestError
from medwb.terminal import by, print_json, print_table, rich_progress, say, show_dataset


@command("Data")
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


@command("Data", "import")
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


@command("Data")
def formats() -> None:
    """List the formats that datasets can be imported from."""
    from medwb.formats import FORMATS

    print_table(["Format", "What it is"], [[entry.name, entry.summary] for entry in FORMATS])


@command("Data")
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


@command("Data")
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


@command("Data")
def describe(dataset: DatasetName, json: AsJson = False) -> None:
    """Say what is in a dataset: counts, label prevalence, splits, what its import met."""
    from medwb.dataset import open_dataset

    show_dataset(open_dataset(dataset), json)
