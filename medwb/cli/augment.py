"""Commands about augmentation: recipes, previews, export, the label-preservation test."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, group, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, rich_progress, say

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medwb.audit.cleaning import Cleaning
    from medwb.augment import Step
    from medwb.dataset import Dataset
    from medwb.runs import Run

augment = group("augment", "Augmentation", "Recipes of augmentation: show, save, preview, test and export them.")

Recipe = Annotated[str, typer.Argument(help="Name of a recipe, as `medwb augment list` lists it.")]
RecipeOption = Annotated[str, typer.Option("--augmentation", "-a", help="Name of a recipe.")]
Seed = Annotated[int, typer.Option(help="The same seed draws the same.", min=0, max=2**31 - 1)]

_SHEET_SIDE = 128  # pixels that a scan's long side has at least on a contact sheet
_NEAREST = 3  # ids that a message names


@augment.command("list")
def list_(json: AsJson = False) -> None:
    """List the recipes: those that come with medwb, and the saved ones."""
    from medwb.augment import PRESETS, augmentation_names, open_augmentation

    rows: list[dict[str, Any]] = []
    for name in augmentation_names():
        try:
            recipe = open_augmentation(name)
        except RequestError as error:
            say(f"note: {error}")
            continue
        rows.append(
            {
                "name": name,
                "preset": name in PRESETS,
                "steps": [step.transform for step in recipe.active],
                "digest": recipe.digest,
                "about": recipe.about,
            }
        )
    if json:
        return print_json(rows)
    cells = [
        [row["name"], "preset" if row["preset"] else "saved", ", ".join(row["steps"]), row["digest"], row["about"]]
        for row in rows
    ]
    return print_table(["Recipe", "Kind", "Steps", "Digest", "About"], cells)


@augment.command()
def show(
    name: Recipe,
    code: Annotated[bool, typer.Option("--code", help="Print albumentations code that does the same.")] = False,
    size: Annotated[int, typer.Option(help="Height and width of the scans, for the code.", min=1, max=4096)] = 64,
    json: AsJson = False,
) -> None:
    """Print a recipe as YAML, or as code."""
    from medwb.augment import open_augmentation, to_code

    recipe = open_augmentation(name)
    source = to_code(recipe, (size, size)) if code else None
    if json:
        facts = {"name": name, "digest": recipe.digest, **recipe.describe()}
        return print_json(facts if source is None else {**facts, "code": source})
    return print(source if source is not None else recipe.to_yaml(), end="")


@augment.command()
def save(
    name: Annotated[str, typer.Argument(help="Name of the recipe.")],
    file: Annotated[Path, typer.Option(help="A YAML file, as `medwb augment show` prints it.")],
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of a recipe of that name.")] = False,
    json: AsJson = False,
) -> None:
    """Check a recipe and save it under a name."""
    from medwb.augment import save_augmentation
    from medwb.augment.store import load_recipe

    recipe = load_recipe(file)
    save_augmentation(name, recipe, replace)
    if json:
        return print_json({"saved": name, "digest": recipe.digest})
    return say(
        f"recipe {name!r} is saved, digest {recipe.digest}; next: medwb train DATASET --set augmentation={name}"
    )


@augment.command()
def remove(name: Recipe, json: AsJson = False) -> None:
    """Remove a saved recipe; runs that learned with it keep their own copy."""
    from medwb.augment import remove_augmentation

    remove_augmentation(name)
    return print_json({"removed": name}) if json else say(f"recipe {name!r} is removed; runs keep their own copy")


@augment.command()
def transforms(json: AsJson = False) -> None:
    """List the transforms that recipes are made of, with their settings."""
    from medwb.cli.augment_report import show_transforms, transforms_json

    return print_json(transforms_json()) if json else show_transforms()


@augment.command()
def preview(
    dataset: DatasetName,
    augmentation: RecipeOption,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")],
    ids: Annotated[list[str] | None, typer.Option(help="Scans, by id, separated by commas; may repeat.")] = None,
    samples: Annotated[int, typer.Option(help="Scans, drawn by the seed.", min=1, max=100)] = 8,
    draws: Annotated[int, typer.Option(help="Pictures of each, one an epoch from the first.", min=1, max=100)] = 4,
    seed: Seed = 0,
    cleaning: Annotated[
        str, typer.Option(help='Name of a cleaning that a run learns under; "none" for none.')
    ] = "none",
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Height and width that the network sees.", min=8, max=1024)
    ] = None,
    channels: Annotated[int | None, typer.Option(metavar="1|3", help="Grey or colour, for the network.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of a file of that name.")] = False,
    json: AsJson = False,
) -> None:
    """Write a contact sheet: each scan as it is, and as a training sees it epoch by epoch."""
    from medwb.audit.cleaning import open_cleaning
    from medwb.audit.cleaning.changes import NO_CLEANING
    from medwb.augment import open_augmentation
    from medwb.augment.apply import FIRST_EPOCH
    from medwb.augment.export import check_place
    from medwb.augment.preview import Scans, remaining
    from medwb.augment.preview import preview as preview_scans
    from medwb.dataset import open_dataset
    from medwb.gallery import contact_sheet
    from medwb.paths import replacing
    from medwb.png import png

    opened, recipe = open_dataset(dataset), open_augmentation(augmentation)
    shape = _shape(opened, size, channels)
    recipe.check(shape, f"augmentation {augmentation!r}")
    if out.suffix.lower() != ".png":
        raise RequestError(f"--out {out} is no PNG file; name one that ends in .png")
    target = check_place(out, opened)
    if target.exists() and not replace:
        raise RequestError(f"--out {out} exists; give another name, or --replace it")
    clean = None if cleaning == NO_CLEANING else open_cleaning(opened, cleaning)
    scans = Scans.of(opened, _positions(opened, clean, ids, samples, seed), cleaning=clean, shape=shape)
    grid = preview_scans(scans, recipe, seed, FIRST_EPOCH, draws)
    sheet = contact_sheet(grid.cells.reshape(-1, *shape), 1 + draws, scale=max(1, _SHEET_SIDE // max(shape[:2])))
    try:
        with replacing(target) as temporary:
            temporary.write_bytes(png(sheet))
    except OSError as error:
        raise RequestError(f"cannot write {out} ({error.strerror}); give another --out") from error
    rows: list[dict[str, Any]] = [
        {"id": key, "epoch": epoch, "drawn": text, "kept": float(share)}
        for key, texts, shares in zip(scans.ids, grid.captions, grid.kept, strict=True)
        for epoch, text, share in zip(grid.epochs, texts, shares, strict=True)
    ]
    warning = remaining(scans, recipe, seed, grid.epochs).warning
    if json:
        facts = {"dataset": dataset, "augmentation": augmentation, "digest": recipe.digest, "seed": seed}
        facts |= {"cleaning": cleaning, "image_shape": list(shape)}
        return print_json({"out": str(out), **facts, "draws": rows, "warning": warning})
    cells_of = [[row["id"], str(row["epoch"]), row["drawn"], number_text(row["kept"], ".0%")] for row in rows]
    print_table(["Scan", "Epoch", "What was drawn", "Kept"], cells_of)
    if warning:
        say(f"warning: {warning}")
    return say(f"written to {out}: a row a scan, the original first")


@augment.command()
def export(
    dataset: DatasetName,
    augmentation: RecipeOption,
    out: Annotated[Path, typer.Option(help="A new folder; nothing is ever written into the source.")],
    variants: Annotated[int, typer.Option(help="Files a scan; variant k is what epoch k of a training sees.")] = 10,
    split: Annotated[str, typer.Option(help="The samples that are augmented: train, val or test.")] = "train",
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Write augmented scans into a new folder, with their labels and where they come from."""
    from medwb.augment import open_augmentation
    from medwb.augment.export import export_augmented
    from medwb.dataset import open_dataset

    opened, recipe = open_dataset(dataset), open_augmentation(augmentation)
    try:
        with rich_progress("writing scans") as progress:
            made = export_augmented(
                opened, recipe, augmentation, out, variants=variants, split=split, seed=seed, progress=progress
            )
    except KeyboardInterrupt:
        say(f"stopped; {out} is not written")
        raise
    if json:
        facts = {"out": str(made.out), "images": made.images, "import": made.import_command, "notes": made.notes}
        return print_json({**facts, **made.provenance})
    say(f"{made.out}: {made.images:,} scans, {variants:,} of each of {made.samples:,} of {split}, and labels.csv")
    for note in made.notes:
        say(f"note: {note}")
    return say(f"next: {made.import_command}")


