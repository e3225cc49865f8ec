"""Commands about a dataset's faults: the audit, cleanings, new splits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, command
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, rich_progress, say

if TYPE_CHECKING:
    from medwb.audit.cleaning import Cleaning
    from medwb.dataset import Dataset


@command("Audit")
def audit(
    dataset: DatasetName,
    radius: Annotated[
        float | None, typer.Option(help="How far apart signatures of near copies may lie, 0 to 2.", min=0, max=2)
    ] = None,
    similarity: Annotated[
        float | None, typer.Option(help="How alike the details of near copies must be, 0 to 1.", min=0, max=1)
    ] = None,
    mirrored: Annotated[bool, typer.Option("--mirrored", help="Mirror images are near copies too.")] = False,
    json: AsJson = False,
) -> None:
    """Find what is wrong with a dataset: copies, contradictions, leaks, label trouble, and the ceiling."""
    from medwb.audit import run_audit
    from medwb.cli.audit_report import show_audit
    from medwb.dataset import open_dataset

    opened = open_dataset(dataset)
    try:
        with rich_progress(f"auditing {dataset}", counts=False) as progress:
            found = run_audit(opened, radius=radius, similarity=similarity, mirrored=mirrored, progress=progress)
    except KeyboardInterrupt:
        say("stopped; nothing is written, and an audit from before is as it was")
        raise
    if json:
        return print_json(found.summary)
    return show_audit(found)


@command("Audit")
def clean(
    dataset: DatasetName,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", help="What to do; may repeat, each acts after the last.")
    ] = None,
    splits: Annotated[
        str | None, typer.Option(help="Splits to act on, separated by commas; by itself train.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the cleaning; by itself that of its policies.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the list of changes to this CSV file too.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the dataset's cleanings.")] = False,
    remove: Annotated[str | None, typer.Option(help="Remove the cleaning of this name.")] = None,
    json: AsJson = False,
) -> None:
    """Write a cleaning, a list of what leaves and what changes, and show before and after. Nothing is deleted.

    Without --policy, the saved cleaning that --name names is shown; without either, the policies are.
    """
    from medwb.audit import open_audit
    from medwb.audit.cleaning import (
        make_cleaning,
        open_cleaning,
        preview_cleaning,
        read_policies,
        remove_cleaning,
        save_cleaning,
    )
    from medwb.cli.audit_report import cleaning_json, show_cleaning
    from medwb.dataset import open_dataset
    from medwb.paths import write_text

    opened = open_dataset(dataset)
    if list_ or remove is not None:
        if policy or name or csv or splits or (list_ and remove is not None):
            raise RequestError("--list and --remove stand alone; leave out --policy, --splits, --name and --csv")
        if remove is None:
            return _list_cleanings(opened, json)
        remove_cleaning(opened, remove)
        if json:
            return print_json({"removed": remove})
        return say(f"cleaning {remove!r} of {dataset} is removed; the dataset was never changed")
    if not policy and name is None:
        if json:
            raise RequestError(f"no policy is named; choose: medwb clean {dataset} --policy POLICY")
        _list_policies()
        return say(f"choose: medwb clean {dataset} --policy POLICY")
    if splits and not policy:
        raise RequestError("--splits says where policies act; name one with --policy")
    found = open_audit(opened)
    if policy:
        names = read_policies("+".join(policy))
        cleaning = make_cleaning(found, names, [part.strip() for part in (splits or "train").split(",")], name)
        _say_what_is_replaced(opened, cleaning)
    else:
        cleaning = open_cleaning(opened, name or "")
    if csv is not None:
        try:
            write_text(csv, cleaning.to_csv())
        except OSError as error:
            raise RequestError(f"cannot write {csv} ({error.strerror}); give another --csv") from error
    path = save_cleaning(cleaning) if policy else None
    preview = preview_cleaning(cleaning, found)
    if json:
        return print_json(cleaning_json(cleaning, preview))
    show_cleaning(cleaning, preview)
    if path:
        say(f"written to {path}" + (f", and as a table to {csv}" if csv else ""))
    return say(f"next: medwb train {dataset} -a cnn-2 --set cleaning={cleaning.name}")


def _say_what_is_replaced(dataset: "Dataset", cleaning: "Cleaning") -> None:
    """Note when another cleaning of that name is about to go; runs that wait for it will refuse the new one."""
    from medwb.audit.cleaning import cleaning_names, open_cleaning

    if cleaning.name in cleaning_names(dataset):
        try:
            older = open_cleaning(dataset, cleaning.name)
        except RequestError:
            return
        if older.digest != cleaning.digest:
            say(f"note: this replaces the cleaning {older.name!r} of {' + '.join(older.policies)}, {older.digest}")


def _list_policies() -> None:
    from medwb.audit.cleaning import POLICIES

    rows = [[entry.name, entry.summary, ", ".join(entry.splits or ["--splits"])] for entry in POLICIES]
    print_table(["Policy", "What it does", "Acts on"], rows)


def _list_cleanings(dataset: "Dataset", json: bool) -> None:
    """Print the saved cleanings; those that do not fit the dataset any more are named on standard error."""
    from medwb.audit.cleaning import cleaning_names, open_cleaning

    found: list[Cleaning] = []
    for name in cleaning_names(dataset):
        try:
            found.append(open_cleaning(dataset, name))
        except RequestError as error:
            say(f"note: {error}")
    if json:
        return print_json([cleaning.describe() for cleaning in found])
    if not found:
        return say(f"no cleaning of {dataset.name} yet; `medwb clean {dataset.name}` lists the policies")
    rows = [
        [
            cleaning.name,
            " + ".join(cleaning.policies),
            ", ".join(cleaning.splits),
            f"{sum(cleaning.excluded.values()):,}",
            f"{sum(cleaning.relabelled.values()):,}",
            cleaning.digest,
        ]
        for cleaning in found
    ]
    return print_table(["Cleaning", "Policies", "Splits", "Samples out", "Labels changed", "Digest"], rows)


@command("Audit")
def split(
    dataset: DatasetName,
    name: Annotated[str, typer.Option(help="Name of the new dataset.")],
    split: Annotated[str, typer.Option(help="Shares of train, val, test.")] = "0.7,0.15,0.15",
    seed: Annotated[int, typer.Option(help="The same seed gives the same splits.")] = 0,
    keep_test: Annotated[
        bool | None,
        typer.Option(
            "--keep-test/--no-keep-test", help="Keep the test split; by itself where it has no known label."
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Draw new stratified splits, as a new dataset, that cut no group and no set of copies in two."""
    from medwb.audit import open_audit
    from medwb.audit.certificate import certify
    from medwb.audit.resplit import balance_table, resplit
    from medwb.cli.audit_report import show_balance
    from medwb.dataset import open_dataset
    from medwb.splits import parse_fractions

    fractions = parse_fractions(split)
    opened = open_dataset(dataset)
    copies = open_audit(opened).copies
    with rich_progress("copying scans") as progress:
        drawn = resplit(opened, copies, name, fractions, seed, keep_test=keep_test, progress=progress)
    balance, certificate = balance_table(opened, drawn), certify(drawn)
    if json:
        facts: dict[str, Any] = {"dataset": drawn.name, "from": opened.name, "fingerprint": drawn.fingerprint}
        facts["splits"] = {part: int((drawn.samples["split"] == part).sum()) for part in drawn.splits}
        facts |= {"left_out": len(opened) - len(drawn), "balance": balance.to_dict("records")}
        return print_json({**facts, "certificate": certificate.to_json()})
    show_balance(opened, drawn, balance)
    say(f"certificate: {certificate.text}")
    return say(f"next: medwb audit {name}, so that runs are certified for near copies too")
