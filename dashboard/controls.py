"""What several pages share: the dataset picker, the first steps, inputs of settings, cards and tables.

What somebody looks at is bound to the URL; half-made choices stay in the session. Text that comes from a dataset
or a file is shown by elements that do not interpret it, or goes through `plain` first.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import loaders
import pandas as pd
import streamlit as st

from medwb.architectures import ARCHITECTURES, Architecture, describe_layers, total_multiply_adds, total_parameters
from medwb.architectures.facts import find_facts
from medwb.config import RunConfig, input_shape, make_configs, network_outputs, usual_settings
from medwb.dataset import Dataset, dataset_names
from medwb.diagram import compact, network_svg
from medwb.errors import RequestError
from medwb.params import OneOf, Param, ends
from medwb.paths import home
from medwb.recipes import RECIPES

if TYPE_CHECKING:  # loads OpenCV: 40 MB that the other pages do not need
    from medwb.augment import Step

DEMO_SAMPLES = 20_000
_LIMITS = {"ge": "min_value", "gt": "min_value", "le": "max_value", "lt": "max_value"}


def plain(text: object) -> str:
    """Text for an element that reads Markdown, with every sign that Markdown or HTML would read escaped."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&^=])", r"\\\1", str(text)).replace("\n", " ")


def dataset_picker() -> None:
    """The sidebar's choice of a dataset; `?dataset=` in the address."""
    names = dataset_names()
    with st.sidebar:
        if names:
            st.selectbox("Dataset", names, key="dataset", bind="query-params", help="What `medwb import` has read.")
        st.caption(f"Datasets and runs: {plain(home())}")


def current_dataset() -> Dataset:
    """The dataset that is picked. Ends the page with the first steps where there is none, or with what is wrong."""
    names = dataset_names()
    if not names:
        first_steps()
        st.stop()
    try:
        return loaders.open_current(st.session_state.get("dataset", names[0]))
    except RequestError as error:
        refuse(error)
        st.stop()


def refuse(error: RequestError | str) -> None:
    """Show what was wrong with a request."""
    st.error(plain(error), icon=":material/error:")


def first_steps() -> None:
    """What to do in an empty workbench."""
    st.title("Welcome to medwb")
    st.write("There is no dataset yet. Import your own scans, or begin with the demo dataset.")
    own, demo = st.columns(2, border=True)
    with own:
        st.subheader("Your scans")
        st.write("In a terminal: a folder, a zip, a CSV table or an .npz becomes a dataset. The source is only read.")
        st.code("medwb import /path/to/scans --name mine", language="bash")
        st.button("I have imported one", icon=":material/refresh:")
    with demo:
        st.subheader("The demo dataset")
        st.write(f"{DEMO_SAMPLES:,} synthetic knee slices with three findings. The same as in a terminal:")
        st.code("medwb demo", language="bash")
        if st.button("Write the demo dataset", type="primary", icon=":material/add_photo_alternate:"):
            from medwb.demo import write_demo  # loads OpenCV: 40 MB that a server with data does not need

            bar = st.progress(0.0, "Drawing scans …")
            try:
                write_demo(samples=DEMO_SAMPLES, progress=lambda done, total: bar.progress(done / max(total, 1)))
            except RequestError as error:
                refuse(error)
                return
            st.rerun()


def pager(pages: int, key: str) -> int:
    """A page number, in the address; it goes back to the last page when there are fewer. Shown for several pages."""
    if st.session_state.get(key, 1) > pages:
        st.session_state[key] = pages
    return st.pagination(pages, max_visible_pages=7, key=key, bind="query-params") if pages > 1 else 1


def download_table(table: pd.DataFrame, name: str, label: str = "Download CSV") -> None:
    """A button that gives the table as CSV; it is written when somebody asks for it."""
    st.download_button(
        label,
        lambda: table.to_csv(index=False).encode("utf-8"),
        f"{name}.csv",
        "text/csv",
        key=f"download-{name}",
        on_click="ignore",
        icon=":material/download:",
    )


