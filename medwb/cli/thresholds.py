"""Commands that choose thresholds and calibrate scores, both on validation."""

from typing import TYPE_CHECKING, Annotated

import typer

from medwb.cli.shared import AsJson, RunId, command, number_text
from medwb.errors import RequestError
from medwb.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from medwb.calibration import Calibration
    from medwb.runs import Run
    from medwb.thresholds import Thresholds

_NO_CALIBRATION = "none"


@command("Results")
def thresholds(
    run: RunId,
    rule: Annotated[str | None, typer.Option(help="How to choose them; without it, all rules are compared.")] = None,
    target: Annotated[float | None, typer.Option(help="Sensitivity, precision, cost or threshold wanted.")] = None,
    otherwise: Annotated[str | None, typer.Option(help="The rule for labels where that cannot be met.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Use the run with these from now on.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Go back to the best F1 on validation.")] = False,
    json: AsJson = False,
) -> None:
    """Choose a threshold for each label on validation, and show by how much that makes its scores too good."""
    from medwb.runs import open_run
    from medwb.thresholds import cross_fit_thresholds, remove_thresholds, save_thresholds
    from medwb.validation import validation_of

    opened = open_run(run)
    if rule is None and (save or target is not None or otherwise is not None):
        raise RequestError("--save, --target and --otherwise belong to a rule; name one with --rule")
    if remove:
        if rule is not None:
            raise RequestError("--remove stands alone; leave out --rule")
        removed = remove_thresholds(opened)
        if json:
            return print_json({"run": run, "removed": removed})
        return say(f"{run} is used with the best F1 on validation" + ("" if removed else ", as before"))
    answers = validation_of(opened)
    if rule is None:
        return _compare_rules(opened, json)
    found = cross_fit_thresholds(answers, rule, target, otherwise)
    if save:
        save_thresholds(opened, found)
    if json:
        return print_json({"run": run, "saved": save, **found.to_json()})
    _show_thresholds(found)
    if save:
        return say(f"saved: {run} is used with these thresholds from now on")
    return say(f"--save keeps them; {_in_use(opened)}")


def _compare_rules(run: "Run", json: bool) -> None:
    from medwb.thresholds import THRESHOLD_RULES, cross_fit_thresholds
    from medwb.validation import validation_of

    answers = validation_of(run)
    found = [cross_fit_thresholds(answers, name) for name in THRESHOLD_RULES.names()]
    if json:
        return print_json({"run": run.id, "in_use": _in_use(run), "rules": [one.to_json() for one in found]})
    rows = []
    for one in found:
        entry = THRESHOLD_RULES.get(one.rule)
        missing = f" ({len(one.missing)} of {len(one.label_names)} labels not reached)" if one.missing else ""
        f1 = [str(one.score(kind)) for kind in ("tuned", "cross_fitted", "optimism")]
        aim = "" if entry.aim.name == "f1" else f"{entry.aim.title} {one.score('cross_fitted', entry.aim.name)}"
        rows.append([entry.name, number_text(one.target), *f1, aim + missing])
    headers = ["Rule", "Target", "Macro F1, tuned", "Cross-fitted", "Optimism", "What it is after, cross-fitted"]
    print_table(headers, rows, title=f"Thresholds of {run.id} on validation, 95 % intervals")
    return say(f"{_in_use(run)}; `medwb thresholds {run.id} --rule RULE` shows each label, --save keeps them")


def _in_use(run: "Run") -> str:
    """Which thresholds a run is used with; where the file cannot be read, why."""
    from medwb.thresholds import used_thresholds

    try:
        return f"in use: {used_thresholds(run)[1]}"
    except RequestError as error:
        return str(error)


def _show_thresholds(found: "Thresholds") -> None:
    from medwb.thresholds import THRESHOLD_RULES

    entry = THRESHOLD_RULES.get(found.rule)
    kinds = {"tuned": ", tuned", "cross_fitted": ", cross-fitted", "optimism": ", optimism"}
    columns = {(kind, entry.aim.name): f"{entry.aim.title}{text}" for kind, text in kinds.items()}
    columns.setdefault(("cross_fitted", "f1"), "F1, cross-fitted")
    rows = []
    for name, value in [*found.by_label.items(), ("", float("nan"))]:
        scores = [str(found.score(kind, aim, name)) for kind, aim in columns]
        rows.append([name or "Mean", number_text(value, ".4f"), *scores])
    headers = ["Label", "Threshold", *columns.values()]
    wanted = "" if entry.param is None else f" {found.target:g}"
    print_table(headers, rows, title=f"{entry.title}{wanted}, tuned on validation, 95 % intervals")
    say(found.sentence)
    for note in found.notes:
        say(f"note: {note}")


@command("Results")
def calibrate(
    run: RunId,
    method: Annotated[
        str | None,
        typer.Option(help="temperature, temperature-per-label, isotonic or none; without it, all are compared."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Fit calibrated scores on validation and use the run with them, or compare the methods."""
    from medwb.calibration import CALIBRATIONS, cross_fit_calibration, remove_calibration, save_calibration
    from medwb.errors import unknown_name
    from medwb.runs import open_run
    from medwb.validation import validation_of

    opened = open_run(run)
    if method == _NO_CALIBRATION:
        removed = remove_calibration(opened)
        if json:
            return print_json({"run": run, "method": _NO_CALIBRATION, "removed": removed})
        return say(f"{run} is used with its scores as they are" + ("" if removed else ", as before"))
    if method is not None and method not in CALIBRATIONS.names():
        raise unknown_name("calibration method", method, [*CALIBRATIONS.names(), _NO_CALIBRATION])
    answers = validation_of(opened)
    if method is None:
        found = [cross_fit_calibration(answers, name) for name in CALIBRATIONS.names()]
        if json:
            return print_json({"run": run, "methods": [one.to_json() for one in found]})
        rows = [[one.method, *_calibration_cells(one, "")] for one in found]
        print_table(["Method", *_calibration_headers()], rows, title=f"{run} on validation, means over labels")
        return say(f"{_calibration_in_use(opened)}; `medwb calibrate {run} --method METHOD` keeps one")
    calibration = cross_fit_calibration(answers, method)
    save_calibration(opened, calibration)
    if json:
        return print_json({"run": run, "saved": True, **calibration.to_json()})
    rows = [[name or "Mean", *_calibration_cells(calibration, name)] for name in (*calibration.label_names, "")]
    title = f"{CALIBRATIONS.get(method).title}, fitted on validation, 95 % intervals"
    print_table(["Label", *_calibration_headers()], rows, title=title)
    for note in calibration.notes:
        say(f"note: {note}")
    return say(f"saved: {run} is used with calibrated scores from now on; --method none goes back")


def _calibration_headers() -> list[str]:
    from medwb.calibration import SCORE_TITLES

    return [f"{title}{what}" for title in SCORE_TITLES.values() for what in (" before", ", cross-fitted", ", gain")]


def _calibration_cells(found: "Calibration", label: str) -> list[str]:
    from medwb.calibration import KINDS, SCORE_TITLES

    return [str(found.score(kind, score, label)) for score in SCORE_TITLES for kind in KINDS]


def _calibration_in_use(run: "Run") -> str:
    from medwb.calibration import open_calibration

    try:
        saved = open_calibration(run)
    except RequestError as error:
        return str(error)
    return f"in use: {saved.method if saved else 'scores as they are'}"
