"""The lab's moving part: one step's controls and a grid of pictures, packed for `lab.js`.

A page and a notebook send the same bytes and get the same values back, so both need only a few lines of their own.
A frame is four bytes with the length of a JSON header (little-endian), the header, and the grid's pixels.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medwb.augment.preview import FIFTH, Grid, left_text, number_text
from medwb.augment.recipe import PROBABILITY, Step
from medwb.errors import RequestError
from medwb.images import Pixels
from medwb.params import Deal, OneOf, Param, Setting, ends

if TYPE_CHECKING:
    from medwb.augment.preservation import Preservation

LAB_JS = Path(__file__).with_name("lab.js")
"""The module that draws it: its default export is a component of Streamlit and a widget of anywidget."""

Spans = Mapping[str, Sequence[tuple[float, float]]]
"""Parts of a parameter's range, by its name, that the track shows in red."""


def label_of(name: str) -> str:
    """How a page writes the name of a parameter or a choice."""
    return name.replace("_", " ").capitalize()


def controls(step: Step, harmful: Spans | None = None) -> list[dict[str, Any]]:
    """What `lab.js` draws for a step: a slider a parameter, a menu a choice, the probability last.

    Args:
        step: The step.
        harmful: Parts of ranges to mark.

    Returns:
        JSON a control: `kind` ("number", "range", "values" or "choice"), `name`, `label`, `help`, `value`, and as it
        needs `low`, `high`, `step`, `unit`, `options`, `harmful`.
    """
    found = [
        _slider(param, step.settings[param.name], (harmful or {}).get(param.name, ())) for param in step.entry.params
    ]
    for choice in step.entry.choices:
        facts = {"kind": "choice", "name": choice.name, "label": label_of(choice.name), "help": choice.help}
        found.append(facts | {"value": step.settings[choice.name], "options": list(choice.options)})
    return [*found, {**_slider(PROBABILITY, step.p, (harmful or {}).get("p", ())), "label": "Probability"}]


def _slider(param: Param, setting: Setting | str, harmful: Sequence[tuple[float, float]]) -> dict[str, Any]:
    assert not isinstance(setting, str)
    facts: dict[str, Any] = {
        "name": param.name,
        "label": label_of(param.name),
        "help": param.help,
        "unit": param.unit,
    }
    if isinstance(setting, OneOf):
        return {"kind": "values", **facts, "value": values_text(setting)}
    facts |= {"low": param.low, "high": param.high, "step": param.step, "harmful": [list(span) for span in harmful]}
    if param.until is None:
        return {"kind": "number", **facts, "value": ends(setting)[0]}
    return {"kind": "range", **facts, "value": list(ends(setting))}


def values_text(setting: OneOf) -> str:
    """Values of which one is drawn, as a text field shows them."""
    return ", ".join(f"{value:g}" for value in setting.values)


def read_values(text: str, param: Param, way: str = "one_of") -> Setting:
    """What stands in such a text field; `way` as in a file. Raises RequestError."""
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise RequestError(f"{param.name}={text!r}: write numbers with commas between, such as 10, 25") from None
    return param.read({way: numbers})


def changed(step: Step, values: Mapping[str, Any]) -> Step:
    """A step with what its controls say; two handles in one place are one number. Raises RequestError."""
    settings = dict(step.settings)
    for param in step.entry.params:
        value = values.get(param.name)
        if isinstance(value, str):
            dealt = isinstance(settings[param.name], Deal)
            settings[param.name] = read_values(value, param, "deal" if dealt else "one_of")
        elif value is not None:
            setting = param.read(value)
            settings[param.name] = setting[0] if isinstance(setting, tuple) and setting[0] == setting[1] else setting
    for choice in step.entry.choices:
        settings[choice.name] = values.get(choice.name, settings[choice.name])
    return replace(step, settings=settings, p=values.get("p", step.p))


def setting_text(setting: Setting, param: Param) -> str:
    """What a parameter is set to: "5°", "-10° to 10°", "one of 10, 25 °" or "deals 10, 25 °"."""
    if isinstance(setting, OneOf):
        way = "deals" if isinstance(setting, Deal) else "one of"
        return f"{way} {values_text(setting)} {param.unit}".strip()
    low, high = (number_text(end, param) for end in ends(setting))
    return low if low == high else f"{low} to {high}"