def param_slider(param: Param, key: str) -> float:
    """A slider for a Param; returns a value that `param.check` accepts."""
    kind = int if param.integer else float
    low, high, start, step = (kind(value) for value in (param.low, param.high, param.default, param.step))
    label = param.name.replace("_", " ").capitalize()
    return param.check(st.slider(label, low, high, start, step, key=key, help=param.help))


def setting_input(step: "Step", name: str, key: str, on_change: Callable[[], None]) -> None:
    """An ordinary input for one setting of a step, or for its probability; it shows what the step says."""
    from medwb.augment.panel import label_of, values_text  # loads OpenCV
    from medwb.augment.recipe import PROBABILITY

    choices = {choice.name: choice for choice in step.entry.choices}
    common: dict[str, Any] = {"key": key, "on_change": on_change}
    if name in choices:
        st.session_state[key] = step.settings[name]
        st.selectbox(label_of(name), choices[name].options, help=choices[name].help, **common)
        return
    param = PROBABILITY if name == "p" else step.entry.param(name)
    setting = step.p if name == "p" else step.settings[name]
    label = "Probability" if name == "p" else f"{label_of(name)}, {param.unit}".removesuffix(", ")
    if isinstance(setting, OneOf):
        st.session_state[key] = values_text(setting)
        st.text_input(f"{label}, one of", help=param.help, **common)
        return
    kind = int if param.integer else float
    found = tuple(kind(end) for end in ends(setting))
    st.session_state[key] = found[0] if param.until is None else found
    st.slider(label, kind(param.low), kind(param.high), step=kind(param.step), help=param.help, **common)


def config_inputs(skip: tuple[str, ...], architecture: Architecture) -> dict[str, Any]:
    """An input for every field of RunConfig but those in `skip`, as a recipe has it; returns what differs from that.

    Args:
        skip: Fields to leave out.
        architecture: Whose own recipe it is while none is picked.
    """
    recipe = st.selectbox(
        "Recipe",
        RECIPES.names(),
        None,
        placeholder=f"the architecture's own, such as {architecture.recipe}",
        key=config_key("recipe"),
        help=plain(RunConfig.model_fields["recipe"].description),
        persist_state="session",
    )
    usual = usual_settings(architecture, recipe)
    st.caption(RECIPES.get(usual["recipe"]).summary)
    names = [name for name in usual if name not in (*skip, "recipe")]
    columns = st.columns(4)
    values = {}
    for position, name in enumerate(names):
        with columns[position % len(columns)]:
            values[name] = config_input(name, usual=usual[name], recipe=usual["recipe"])
    changed = {name: value for name, value in values.items() if value != usual[name]}
    return {"recipe": recipe, **changed} if recipe else changed


def config_key(name: str, recipe: str | None = None) -> str:
    """The key of the input for a field of RunConfig on the page Train; one a recipe where recipes set the field."""
    if recipe and any(name in one.settings for one in RECIPES):
        return f"config-{name}-{recipe}"
    return f"config-{name}"


def config_input(name: str, key: str | None = None, *, usual: Any = None, recipe: str | None = None) -> Any:
    """The input that fits a field's type; its docstring is the help, None means "as the dataset".

    Args:
        name: A field of RunConfig.
        key: Where it is given, the input stands in the address under that name. Otherwise it is kept for the session,
            which pages share.
        usual: What it starts with; the field's default where there is no recipe.
        recipe: The recipe that says so.
    """
    field = RunConfig.model_fields[name]
    usual = usual if recipe else field.default
    label = name.replace("_", " ").capitalize()
    kept = {"bind": "query-params"} if key else {"persist_state": "session"}
    common: dict[str, Any] = {"key": key or config_key(name, recipe), "help": plain(field.description), **kept}
    options, number, limits = _field_facts(field.annotation, list(field.metadata))
    if options:
        start = options.index(usual)
        return st.selectbox(
            label, options, start, format_func=lambda o: "as dataset" if o is None else str(o), **common
        )
    if name in ("cleaning", "augmentation"):
        return st.selectbox(label, cleaning_options() if name == "cleaning" else augmentation_options(), **common)
    if field.annotation is str:
        return st.text_input(label, usual, **common)
    if field.annotation is bool:
        return st.toggle(label, usual, **common)
    if number is int:
        return st.number_input(label, value=usual, step=1, placeholder="as dataset", **limits, **common)
    return st.number_input(label, value=usual, step=usual / 10 or 0.1, format="%g", **limits, **common)


