"""Commands that hand something in: answers for new scans, submissions, models."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medwb.cli.shared import AsJson, DatasetName, RunId, command
from medwb.errors import RequestError
from medwb.progress import Progress
from medwb.terminal import print_json, print_table, rich_progress, say

if TYPE_CHECKING:
    from medwb.submission import CheckResult, Expected, KeptSubmission, Submission

Thresholds = Annotated[
    list[str] | None,
    typer.Option("--threshold", help="0.5 for all labels, or LABEL=0.5; may repeat. Else the run's own."),
]

_PROBLEMS_SHOWN = 20
_PATIENCE_S = 1.0  # work that is shorter needs no bar


@command("Results")
def submit(
    run: RunId,
    sample: Annotated[Path, typer.Option(help="The sample submission to fit.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    threshold: Thresholds = None,
    json: AsJson = False,
) -> None:
    """Write a submission that fits its sample, and say what it should score and what changed since earlier ones."""
    from medwb.decisions import parse_thresholds
    from medwb.runs import open_run
    from medwb.submission import check_out, draft_submission, finish_submission, list_submissions

    check_out(out, sample)
    opened = open_run(run)
    draft = draft_submission(opened, sample, thresholds=parse_thresholds(threshold or [], opened.label_names))
    if draft.problem is not None:
        _show_checks(draft.checks)
        raise draft.problem
    earlier = next(iter(list_submissions(opened.config.dataset)[0]), None)
    submission = finish_submission(draft, out)
    changed, problem = _changed(submission, earlier)
    positives = {label: int(submission.table[label].sum()) for label in submission.thresholds}
    if json:
        facts = {"out": str(out), "rows": len(submission.table), "positives": positives}
        facts |= {"thresholds": submission.thresholds, "rule": submission.rule, "notes": submission.notes}
        facts["checks"] = [check._asdict() for check in submission.checks]
        facts["expected"] = submission.expected.to_json()
        facts["changes"] = changed and {"since": earlier.name if earlier else None, **changed.to_json()}
        facts["kept"] = str(submission.kept.path) if submission.kept else None
        return print_json(facts)
    _show_checks(submission.checks)
    say(f"{out}: {len(submission.table):,} rows")
    for label, value in submission.thresholds.items():
        say(f"  {label}: {positives[label]:,} positive, threshold {value:.3f}")
    say(f"thresholds: {submission.rule}")
    _show_expected(submission.expected)
    if earlier is not None:
        say(f"against {earlier.name}: {changed or problem}")
        for row in changed.labels.to_dict("records") if changed else []:
            flips = f"{row['to_positive']:,} to positive, {row['to_negative']:,} to negative"
            say(f"  {row['label']}: {flips} ({row['share']:.1%})")
    if submission.kept is not None:
        say(f"a copy is kept: {submission.kept.path}")
    for note in submission.notes:
        say(f"note: {note}")
    return None


def _changed(submission: "Submission", earlier: "KeptSubmission | None") -> tuple[Any, str]:
    """What changed since an earlier submission, or why that cannot be said."""
    from medwb.submission import changes

    if earlier is None:
        return None, ""
    try:
        return changes(submission.table, earlier.table), ""
    except RequestError as error:
        return None, str(error)


def _show_checks(checks: "list[CheckResult]") -> None:
    words = {True: "ok", False: "WRONG", None: "-"}
    for check in checks:
        say(f"{words[check.passed]:>5}  {check.name}: {check.detail}")


def _show_expected(expected: "Expected") -> None:
    from medwb.submission import EXPECTED_TITLES

    fitted = " (cross-fitted)" if expected.same else ""
    say(f"expected from {expected.samples:,} scans of validation, {expected.units:,} units{fitted}:")
    for name, title in EXPECTED_TITLES.items():
        same, limit = expected.same.get(name), expected.ceiling.get(name)
        more = f", {same:.3f} on the samples that the thresholds were tuned on" if same is not None else ""
        more += f", at most {limit:.3f} for any model" if limit is not None else ""
        say(f"  {title}: {expected.scores[name]}{more}")


@command("Results")
def submissions(dataset: DatasetName, json: AsJson = False) -> None:
    """List the submissions that were written, the newest first, each with what changed since the one before."""
    from medwb.dataset import open_dataset
    from medwb.submission import changes, list_submissions

    found, problems = list_submissions(dataset)
    for problem in problems:
        say(f"note: {problem}")
    rows: list[dict[str, Any]] = []
    for place, one in enumerate(found):
        since: Any = None
        try:
            since = changes(one.table, found[place + 1].table) if place + 1 < len(found) else None
        except RequestError as error:
            say(f"note: {error}")
        changed = {"ids": since.ids, "changed": since.changed} if since else None
        rows.append({"name": one.name, "path": str(one.path), "changes": changed, **one.record})
    if json:
        return print_json(rows)
    if not rows:
        open_dataset(dataset)  # raises for a name that is misspelt
        return say(f"no submission of {dataset} yet; `medwb submit` writes one")
    cells = []
    for row, one in zip(rows, found, strict=True):
        score = one.expected_macro_f1
        low, high = score["low"], score["high"]
        expected = "–" if score["value"] is None else f"{score['value']:.3f}"
        expected += f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
        changed = row["changes"]
        flips = f"{changed['changed']:,} of {changed['ids']:,} ids" if changed else "–"
        cells.append([one.name, expected, f"{one.record['rows']:,}", flips, str(one.record.get("rule", ""))])
    return print_table(["Submission", "Expected macro F1", "Rows", "Changed", "Thresholds"], cells)


@command("Results")
def predict(
    run: RunId,
    paths: Annotated[list[str], typer.Argument(help="Image files, folders and zips.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the answers to this file.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Give each label's score too.")] = False,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Give scores as calibrated on validation.")
    ] = False,
    threshold: Thresholds = None,
    json: AsJson = False,
) -> None:
    """Answer image files with a run's network, prepared as the scans that it learned from."""
    from medwb.decisions import parse_thresholds
    from medwb.paths import write_text
    from medwb.predict import predict as answer
    from medwb.runs import open_run

    opened = open_run(run)
    if csv is not None:
        _check_place(csv)
    chosen = parse_thresholds(threshold or [], opened.label_names)
    with _patient_progress("answering") as progress:
        found = answer(opened, paths, thresholds=chosen, calibrated=calibrated, progress=progress)
    if csv is not None:
        try:
            write_text(csv, found.to_csv(scores=scores))
        except OSError as error:
            raise RequestError(f"{csv} cannot be written ({error.strerror or error}); choose another file") from error
    if json:
        print_json(found.to_json())
    elif csv is None:
        print(found.to_csv(scores=scores), end="")
    for problem in found.problems[:_PROBLEMS_SHOWN]:
        say(f"no answer: {problem.path}: {problem.reason}")
    if len(found.problems) > _PROBLEMS_SHOWN:
        say(f"no answer: {len(found.problems) - _PROBLEMS_SHOWN:,} more files")
    for note in found.notes:
        say(f"note: {note}")
    left = f", {len(found.problems):,} without an answer" if found.problems else ""
    say(
        f"{len(found.paths):,} scans answered{left}; {found.images_per_second:,.0f} a second; "
        f"thresholds: {found.decision.rule}"
    )


