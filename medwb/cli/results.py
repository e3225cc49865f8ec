"""Commands about results: tables, the dashboard."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medwb.cli.shared import AsJson, DatasetName, command
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from medwb.table import ScoreTable

_LABELS_SHOWN = 5  # more do not fit into a terminal's width


@command("Results")
def table(
    dataset: DatasetName,
    split: Annotated[str, typer.Option(help="train, val or test; a look at test is counted.")] = "val",
    columns: Annotated[
        str | None,
        typer.Option(help="Columns with commas between: macro_f1, f1, roc_auc:edema, flops, ...; all for all."),
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Put the best of this column first.")] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX (booktabs).")] = False,
    json: AsJson = False,
) -> None:
    """Print the per-architecture F1 table, every score with its 95 % interval."""
    from medwb.dataset import open_dataset
    from medwb.table import choose_columns, f1_table, sort_column

    if csv + markdown + latex + json > 1:
        raise RequestError("--csv, --markdown, --latex and --json exclude one another; choose one")
    if json and columns:
        raise RequestError("--json has all columns; leave --columns out, or take --csv")
    data = open_dataset(dataset)
    chosen = choose_columns(columns.split(","), data.label_names) if columns else None
    if sort:
        sort_column(sort, data.label_names)  # refused before seconds are spent
    scores = f1_table(data, split, draws=draws)
    scores = scores.sort(sort) if sort else scores
    if json:
        return print_json(scores.to_json())
    if csv:
        return print(scores.to_csv(chosen), end="")
    if markdown:
        return print(scores.to_markdown(chosen), end="")
    if latex:
        return print(scores.to_latex(chosen), end="")
    print_scores(scores, chosen)
    if chosen is None and len(scores.label_names) > _LABELS_SHOWN:
        labels = len(scores.label_names)
        say(f"note: --csv, --json and --markdown show the F1 of each of the {labels} labels, as --columns f1 does")
    for note in scores.notes:
        say(f"note: {note}")
    return None


def print_scores(scores: "ScoreTable", columns: list[str] | None) -> None:
    """Print a table of scores in the terminal."""
    from medwb.table import AGREEING, column_title

    if columns is None:
        labels = scores.label_names if len(scores.label_names) <= _LABELS_SHOWN else ()
        disputed = [AGREEING] if scores.contradictory else []
        columns = [*(f"f1:{label}" for label in labels), "macro_f1", "roc_auc", *disputed, "reference_score"]
    shown = [column for column in columns if column != "runs"]
    marks = [" (collapsed)" if collapsed else "" for collapsed in scores.rows["collapsed"]]
    rows = [
        [scores.name(row) + marks[row], str(scores.rows["runs"].iloc[row]), *texts]
        for row, texts in enumerate(scores.texts(shown))
    ]
    if scores.capped:
        rows.append(["Ceiling", "", *scores.ceiling_texts(shown)])
    headers = ["Architecture", "Runs", *map(column_title, shown)]
    print_table(headers, rows, title=f"{scores.dataset}, split {scores.split}, 95 % intervals")


@command("Results")
def dashboard(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "localhost",
) -> None:
    """Open the dashboard, at http://localhost:8501 unless told otherwise."""
    import os
    import subprocess

    import medwb
    from medwb.paths import home

    page = Path(medwb.__file__).parent.parent / "dashboard" / "app.py"
    if not page.is_file():
        raise RequestError(f"{page} is not there; the dashboard runs from a checkout of medwb")
    environment = {**os.environ, "MEDWB_HOME": str(home())}  # the settings in .streamlit lie in the checkout
    command = [sys.executable, "-m", "streamlit", "run", str(page)]
    options = ["--server.port", str(port), "--server.address", address, "--browser.gatherUsageStats", "false"]
    raise typer.Exit(subprocess.run([*command, *options], cwd=page.parent.parent, env=environment).returncode)
