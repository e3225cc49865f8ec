"""The command that compares runs and rows pair by pair."""

from typing import Annotated

import typer

from medwb.cli.shared import AsJson, command, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, say


@command("Results")
def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Ids of two runs or more.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Compare all rows of a dataset's table instead.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    metric: Annotated[str, typer.Option(help="What is compared: a metric, or f1:LABEL.")] = "macro_f1",
    threshold: Annotated[float, typer.Option(help="Called from this score on.", min=0, max=1)] = 0.5,
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    permutations: Annotated[
        int | None, typer.Option(help="Swaps of answers; 2,000, or 500 for many pairs.", min=100, max=1_000_000)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: AsJson = False,
) -> None:
    """Compare runs on the same samples: differences with intervals, p-values, and ties called ties."""
    if csv and json:
        raise RequestError("--csv and --json exclude one another; choose one")
    if bool(runs) == bool(dataset):
        raise RequestError("name two runs or more, or --dataset for all rows of its table")
    from medwb.comparison import compare_runs, compare_table, difference_score
    from medwb.runs import open_run
    from medwb.statistics import Score

    options = {"threshold": threshold, "draws": draws, "permutations": permutations}
    if dataset:
        found = compare_table(dataset, split, metric, **options)  # type: ignore[arg-type]
    else:
        opened = [open_run(name) for name in runs or []]
        found = compare_runs(opened, split, metric, **options)  # type: ignore[arg-type]
    if json:
        return print_json(found.to_json())
    if csv:
        return print(found.to_csv(), end="")
    groups = {
        place: "".join(chr(ord("a") + number % 26) for number, group in enumerate(found.groups) if place in group)
        for place in range(len(found.rows))
    }
    best = {cells["b"]: cells for cells in found.best.to_dict("records")}
    lines = []
    for place, cells in enumerate(found.rows.to_dict("records")):
        row = [cells["name"], str(cells["runs"])]
        row.append(str(Score(cells["score"], cells["score_low"], cells["score_high"])))
        if place:
            pair = best[place]
            row += [_signed(difference_score(pair)), number_text(pair["p_holm"], ".2g"), pair["verdict"]]  # type: ignore[arg-type]
        else:
            row += ["", "", ""]
        lines.append([*row, groups[place]])
    headers = ["Row", "Runs", found.title, "Best less this", "p (Holm)", "Best is", "Ties"]
    print_table(headers, lines, title=f"{found.dataset}, split {found.split}, {found.samples:,} samples")
    if len(found.labels):
        label_lines = [
            [
                cells["label"],
                _signed(difference_score(cells)),  # type: ignore[arg-type]
                *(number_text(cells[name], ".0f") for name in ("a_alone", "b_alone")),
                number_text(cells["p_holm"], ".2g"),
            ]
            for cells in found.labels.to_dict("records")
        ]
        only = [f"Only {name} right" for name in found.rows["name"]]
        print_table(["Label", "Difference of F1", *only, "p of as many right (Holm)"], label_lines)
    say(found.sentence)
    for note in found.notes:
        say(f"note: {note}")
    return None


def _signed(score: tuple[float, float, float]) -> str:
    value, low, high = score
    return "undefined" if value != value else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