def summary(step: Step) -> str:
    """A step's settings in a few words, such as "-10° to 10°, p 0.5"."""
    parts = []
    for param in step.entry.params:
        setting = step.settings[param.name]
        assert not isinstance(setting, str)
        name = f"{param.name.replace('_', ' ')} " if len(step.entry.params) > 1 else ""
        parts.append(f"{name}{setting_text(setting, param)}")
    return ", ".join([*parts, f"p {step.p:g}"])


def harm_text(spans: Sequence[tuple[float, float]], param: Param) -> str:
    """What a red part of a track means, in a sentence; "" without one. `lab.js` says the same."""
    where = " and from ".join(setting_text(span, param) for span in spans)
    return f"A trained run recognises a label less well from {where}." if spans else ""


def pack(header: Mapping[str, Any], cells: Pixels) -> bytes:
    """A frame: a JSON header, and uint8 (rows, columns, H, W, C) pixels of the grid below it."""
    rows, columns, height, width, channels = cells.shape
    shape = {"rows": rows, "columns": columns, "height": height, "width": width, "channels": channels}
    text = json.dumps({**header, "shape": shape}, allow_nan=False).encode()
    return b"".join((struct.pack("<I", len(text)), text, np.ascontiguousarray(cells).data))


def frame(
    grid: Grid,
    *,
    serial: int = 0,
    panel: str = "",
    title: str = "",
    controls: Sequence[Mapping[str, Any]] = (),
    note: str = "",
    brief: bool = False,
) -> bytes:
    """A grid with its captions, as `lab.js` takes it.

    Args:
        grid: What to show.
        serial: Number of the request that this answers; the newest wins.
        panel: What the controls belong to; they are drawn anew when it changes.
        title: Written above the controls.
        controls: As `controls` gives them.
        note: A message below them.
        brief: Whether only the share that is left is written below a picture; the rest shows when somebody points.
    """
    header = {
        "serial": serial,
        "panel": panel,
        "title": title,
        "controls": list(controls),
        "note": note,
        "brief": brief,
        "heads": ["scan", *(f"epoch {epoch}" for epoch in grid.epochs)],
        "sides": list(grid.scans.ids),
        "captions": [
            [_caption(*pair) for pair in zip(*row, strict=True)]
            for row in zip(grid.captions, grid.kept.tolist(), strict=True)
        ],
    }
    return pack(header, grid.cells)


def _caption(text: str, kept: float) -> dict[str, Any]:
    """What was drawn, what is left of the scan in words, and whether that is too little."""
    return {"text": text, "left": left_text(kept), "lost": bool(kept < FIFTH)}


def unpack(data: bytes) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
    """The header and the pixels of a frame, uint8 (rows, columns, H, W, C)."""
    (length,) = struct.unpack_from("<I", data)
    header: dict[str, Any] = json.loads(data[4 : 4 + length])
    shape = [header["shape"][key] for key in ("rows", "columns", "height", "width", "channels")]
    return header, np.frombuffer(data, np.uint8, offset=4 + length).reshape(shape)


def spans_of(found: "Preservation", step: Step) -> Spans:
    """Parts of a step's tracks where a run recognises a label less well; nothing for what was not tested.

    Args:
        found: What the run's tests found (`medwb.augment.preservation.open_preservation`).
        step: The step as it is set.
    """
    names = [*(param.name for param in step.entry.params), PROBABILITY.name]
    sweeps = {name: one for name in names if (one := found.sweep(step, name)) is not None}
    return {
        name: harmful_spans([at.value for at in one.points], [bool(at.harmed) for at in one.points])
        for name, one in sweeps.items()
    }


def harmful_spans(values: Sequence[float], harmed: Sequence[bool]) -> list[tuple[float, float]]:
    """Parts of a track to mark: from each harmful position half way to its neighbours.

    Args:
        values: Positions that were tested, in rising order.
        harmed: Whether each one is harmful.
    """
    middles = [(one + other) / 2 for one, other in pairwise(values)]
    lows, highs = [values[0], *middles], [*middles, values[-1]]
    spans: list[tuple[float, float]] = []
    for low, high, bad in zip(lows, highs, harmed, strict=True):
        if bad and spans and spans[-1][1] == low:
            spans[-1] = (spans[-1][0], high)
        elif bad:
            spans.append((low, high))
    return spans
