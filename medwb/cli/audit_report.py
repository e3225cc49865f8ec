"""What the audit's commands show."""

from typing import TYPE_CHECKING, Any

from medwb.cli.shared import number_text
from medwb.terminal import print_table, say

if TYPE_CHECKING:
    import pandas as pd

    from medwb.audit import Audit
    from medwb.audit.cleaning import Cleaning
    from medwb.dataset import Dataset

_LABELS_SHOWN = 5  # more do not fit into a terminal's width


def show_audit(audit: "Audit") -> None:
    """Print a scoreboard of the checks, what they come to, the ceiling, and what to do next."""
    from medwb.audit import AREAS, CHECKS
    from medwb.paths import audits_dir

    summary = audit.summary
    name = summary["dataset"]
    rows = [
        [area if place == 0 else "", entry.title, f"{summary['checks'].get(entry.name, 0):,}", entry.summary]
        for area in AREAS
        for place, entry in enumerate(entry for entry in CHECKS if entry.area == area)
    ]
    print_table(["Area", "Check", "Issues", "What an issue means"], rows, title=f"Audit of {name}")
    print_table(["What was found", "How much", "How"], _findings(summary))
    _show_ceiling(audit)
    say(f"every issue, set, pair and frame is a table in {audits_dir() / name}")
    for step in _next_steps(summary):
        say(f"next: {step}")


def _findings(summary: dict[str, Any]) -> list[list[str]]:
    near, leaks, contradictions = summary["near"], summary["leaks"], summary["contradictions"]
    mirrored = ", mirror images too" if near["mirrored"] else ""
    how = f"radius {near['radius']:g}, similarity {near['similarity']:g}{mirrored}"
    rows = [
        ["Exact copies", _sets(summary["exact"]), ""],
        ["Near copies", _sets(near), how],
        ["Contradictions", _sets(contradictions), "copies of one picture with different labels"],
    ]
    constant = f"{leaks['constant_sets']:,} more of frames of one value, which show nothing"
    pictures = leaks["sets"] - leaks["constant_sets"]
    rows.append(["Leaking sets of copies", f"{pictures:,}", constant if leaks["constant_sets"] else ""])
    rows.append(["Leaking groups", f"{leaks['groups']:,}", "patients that stand in more than one split"])
    for split in ("val", "test"):
        part = leaks[split]
        if part["samples"]:
            how = f"{part['by_copy']:,} by a copy, {part['by_group']:,} by a group"
            touched = f"{part['touched']:,} of {part['samples']:,} ({part['share']:.1%})"
            rows.append([f"Touched in {split}", touched, how])
    return rows


def _sets(found: dict[str, int]) -> str:
    return f"{found['samples']:,} samples in {found['sets']:,} sets"


def _show_ceiling(audit: "Audit") -> None:
    """Print the best score that a function of the image can reach, and what it is for the black frames alone."""
    from medwb.audit.ceiling import split_ceilings
    from medwb.audit.contradictions import black_sets

    ceilings, names = audit.summary["ceiling"], audit.dataset.label_names
    if not ceilings:
        return say("no label is known: there is no score, and so no ceiling")
    black = split_ceilings(audit.dataset, audit.exact, among=black_sets(audit.dataset, audit.exact))
    labels = names if 1 < len(names) <= _LABELS_SHOWN else ()
    scores = {"macro_f1": "Macro F1", "average_precision": "AP", "roc_auc": "ROC AUC", "accuracy": "Accuracy"}
    rows = []
    for split, best in ceilings.items():
        rows.append([split, *_ceiling_cells(best, labels, scores)])
        if _known(black[split]["macro_f1"]) < 1:
            rows.append([f"{split}, black frames alone", *_ceiling_cells(black[split], labels, scores)])
    if all(_known(best["macro_f1"]) == 1 for best in ceilings.values()):
        return say("ceiling: no identical images contradict one another, so nothing holds scores below 1")
    headers = ["Split", *scores.values(), *(f"F1 {label}" for label in labels)]
    title = "Ceiling: the best that any model can score, since identical images get one answer"
    return print_table(headers, rows, title=title)


