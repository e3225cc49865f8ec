"""How the command line shows transforms and label-preservation tests."""

from collections.abc import Sequence
from typing import Any

from medwb.augment import TRANSFORMS, Step
from medwb.augment.preservation import CAVEAT, Preservation
from medwb.augment.recipe import PROBABILITY
from medwb.params import Choice, OneOf, Param, Setting, ends, plain
from medwb.terminal import print_table, say


def transforms_json() -> list[dict[str, Any]]:
    """Every transform with its settings, as JSON holds it."""

    def number(param: Param) -> dict[str, Any]:
        facts: dict[str, Any] = {key: getattr(param, key) for key in ("name", "low", "high", "step", "unit", "help")}
        return facts | {"default": plain(param.usual), "drawn": param.until is not None}

    def choice(one: Choice) -> dict[str, Any]:
        return {"name": one.name, "options": list(one.options), "default": one.options[0], "help": one.help}

    return [
        {
            "name": entry.name,
            "family": entry.family,
            "summary": entry.summary,
            "needs_colour": entry.colour,
            "params": [number(param) for param in entry.params],
            "choices": [choice(one) for one in entry.choices],
        }
        for entry in TRANSFORMS
    ]


def show_transforms() -> None:
    """Print every transform, and below it its settings."""
    rows = []
    for entry in TRANSFORMS:
        rows.append([entry.name, "", "", "", entry.summary + (" Needs colour." if entry.colour else "")])
        for param in entry.params:
            rows.append(["", param.name, _range((param.low, param.high), param.unit), _text(param.usual), param.help])
        for one in entry.choices:
            rows.append(["", one.name, ", ".join(one.options), one.options[0], one.help])
    print_table(["Transform", "Setting", "Range", "Default", "What it does"], rows)


def verdicts(found: Preservation, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """One row a step and slider: `transform`, `param`, `unit`, what the step `draws`, the `safe` range, and the
    labels that are `harmed`, or whose AUC is `lower` than unchanged, at a position that it draws.
    """
    rows = []
    for step in steps:
        whole: Setting = (0.0, 1.0)
        units = {param.name: param.unit for param in step.entry.params} or {PROBABILITY.name: ""}
        for name, unit in units.items():
            setting = step.settings.get(name, whole)
            if (sweep := found.sweep(step, name)) is None or isinstance(setting, str):
                continue
            drawn = [point for point in sweep.points if _draws(setting, point.value)]
            harmed = {label for point in drawn for label in point.harmed}
            lower = {label for point in drawn for label in point.lower}
            safe = sweep.safe()
            rows.append(
                {
                    "transform": step.transform,
                    "param": name,
                    "unit": unit,
                    "draws": plain(setting),
                    "safe": list(safe) if safe else None,
                    "harmed": [label for label in sweep.base if label in harmed],
                    "lower": [label for label in sweep.base if label in lower],
                }
            )
    return rows


def _draws(setting: Setting, value: float) -> bool:
    """Whether a value is one of those that a setting draws."""
    if isinstance(setting, OneOf):
        return value in setting.values
    low, high = ends(setting)
    return low <= value <= high


def show_preservation(found: Preservation, steps: Sequence[Step], notes: Sequence[str]) -> None:
    """Print how far each slider may go, and what must be known."""
    rows = []
    for row in verdicts(found, steps):
        drawn = "all scans" if row["param"] == PROBABILITY.name else _text(row["draws"], row["unit"])
        safe = "nowhere" if row["safe"] is None else _range(row["safe"], row["unit"])
        lost = [", ".join(row[key]) or "none" for key in ("harmed", "lower")]
        rows.append([row["transform"], row["param"], drawn, safe, *lost])
    labels = ["Labels harmed by what is drawn", "Lower than unchanged"]
    print_table(["Transform", "Slider", "What is drawn", "Safe", *labels], rows)
    scored = max((one.samples for one in found.sweeps), default=0)
    say(f"{scored:,} validation scans, each step alone; harmed: ROC AUC below the 95 % interval without augmentation")
    say("lower than unchanged: the 95 % interval of the paired difference to the same scans unchanged is below 0")
    for note in (*notes, CAVEAT):
        say(f"note: {note}")


def _text(setting: object, unit: str = "") -> str:
    """A setting, as Params and JSON hold it."""
    if isinstance(setting, OneOf):
        setting = plain(setting)
    if isinstance(setting, dict):
        ((way, some),) = setting.items()
        return (
            f"{'one of' if way == 'one_of' else 'deals'} {', '.join(f'{value:g}' for value in some)} {unit}".strip()
        )
    return _range(setting, unit) if isinstance(setting, tuple | list) else f"{setting:g} {unit}".strip()


def _range(pair: Sequence[float], unit: str = "") -> str:
    low, high = pair
    text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return f"{text} {unit}".strip()
