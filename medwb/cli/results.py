"""Commands about results: tables, submissions, the dashboard."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, command, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, say

_LABELS_SHOWN = 5  # more do not fit into a terminal's width


@command("Results")
def table(
    dataset: DatasetName,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    draws: Annotated[int, typer.Option(help="Bootstrap replicates.", min=100, max=100_000)] = 1000,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    json: AsJson = False,
) -> None:
    """Print the per-architecture F1 table, every score with its 95 % interval."""
    from medwb.table import AGREEING, SCORE_TITLES, f1_table

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
    averages = ["macro_f1", "roc_auc", *([AGREEING] if scores.contradictory else [])]
    shown = [*(f"f1:{label}" for label in labels), *averages]
    titles = [*(f"F1 {label}" for label in labels), *(SCORE_TITLES[name] for name in averages)]
    rows = [
        [
            f"{cells['title']} {cells['settings']}".strip() + (" (collapsed)" if cells["collapsed"] else ""),
            str(cells["runs"]),
            *(str(scores.score(row, column)) for column in shown),
            number_text(cells["reference_score"]),
        ]
        for row, cells in enumerate(scores.rows.to_dict("records"))
    ]
    if scores.capped:
        rows.append(["Ceiling", "", *map(scores.ceiling_text, shown), ""])
    headers = ["Architecture", "Runs", *titles, "Reference F1"]
    print_table(headers, rows, title=f"{scores.dataset}, split {split}, 95 % intervals")
    if not labels:
        say(f"note: --csv, --json and --markdown show the F1 of each of the {len(scores.label_names)} labels")
    for note in scores.notes:
        say(f"note: {note}")
    return None


@command("Results")
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