@augment.command("test")
def preservation(
    run: RunId,
    augmentation: Annotated[
        str | None, typer.Option("--augmentation", "-a", help="A recipe; by itself the run's own, or all transforms.")
    ] = None,
    transform: Annotated[
        list[str] | None, typer.Option("--transform", "-t", help="A transform, by name, as by default; may repeat.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Validation scans that are scored, at most.", min=1)] = 1000,
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    seed: Seed = 0,
    json: AsJson = False,
) -> None:
    """Test along each slider how far a trained network keeps telling labels apart. It is no radiologist."""
    from medwb.augment.preservation import measure_preservation
    from medwb.cli.augment_report import show_preservation, verdicts
    from medwb.dataset import open_dataset
    from medwb.runs import open_run

    opened = open_run(run)
    dataset = open_dataset(opened.config.dataset)
    what, steps, notes = _steps_to_test(opened, dataset, augmentation, transform)
    if not json:
        say(f"testing {what} on {run}")
    try:
        with rich_progress("scoring scans") as progress:
            found = measure_preservation(
                opened, dataset, steps, samples=samples, seed=seed, draws=draws, progress=progress
            )
    except KeyboardInterrupt:
        say("stopped; nothing is kept of this test, and an earlier one is as it was")
        raise
    notes += found.notes()
    if json:
        facts = {"dataset": dataset.name, "tested": what, "notes": notes, "steps": verdicts(found, steps)}
        return print_json({**found.describe(), **facts})
    return show_preservation(found, steps, notes)


