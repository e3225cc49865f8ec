"""The command that shows where a run is wrong."""

from typing import Annotated

import typer

from medwb.cli.shared import AsJson, RunId, command, count_text, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, say


@command("Results")
def errors(
    run: RunId,
    label: Annotated[
        str | None, typer.Option(help="One label, with its worst errors; all of them otherwise.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Called from this score on; otherwise the run's own.", min=0, max=1)
    ] = None,
    split: Annotated[str, typer.Option(help="val, train or test; a look at test is recorded in the run.")] = "val",
    count: Annotated[int, typer.Option(help="Scans that are listed.", min=0)] = 10,
    csv: Annotated[bool, typer.Option("--csv", help="Print every sample's outcome as CSV.")] = False,
    json: AsJson = False,
) -> None:
    """Show where a run is wrong: confusion counts with intervals, the most confident errors, the hardest scans."""
    if csv and json:
        raise RequestError("--csv and --json exclude one another; choose one")
    import pandas as pd

    from medwb.dataset import open_dataset
    from medwb.looks import record_look
    from medwb.outcomes import KINDS, confusion, gallery, hardest_scans, outcome_table, outcomes_of
    from medwb.runs import open_run

    opened = open_run(run)
    found = outcomes_of(opened, open_dataset(opened.config.dataset), split)
    labels = list(found.label_names) if label is None else [found.label_names[found.place(label)]]
    if split == "test":
        record_look([opened], "errors")
    if csv:
        tables = [outcome_table(found, name, threshold) for name in labels]
        return print(pd.concat(tables, ignore_index=True).to_csv(index=False), end="")
    counted = [confusion(found, name, threshold) for name in labels]
    hardest = hardest_scans([found]).head(count)
    worst: dict[str, list[dict[str, object]]] = {}
    if label is not None:
        place = found.place(label)
        for kind in ("false_positive", "false_negative"):
            rows, _ = gallery(found, label, counted[0].threshold, kind, "surest", count)
            worst[kind] = [
                {"id": str(found.ids[row]), "score": float(found.y_score[row, place])} for row in rows.tolist()
            ]
    rule = "chosen by hand" if threshold is not None else found.rule
    if json:
        listed = hardest[["id", "loss", "wrong", "worst"]].to_dict("records")
        facts = {"run": run, "split": split, "samples": len(found), "thresholds": rule}
        return print_json({**facts, "labels": [one.to_json() for one in counted], **worst, "hardest": listed})
    lines = []
    for one in counted:
        cells = [one.label, number_text(one.threshold, ".4f"), *map(count_text, one.counts), count_text(one.unknown)]
        lines.append([*cells, *(str(one.scores[name]) for name in ("f1", "recall", "precision", "error"))])
    headers = ["Label", "Threshold", "TP", "FP", "FN", "TN", "Unknown", "F1", "Recall", "Precision", "Wrong"]
    print_table(headers, lines, title=f"{run} on {split}, {len(found):,} samples, 95 % intervals")
    for kind, scans in worst.items():
        listing = [[str(scan["id"]), f"{scan['score']:.4f}"] for scan in scans]
        print_table(["Id", "Score"], listing, title=f"{KINDS[kind]} of {label}, the most confident first")
    if label is None and count:
        hard = [
            [row["id"], f"{row['loss']:.3f}", f"{row['wrong']:.0f} of {row['known']}", row["worst"]]
            for row in hardest.to_dict("records")
        ]
        print_table(["Id", "Mean log loss", "Wrong labels", "Worst"], hard, title="Hardest scans")
    return say(f"thresholds: {rule}")
