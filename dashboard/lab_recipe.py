"""The recipe of the lab: kept in the session, written to the address, changed one step at a time.

Whatever shows it sets it through here, before the page is drawn again. An address that somebody pastes, or goes back
to, wins over the session.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import controls
import streamlit as st

from medwb.augment import (
    PRESETS,
    Augmentation,
    Step,
    augmentation_names,
    from_token,
    open_augmentation,
    remove_augmentation,
    save_augmentation,
)
from medwb.augment.panel import changed
from medwb.augment.store import read_recipe
from medwb.errors import RequestError

_RECIPE, _NAME, _STEP, _WRITTEN, _ERROR, _DONE = (
    f"lab-{key}" for key in ("recipe", "name", "step", "written", "error", "done")
)


def current() -> Augmentation:
    """The recipe at hand."""
    if _RECIPE not in st.session_state:
        first = next(iter(PRESETS))
        st.session_state[_RECIPE], st.session_state[_NAME] = PRESETS[first], first
    recipe: Augmentation = st.session_state[_RECIPE]
    return recipe


def put(recipe: Augmentation, name: str | None = None) -> None:
    """Take another recipe; `name` when it is the one of that name."""
    st.session_state[_RECIPE] = recipe
    if name is not None:
        st.session_state[_NAME] = name
    st.session_state[_STEP] = max(0, min(number(), len(recipe.steps) - 1))


def number() -> int:
    """Which step is picked, from 0."""
    return int(st.session_state.get(_STEP) or 0)


def pick(position: int) -> None:
    """Pick a step."""
    st.session_state[_STEP] = position


def read_address() -> None:
    """Take the recipe from the address where it is another than was written there; write ours to it."""
    token = st.query_params.get("recipe")
    if token and token != st.session_state.get(_WRITTEN):
        try:
            recipe = from_token(token)
            put(recipe, _name_of(recipe) or "")
        except RequestError as error:
            st.session_state[_ERROR] = str(error)
    written = current().to_token()
    if st.query_params.get("recipe") != written:
        st.query_params["recipe"] = written
    st.session_state[_WRITTEN] = written


def _name_of(recipe: Augmentation) -> str | None:
    """The ready or saved recipe that has these steps."""
    for name in augmentation_names():
        try:
            if open_augmentation(name).steps == recipe.steps:
                return name
        except RequestError:
            continue  # a damaged file is told of when somebody loads it
    return None


def name() -> str:
    """What the recipe was loaded or saved as; "" where it was not."""
    return st.session_state.get(_NAME) or ""


def known_name() -> str | None:
    """The name under which a run finds exactly this recipe; None when it has to be saved first."""
    try:
        return name() if name() and open_augmentation(name()).steps == current().steps else None
    except RequestError:
        return None


def attempt(change: Callable[..., Any]) -> Callable[..., None]:
    """A callback that keeps what is wrong with the request, for `messages` to show."""

    @wraps(change)
    def tried(*arguments: Any) -> None:
        try:
            change(*arguments)
        except RequestError as error:
            st.session_state[_ERROR] = str(error)

    return tried


def messages() -> None:
    """What the last change came to, if there is something to say."""
    if error := st.session_state.pop(_ERROR, ""):
        controls.refuse(error)
    if done := st.session_state.pop(_DONE, ""):
        st.toast(controls.plain(done), icon=":material/check:")


@attempt
def load(name: str | None) -> None:
    """Take a ready or saved recipe."""
    if name:
        put(open_augmentation(name), name)
        pick(0)


@attempt
def upload(key: str) -> None:
    """Take the recipe in an uploaded file."""
    file = st.session_state.get(key)
    if file is None:
        return
    recipe = read_recipe(file.getvalue(), file.name)
    put(recipe, _name_of(recipe) or "")
    pick(0)


@attempt
def save(name: str, about: str, replacing: bool) -> None:
    """Save the recipe under a name."""
    recipe = replace(current(), about=about.strip())
    save_augmentation(name, recipe, replace=replacing)
    put(recipe, name)
    st.session_state[_DONE] = f"Saved as {name}"


@attempt
def remove(name: str) -> None:
    """Remove a saved recipe; the steps stay on the page."""
    remove_augmentation(name)
    st.session_state[_NAME] = ""
    st.session_state[_DONE] = f"Removed {name}; its steps stay here until you load others"


@attempt
def add(transform: str | None) -> None:
    """Add a transform with its defaults: at the end, before what mixes finished scans."""
    if not transform:
        return
    step = Step(transform)
    longer = current().inserted(step)
    put(longer)
    pick(next(place for place, one in enumerate(longer.steps) if one is step))


@attempt
def move(by: int) -> None:
    """Move the picked step up (-1) or down (1)."""
    here, last = number(), len(current().steps) - 1
    put(current().moved(here, by))
    pick(min(max(here + by, 0), last))


@attempt
def duplicate() -> None:
    """Put a second one like the picked step behind it."""
    here = number()
    put(current().duplicated(here))
    pick(here + 1)


@attempt
def remove_step() -> None:
    """Take the picked step out."""
    put(current().without(number()))


@attempt
def reset() -> None:
    """Give the picked step its defaults back; the others stay."""
    step = current().steps[number()]
    put(current().with_step(number(), Step(step.transform, enabled=step.enabled)))


@attempt
def switch() -> None:
    """Switch the picked step off, or on again."""
    step = current().steps[number()]
    put(current().with_step(number(), replace(step, enabled=not step.enabled)))


def set_step(position: int, values: dict[str, Any]) -> None:
    """Set a step to what its controls say. Raises RequestError."""
    put(current().with_step(position, changed(current().steps[position], values)))
