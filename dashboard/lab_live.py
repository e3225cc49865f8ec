"""Pictures that follow the slider, and the ordinary sliders that may stand in for it."""

from functools import partial
from typing import Any

import controls
import lab_labels
import lab_recipe
import pandas as pd
import streamlit as st
from lab_scans import Draws

from medwb.augment import Augmentation
from medwb.augment.panel import LAB_JS, Spans, frame, harm_text
from medwb.augment.panel import controls as step_controls
from medwb.augment.preview import Grid, Scans, left_text, preview
from medwb.augment.recipe import PROBABILITY
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.gallery import contact_sheet, enlarge

_KEY = "lab-live"
_SERIAL, _NOTE, _SETTLED = "lab-serial", "lab-note", "lab-settled"
_PICTURE = 128  # pixels a side that a picture is enlarged to where the browser does not

_component = st.components.v2.component("medwb_lab", js=LAB_JS.read_text(encoding="utf-8"))


def pictures(grid: Grid, key: str, title: str = "") -> None:
    """A grid with its captions, without controls."""
    _component(key=key, data=frame(grid, title=title, brief=True))


def grid(data: Dataset, scans: Scans, draws: Draws) -> None:
    """The picked step's sliders, and the pictures that follow them."""
    body = st.container()
    ordinary = st.toggle(
        "Plain sliders",
        key="plain",
        bind="query-params",
        help="Ordinary sliders and one picture, which changes when you let go.",
    )
    with body:
        harmful, run = lab_labels.harmful(data)
        if ordinary:
            _plain(scans, draws, harmful)
            return
        _live(scans, draws, harmful)
        if any(harmful.values()):
            st.caption(f"Red: where {controls.plain(run)} recognises a label less well.")


@st.fragment
def _live(scans: Scans, draws: Draws, harmful: Spans) -> None:
    """The picked step's sliders above the grid; while one moves, only this is drawn again."""
    recipe = lab_recipe.current()
    step = recipe.steps[lab_recipe.number()] if recipe.steps else None
    _component(
        key=_KEY,
        data=frame(
            preview(scans, recipe, *draws),
            serial=st.session_state.get(_SERIAL, 0),
            panel=_panel(recipe),
            title=f"{lab_recipe.number() + 1}. {step.entry.title}: {step.entry.summary}" if step else "",
            controls=step_controls(step, harmful) if step else [],
            note=st.session_state.pop(_NOTE, ""),
        ),
        on_request_change=_take,
    )
    if st.session_state.pop(_SETTLED, False):
        st.rerun()


def _panel(recipe: Augmentation) -> str:
    """What the controls belong to: a request for another step came too late."""
    return f"{lab_recipe.number()} {recipe.steps[lab_recipe.number()].transform}" if recipe.steps else ""


def _take() -> None:
    """Take what the slider sends."""
    request: dict[str, Any] = st.session_state[_KEY].get("request") or {}
    if request.get("panel") != _panel(lab_recipe.current()):
        return
    st.session_state[_SERIAL], st.session_state[_SETTLED] = request["serial"], request["settled"]
    try:
        lab_recipe.set_step(lab_recipe.number(), request["values"])
    except RequestError as error:
        st.session_state[_NOTE] = str(error)


def _plain(scans: Scans, draws: Draws, harmful: Spans) -> None:
    """The same with ordinary sliders and pictures."""
    recipe, here = lab_recipe.current(), lab_recipe.number()
    if recipe.steps:
        step = recipe.steps[here]
        st.write(f"**{here + 1}\\. {step.entry.title}** · {controls.plain(step.entry.summary)}")
        columns = st.columns(3)
        entry = step.entry
        names = [*(param.name for param in entry.params), *(choice.name for choice in entry.choices), "p"]
        for position, name in enumerate(names):
            key = f"lab-{here}-{step.transform}-{name}"
            with columns[position % len(columns)]:
                controls.setting_input(step, name, key, lab_recipe.attempt(partial(_set, here, name, key)))
                if spans := harmful.get(name):
                    param = PROBABILITY if name == PROBABILITY.name else entry.param(name)
                    st.caption(f":material/warning: {controls.plain(harm_text(spans, param))}")
    _sheet(preview(scans, recipe, *draws))


def _set(here: int, name: str, key: str) -> None:
    lab_recipe.set_step(here, {name: st.session_state[key]})


def _sheet(grid: Grid) -> None:
    """A grid as one picture, and in words."""
    cells = grid.cells
    rows, columns, height, width, channels = cells.shape
    scale = max(1, _PICTURE // max(height, width))
    flat = cells.reshape(rows * columns, height, width, channels)
    st.image(
        contact_sheet(enlarge(flat, scale), columns, gap=6, background=255),
        output_format="PNG",
        alt=f"{rows} scans, each as it is and in {columns - 1} epochs",
    )
    shares = grid.kept
    words = {
        f"Epoch {epoch}": [_said(*cell) for cell in zip((row[n] for row in grid.captions), shares[:, n], strict=True)]
        for n, epoch in enumerate(grid.epochs)
    }
    st.dataframe(pd.DataFrame({"Scan": list(grid.scans.ids)} | words), hide_index=True, height="content")


def _said(text: str, kept: float) -> str:
    return "; ".join(part for part in (text, left_text(kept)) if part)