def cleaning_options() -> list[str]:
    """The cleanings of the picked dataset that a run can learn under, no cleaning first."""
    from medwb.audit.cleaning import cleaning_names  # loads OpenCV

    return [RunConfig.model_fields["cleaning"].default, *cleaning_names(current_dataset())]


def augmentation_options() -> list[str]:
    """The recipes that a run can augment its scans by, none first."""
    from medwb.augment import NONE, augmentation_names  # loads OpenCV

    return [NONE, *augmentation_names()]


def _field_facts(annotation: Any, metadata: list[Any]) -> tuple[list[Any], type, dict[str, float]]:
    """Options (where it is a choice), the type of number, and its limits, of a field's type with optional parts."""
    options: list[Any] = []
    kind: type = annotation if isinstance(annotation, type) else float
    if get_origin(annotation) is Literal:
        return list(get_args(annotation)), str, {}
    for part in get_args(annotation):
        if get_origin(part) is Literal:
            options = [None, *get_args(part)]
        elif hasattr(part, "__metadata__"):
            kind = part.__origin__
            metadata = [*metadata, *(m for info in part.__metadata__ for m in getattr(info, "metadata", [info]))]
    limits = {_LIMITS[sign]: kind(getattr(m, sign)) for m in metadata for sign in _LIMITS if hasattr(m, sign)}
    return options, kind, limits


def architecture_title(name: str) -> str:
    """Title and family of an architecture, for menus."""
    entry = ARCHITECTURES.get(name)
    return f"{entry.title} · {entry.family}"


def draw_latest_choice() -> None:
    """After a change of the architectures to train: show the diagram of the one that was added last."""
    chosen = st.session_state["architectures"]
    if chosen:
        st.session_state["diagram"] = chosen[-1]


def architecture_card(data: Dataset, options: list[str], first: str, settings: dict[str, Any]) -> None:
    """Facts and diagram of one architecture, the `first` until another is chosen, under the settings at hand."""
    if "diagram" not in st.session_state and "diagram" not in st.query_params:
        st.session_state["diagram"] = first
    name = st.selectbox("Diagram of", options, format_func=architecture_title, key="diagram", bind="query-params")
    entry = ARCHITECTURES.get(name)
    try:
        config = make_configs(data.name, [entry], settings)[0]
        shape = input_shape(config, data)
        outputs = network_outputs(config, len(data.label_names))
        layers = describe_layers(entry, shape, outputs)
        if entry.backbone and not layers:
            with st.spinner(f"Building {entry.title} once, to measure it …"):
                find_facts(entry, shape)
            layers = describe_layers(entry, shape, outputs)
        drawing = network_svg(entry, shape, outputs)
    except RequestError as error:
        refuse(error)
        return
    facts = {
        "Parameters": compact(total_parameters(layers)) if layers else "–",
        "Multiply-adds": compact(total_multiply_adds(layers)) if layers else "–",
        "Reference F1": f"{entry.reference_score:.3f}" if entry.reference_score else "–",
    }
    for column, (title, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(title, value)
    with st.container(height=360 if len(layers) > 5 else "content", border=False):
        st.image(drawing, width="stretch")
    if config.heads == "per-label" and layers:
        st.caption(f"One such network for each of the {len(data.label_names)} labels.")