def _steps_to_test(
    run: "Run", dataset: "Dataset", augmentation: str | None, names: list[str] | None
) -> tuple[str, list["Step"], list[str]]:
    """What is tested, in words and as steps, and what is left out."""
    from medwb.augment import TRANSFORMS, Augmentation, Step, open_augmentation
    from medwb.augment.sliders import every_step, label_keeping_steps
    from medwb.config import input_shape

    if augmentation is not None and names:
        raise RequestError("--augmentation and --transform exclude one another; choose one")
    shape = input_shape(run.config, dataset)
    if names:
        chosen = Augmentation(tuple(Step(TRANSFORMS.get(name).name) for name in names))
        what = ", ".join(names)
    elif augmentation is not None or run.augmentation.active:
        chosen = run.augmentation if augmentation is None else open_augmentation(augmentation)
        what = f"the augmentation {augmentation!r}" if augmentation is not None else "the run's own augmentation"
    else:
        return "every transform as it is by default", every_step(shape), []
    steps, notes = label_keeping_steps(chosen)
    if not steps:
        raise RequestError(f"{what} has no step that can be tested; " + ("; ".join(notes) or "name another"))
    return what, steps, notes


def _shape(dataset: "Dataset", size: int | None, channels: int | None) -> tuple[int, int, int]:
    """(height, width, channels) that a network sees."""
    if channels not in (None, 1, 3):
        raise RequestError(f"--channels {channels} is not possible; use 1 or 3")
    height, width, own = dataset.image_shape
    return size or height, size or width, channels or own


def _positions(
    dataset: "Dataset", cleaning: "Cleaning | None", ids: list[str] | None, samples: int, seed: int
) -> "npt.NDArray[np.int64]":
    """Where the scans named stand in the dataset, or some of those that a run learns from."""
    import numpy as np
    import pandas as pd

    from medwb.augment.preview import learned

    if not ids:
        train = np.flatnonzero(learned(dataset, cleaning))
        return np.sort(np.random.default_rng(seed).choice(train, min(samples, len(train)), replace=False))
    names = [name.strip() for item in ids for name in item.split(",")]
    known = pd.Index(dataset.samples["id"])
    places = np.asarray(known.get_indexer(names), np.int64)
    for name, place in zip(names, places, strict=True):
        if place < 0:
            near = [key for key in known if name and name.lower() in key.lower()][:_NEAREST]
            way_out = f"did you mean {' or '.join(near)}?" if near else f"ids look like {', '.join(known[:_NEAREST])}"
            raise RequestError(f"unknown scan of {dataset.name} {name!r}; {way_out}")
    return places