@command("Results")
def export(
    run: RunId,
    format: Annotated[str, typer.Option(help="onnx, keras or tflite.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN.onnx and so on by itself.")] = None,
    json: AsJson = False,
) -> None:
    """Write a run's network as a file, with all that its user must know, once it has given the run's answers."""
    from medwb.export import export_model
    from medwb.runs import open_run

    exported = export_model(open_run(run), format, out)
    if json:
        return print_json(exported.metadata)
    check = exported.metadata["check"]
    say(f"{exported.path}: {exported.metadata['bytes'] / 1e6:,.1f} MB")
    say(f"  the run's answers on {check['scans']:,} scans of {check['split']}, within {check['max_difference']:.2g}")
    return say(f"  {exported.metadata_path.name}: labels, thresholds, preprocessing, hashes")


def _check_place(out: Path) -> None:
    """Raise RequestError where a file cannot be written, before anything is computed."""
    try:
        if out.is_dir() or not out.resolve().parent.is_dir():
            raise RequestError(f"--csv {out} is a folder, or in one that is not there; name a file to write")
    except OSError as error:  # a name that is too long
        raise RequestError(f"--csv {out} cannot be written ({error.strerror or error})") from error


@contextmanager
def _patient_progress(description: str) -> Iterator[Progress]:
    """A bar for work of more than a second."""
    started = monotonic()
    bar: list[Progress] = []
    with ExitStack() as stack:

        def progress(done: int, total: int) -> None:
            if not bar and monotonic() - started > _PATIENCE_S and done < total:
                bar.append(stack.enter_context(rich_progress(description)))
            for show in bar:
                show(done, total)

        yield progress