def _ceiling_cells(best: dict[str, Any], labels: tuple[str, ...], scores: dict[str, str]) -> list[str]:
    bound = {name: "≤ " if name in best["bound"] else "" for name in scores}
    cells = [bound[name] + number_text(best[name], ".3f") for name in scores]
    return [*cells, *(number_text(best["f1"][label], ".3f") for label in labels)]


def _known(value: float | None) -> float:
    """1 for a ceiling that is undefined: it limits nothing."""
    return 1.0 if value is None or value != value else value


def _next_steps(summary: dict[str, Any]) -> list[str]:
    name, leaks = summary["dataset"], summary["leaks"]
    steps = []
    if summary["contradictions"]["sets"]:
        steps.append(f"medwb clean {name} lists what can be done about contradictions")
    if leaks["val"]["touched"] or leaks["test"]["touched"]:
        steps.append(f"medwb split {name} --name NEW draws splits that do not leak, or")
        steps.append(f"medwb clean {name} --policy drop-leaking-train frees train of what val and test have too")
    return steps or [f"medwb train {name} -a reference"]


def cleaning_json(cleaning: "Cleaning", preview: "dict[str, pd.DataFrame]") -> dict[str, Any]:
    """The JSON of `medwb clean`: the cleaning's facts, and rows of each table of `preview_cleaning`."""
    tables = {name: table.to_dict("records") for name, table in preview.items()}
    return {"dataset": cleaning.dataset, **cleaning.describe(), "preview": tables}


def show_cleaning(cleaning: "Cleaning", preview: "dict[str, pd.DataFrame]") -> None:
    """Print what a cleaning does, before and after; rows that stay as they are are left out."""
    say(f"cleaning {cleaning.name} of {cleaning.dataset}: {' + '.join(cleaning.policies)}, digest {cleaning.digest}")
    samples = [
        [row["split"], *(f"{row[key]:,}" for key in ("before", "after", "excluded", "labels"))]
        for row in preview["samples"].to_dict("records")
    ]
    print_table(["Samples", "Before", "After", "Leave", "Labels changed"], samples)
    rows = [
        *((f"prevalence of {row['label']}, {row['split']}", row, ".1%") for row in _records(preview["prevalence"])),
        *((f"ceiling of {row['score']}, {row['split']}", row, ".3f") for row in _records(preview["ceiling"])),
        *((f"leaks: {row['what']} {row['split']}".strip(), row, ",.0f") for row in _records(preview["leaks"])),
    ]
    cells = [
        [title, number_text(row["before"], spec), number_text(row["after"], spec)]
        for title, row, spec in rows
        if number_text(row["before"], spec) != number_text(row["after"], spec)
    ]
    if cells:
        print_table(["What changes", "Before", "After"], cells)
    for note in cleaning.notes:
        say(f"note: {note}")


def show_balance(before: "Dataset", after: "Dataset", balance: "pd.DataFrame") -> None:
    """Print the new splits: sizes, and the share of positives of each label beside the one wanted."""
    rows = [
        [
            row["split"],
            f"{row['label']} positive" if row["label"] else "samples",
            f"{row['count']:,}",
            *(number_text(row[key], ".1%") for key in ("before", "wanted", "achieved")),
        ]
        for row in balance.to_dict("records")
    ]
    headers = ["Split", "What", "Count", f"In {before.name}", "Wanted", "Achieved"]
    print_table(headers, rows, title=f"New splits: {after.name}")
    left = len(before) - len(after)
    if left:
        say(f"note: {left:,} samples of train and val are left out: they share copies or a group with the kept test")
    say(f"{after.name}: no group and no set of copies, exact or near, stands in two splits")


def _records(table: "pd.DataFrame") -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
