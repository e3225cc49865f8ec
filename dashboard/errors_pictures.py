"""Galleries of scans that open a scan's card, and the slider that they may follow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import loaders
import numpy as np
import numpy.typing as npt
import streamlit as st

from medwb.dataset import Dataset
from medwb.gallery import contact_sheet, data_uri, shrink

PICKED = "scan"  # in the address
_COLUMNS = 12  # of the sheet that is sent, whatever the page shows
_SERIAL, _REPLY = "errors-serial", "errors-reply"

_component = st.components.v2.component("medwb_errors", js=Path(__file__).with_name("errors.js").read_text("utf-8"))


class Shelf(NamedTuple):
    """Some scans under one heading.

    Attributes:
        title: What they are.
        count: How many there are in all, as text.
        range: More about that number, such as its interval.
        colour: Of the line above.
        positions: int64 (n,): the scans that are shown, as places in the dataset's table.
        texts: n captions, as they are.
        none: What is said where there is none.
    """

    title: str
    count: str
    range: str
    colour: str
    positions: npt.NDArray[np.int64]
    texts: Sequence[str]
    none: str = "None."


class Slider(NamedTuple):
    """A threshold that is dragged above the scans."""

    name: str
    threshold: float
    own: float
    hint: str


def shelves(
    data: Dataset,
    found: Sequence[Shelf],
    key: str,
    *,
    slider: Slider | None = None,
    panel: str = "",
    moved: Callable[[float], None] | None = None,
) -> None:
    """Draw galleries; a click on a scan puts its id into the address.

    Args:
        data: The dataset.
        found: What to show.
        key: Of the component.
        slider: Drawn above, if there is one.
        panel: What the slider belongs to: a request that was sent for another panel comes too late.
        moved: Called with a new threshold before the page is drawn again.
    """

    def take() -> None:
        request: dict[str, Any] = st.session_state[key].get("request") or {}
        st.session_state[f"{_SERIAL}-{key}"] = int(request.get("serial", 0))
        if request.get("pick"):
            st.query_params[PICKED] = str(request["pick"])
            st.session_state[_REPLY] = True
        elif moved and request.get("threshold") is not None and request.get("panel") == panel:
            moved(min(1.0, max(0.0, float(request["threshold"]))))

    _component(
        key=key,
        data=frame(data, found, slider=slider, panel=panel, serial=st.session_state.get(f"{_SERIAL}-{key}", 0)),
        on_request_change=take,
    )
    if st.session_state.pop(_REPLY, False):
        st.rerun()


def frame(
    data: Dataset, found: Sequence[Shelf], *, slider: Slider | None = None, panel: str = "", serial: int = 0
) -> dict[str, Any]:
    """What the browser draws: all scans as one picture, and their texts."""
    positions = np.concatenate([np.empty(0, np.int64), *(one.positions for one in found)]).astype(np.int64)
    ids = data.samples["id"].to_numpy(object)
    groups, start = [], 0
    for one in found:
        cells = []
        for number, (position, text) in enumerate(zip(one.positions.tolist(), one.texts, strict=True)):
            name = str(ids[position])
            hint = f"{name}\n{text}"
            cells.append({"n": start + number, "id": name, "text": text, "hint": hint})
        start += len(cells)
        words = {"title": one.title, "count": one.count, "range": one.range, "colour": one.colour, "none": one.none}
        groups.append({**words, "cells": cells})
    return {
        "serial": serial,
        "panel": panel,
        "slider": slider._asdict() if slider else None,
        "sheet": _sheet(data, positions),
        "groups": groups,
    }


def _sheet(data: Dataset, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
    if not len(positions):
        return {"address": "", "width": 1, "height": 1, "columns": 1, "rows": 1}
    images = shrink(data.images[data.rows[positions]], loaders.THUMBNAIL)
    columns = min(_COLUMNS, len(images))
    height, width = images.shape[1:3]
    sheet = contact_sheet(images, columns, gap=0)
    rows = -(-len(images) // columns)
    return {"address": data_uri(sheet), "width": width, "height": height, "columns": columns, "rows": rows}
