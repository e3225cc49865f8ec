"""The command that shows which pixels a network's answers rest on."""

from pathlib import Path
from typing import Annotated

import typer

from medwb.cli.shared import AsJson, RunId, command, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, rich_progress, say


@command("Results")
def explain(
    run: RunId,
    samples: Annotated[list[str] | None, typer.Option("--samples", help="Id of a scan; may repeat.")] = None,
    hardest: Annotated[
        int | None, typer.Option(help="The scans with the worst scores; 8 by itself.", min=1, max=512)
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Of grad-cam, integrated-gradients and occlusion, with commas.")
    ] = "grad-cam",
    label: Annotated[str | None, typer.Option(help="What is explained; every label by itself.")] = None,
    split: Annotated[str, typer.Option(help="Where the hardest are looked for: train, val or test.")] = "val",
    out: Annotated[Path | None, typer.Option(help="Draw the maps of --label into this PNG.")] = None,
    json: AsJson = False,
) -> None:
    """Show which pixels a run's answers rest on, and whether that comes from what it learned."""
    if samples and hardest is not None:
        raise RequestError("--samples and --hardest exclude one another; choose one")
    if out is not None:
        if label is None:
            raise RequestError("--out draws the maps of one label; name it with --label")
        if out.suffix.lower() != ".png" or out.is_dir() or not out.absolute().parent.is_dir():
            raise RequestError(f"--out {out} must be a .png in a folder that is there")
    from medwb import looks, saliency
    from medwb.inspection import head_of
    from medwb.runs import open_run
    from medwb.saliency_methods import STAGES

    opened = open_run(run)
    labels = [label] if label is not None else list(opened.label_names)
    for name in labels:
        head_of(opened, name)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names:
        raise RequestError("--methods names none; known: grad-cam, integrated-gradients, occlusion")
    wanted = {name: samples or saliency.hardest(opened, split, name, hardest or 8) for name in labels}
    if not samples and split == "test":
        looks.record_look([opened], "explained its hardest scans")
    with rich_progress("explaining", counts=False) as progress:
        found = saliency.explain(opened, wanted, names, progress=progress)
    if out is not None:
        _draw(out, saliency.sheet(opened, found))
    rows = saliency.summary(opened, found)
    if json:
        return print_json({"run": opened.id, "maps": rows})
    cells = []
    for one, row in zip(found, rows, strict=True):
        stages = [str(one.correlation(number)) for number in range(len(STAGES))]
        cells.append([one.label, one.method, str(len(one.ids)), *stages, number_text(row["largest_gap"], ".2g")])
    titles = [stage.capitalize() for stage in STAGES]
    about = "Rank correlation of maps with those of the network re-initialised from the top down"
    print_table(["Label", "Method", "Scans", *titles, "Largest gap"], cells, title=about)
    for one in found:
        say(f"{one.label}: {one.sentence()}")
    say(f"maps are kept in {opened.path / 'saliency'}" + (f" and drawn in {out}" if out is not None else ""))
    return None


def _draw(out: Path, picture: "object") -> None:
    import numpy as np

    from medwb.paths import replacing
    from medwb.png import png

    try:
        with replacing(out) as temporary:
            temporary.write_bytes(png(np.asarray(picture, np.uint8)))
    except OSError as error:
        raise RequestError(f"--out {out} cannot be written ({error.strerror or error})") from error
