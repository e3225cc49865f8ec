"""The recipe as a list of steps, and what can be done with it: add, move, switch off, load, save, train."""

import controls
import lab_recipe
import streamlit as st
from lab_scans import SEEN

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, augmentation_names, open_augmentation
from medwb.augment.panel import summary
from medwb.config import RunConfig
from medwb.errors import RequestError

_DEFAULTS = RunConfig.model_fields
_FAMILIES = {
    "geometry": "moves pixels",
    "tone": "changes grey levels",
    "holes": "cuts out",
    "pixels": "changes pixels",
    "mix": "mixes two scans",
}


def bar() -> None:
    """Load, save, exchange as files, train with it."""
    recipe, known = lab_recipe.current(), lab_recipe.known_name()
    row = st.container(horizontal=True, vertical_alignment="bottom")
    row.selectbox(
        "Recipe",
        augmentation_names(),
        None,
        placeholder=_title(known),
        key="lab-load",
        on_change=_load,
        width=280,
        help="Load a preset or a saved recipe.",
    )
    with row.popover("Save", icon=":material/save:"):
        _save_form(recipe)
    with row.popover("File", icon=":material/description:"):
        _files(recipe, known)
    if row.button(
        "Train with it",
        key="lab-train",
        icon=":material/model_training:",
        disabled=known is None or not recipe.active,
        help="Opens Train with this recipe, size, channels and cleaning."
        if known
        else "Save it first: a run takes a recipe by its name.",
    ):
        st.session_state[controls.config_key("augmentation")] = known
        for name in SEEN:
            st.session_state[controls.config_key(name)] = st.session_state.get(name, _DEFAULTS[name].default)
        st.switch_page("app_pages/04_train.py", query_params={})  # without it, what inputs wrote there is an error
    if recipe.about:
        st.caption(controls.plain(recipe.about))


def _title(known: str | None) -> str:
    name = lab_recipe.name()
    return known or (f"{name}, changed" if name else "not saved")


def _load() -> None:
    lab_recipe.load(st.session_state["lab-load"])
    st.session_state["lab-load"] = None


def _save_form(recipe: Augmentation) -> None:
    name = lab_recipe.name()
    name = st.text_input(
        "Name", "" if name in PRESETS else name, key="lab-save-name", placeholder="letters and digits"
    )
    about = st.text_area("What it is for", recipe.about, key="lab-save-about", height=100)
    taken = name in augmentation_names() and name not in PRESETS and not _same(name, recipe)
    agreed = taken and st.checkbox(f"Replace the saved {controls.plain(name)}", key="lab-replace")
    st.button(
        "Save",
        type="primary",
        key="lab-save",
        disabled=not name or (taken and not agreed),
        on_click=lab_recipe.save,
        args=(name, about, bool(agreed)),
    )
    if taken and not agreed:
        st.caption("A recipe of that name is there, with other steps.")


def _same(name: str, recipe: Augmentation) -> bool:
    try:
        return open_augmentation(name).steps == recipe.steps
    except RequestError:
        return False


def _files(recipe: Augmentation, known: str | None) -> None:
    st.download_button(
        "Download YAML",
        recipe.to_yaml(),
        f"{lab_recipe.name() or 'recipe'}.yaml",
        "application/yaml",
        key="lab-download",
        on_click="ignore",
        icon=":material/download:",
        width="stretch",
    )
    st.file_uploader(
        "Load YAML",
        ["yaml", "yml"],
        max_upload_size=1,
        key="lab-upload",
        on_change=lab_recipe.upload,
        args=("lab-upload",),
    )
    if known and known not in PRESETS:
        st.button(
            f"Remove the saved {controls.plain(known)}",
            key="lab-remove-saved",
            on_click=lab_recipe.remove,
            args=(known,),
            icon=":material/delete:",
            width="stretch",
        )


def steps() -> None:
    """The steps to pick from, and what can be done with the picked one."""
    recipe = lab_recipe.current()
    if recipe.steps:
        st.session_state["lab-pick"] = lab_recipe.number()
        st.radio(
            "Steps, first to last",
            range(len(recipe.steps)),
            format_func=lambda place: _step_title(recipe, place),
            key="lab-pick",
            on_change=lambda: lab_recipe.pick(st.session_state["lab-pick"]),
        )
        _tools(recipe)
    else:
        st.info(
            "No step yet: scans reach the network as they are. Add a transform, or load a recipe.",
            icon=":material/layers:",
        )
    st.selectbox(
        "Add a transform",
        TRANSFORMS.names(),
        None,
        format_func=_transform_title,
        placeholder="by what it does",
        key="lab-add",
        on_change=_add,
    )


def _step_title(recipe: Augmentation, place: int) -> str:
    step = recipe.steps[place]
    title = f"{place + 1}\\. {step.entry.title}"
    return f"{title} :small[:gray[{controls.plain(summary(step))}]]" if step.enabled else f"~~{title}~~ off"


def _transform_title(name: str) -> str:
    entry = TRANSFORMS.get(name)
    return f"{entry.title} · {_FAMILIES[entry.family]}"


def _add() -> None:
    lab_recipe.add(st.session_state["lab-add"])
    st.session_state["lab-add"] = None


def _tools(recipe: Augmentation) -> None:
    here, last = lab_recipe.number(), len(recipe.steps) - 1
    enabled = recipe.steps[here].enabled
    row = st.container(horizontal=True, gap="xxsmall")
    tools = (
        ("up", "arrow_upward", "Earlier", lab_recipe.move, (-1,), here == 0),
        ("down", "arrow_downward", "Later", lab_recipe.move, (1,), here == last),
        (
            "switch",
            "visibility_off" if enabled else "visibility",
            "Off" if enabled else "On",
            lab_recipe.switch,
            (),
            False,
        ),
        ("duplicate", "content_copy", "Duplicate", lab_recipe.duplicate, (), False),
        ("reset", "restart_alt", "Back to its defaults", lab_recipe.reset, (), False),
        ("remove", "delete", "Remove", lab_recipe.remove_step, (), False),
    )
    for key, icon, text, action, arguments, disabled in tools:
        row.button(
            f":material/{icon}:", key=f"lab-{key}", help=text, on_click=action, args=arguments, disabled=disabled
        )
