"""Further looks at a recipe: along one parameter, what changed, what is left, beside another, as code."""

from dataclasses import replace

import controls
import lab_live
import lab_recipe
import loaders
import numpy as np
import streamlit as st
from lab_scans import Draws

from medwb import plots
from medwb.augment import TRANSFORMS, augmentation_names, open_augmentation, to_code
from medwb.augment.panel import label_of
from medwb.augment.preview import (
    FIFTH,
    Scans,
    difference,
    histograms,
    number_text,
    percent,
    preview,
    sweep,
)
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.gallery import contact_sheet, diverging, enlarge
from medwb.images import Pixels
from medwb.plots.augment import BEFORE_AFTER, kept_histogram, taken_bars

_SIDE = 112  # pixels that a picture is enlarged to, at least


def warning(data: Dataset, view: loaders.Seen, seed: int) -> None:
    """Say so where a recipe leaves little of the scans."""
    left = loaders.remaining(data.name, data.fingerprint, view, lab_recipe.current().to_token(), seed, False)
    if left.warning:
        st.warning(left.warning, icon=":material/visibility_off:")


def sweeps(data: Dataset, scans: Scans, draws: Draws) -> None:
    """A filmstrip along one parameter of the picked step."""
    recipe, here = lab_recipe.current(), lab_recipe.number()
    params = recipe.steps[here].entry.params if recipe.steps else ()
    if not params:
        st.info("Pick a step that has a parameter.", icon=":material/tune:")
        return
    names = [param.name for param in params]
    name = names[0]
    if len(names) > 1:
        name = st.segmented_control(
            "Along", names, default=name, required=True, format_func=label_of, key=f"lab-along-{here}-{names}"
        )
    param = recipe.steps[here].entry.param(name)
    alone = not st.toggle("With the other steps", key="others", bind="query-params")
    shown = replace(recipe, steps=tuple(replace(one, enabled=False) for one in recipe.steps)) if alone else recipe
    values, images = sweep(scans, shown, here, name, draws.seed, draws.epoch)
    _strip(images)
    marks = st.columns(len(values))
    for column, value in zip(marks, values.tolist(), strict=True):
        column.caption(controls.plain(number_text(value, param)), text_alignment="center")
    title = recipe.steps[here].entry.title.lower()
    rest = "nothing else" if alone else f"all else as drawn in epoch {draws.epoch}"
    st.caption(f"{title.capitalize()} of every scan; {rest}.")


def _strip(cells: Pixels) -> None:
    rows, columns, height, width, channels = cells.shape
    flat = cells.reshape(rows * columns, height, width, channels)
    scale = max(1, _SIDE // max(height, width))
    sheet = contact_sheet(enlarge(flat, scale), columns, gap=4, background=255)
    st.image(sheet, width="stretch", output_format="PNG", alt=f"{rows} scans, {columns} values of the parameter")


def changes(data: Dataset, scans: Scans, draws: Draws) -> None:
    """Each scan before and after, the difference, and how bright pixels are."""
    grid = preview(scans, lab_recipe.current(), draws.seed, draws.epoch, draws.count)
    after = grid.draws[0].images
    gap = difference(scans.images, after)
    limit = max(1.0, float(np.abs(gap).max()))
    pictures, figure = st.columns([1, 1.4], gap="large")
    with pictures:
        coloured = np.stack([diverging(one, limit) for one in gap])
        shown = [scans.images, after]
        if coloured.shape[-1] != shown[0].shape[-1]:
            shown = [images.repeat(3, axis=-1) for images in shown]
        for column, text in zip(st.columns(3), ("before", f"epoch {draws.epoch}", "difference"), strict=True):
            column.caption(text, text_alignment="center")
        _strip(np.stack([*shown, coloured], axis=1))
        st.caption(f"Orange: brighter than before; blue: darker; full colour at {limit:.0f} of 255.")
    with figure:
        epochs = np.concatenate([one.images for one in grid.draws])
        st.plotly_chart(plots.intensity_histograms(histograms(scans.images, epochs), BEFORE_AFTER), key="lab-levels")
        st.caption(f"Of the {len(scans)} scans, and of them in {draws.count} epochs.")


def remaining(data: Dataset, view: loaders.Seen, draws: Draws) -> None:
    """How much of the scans is left, and which step takes it."""
    recipe = lab_recipe.current()
    left = loaders.remaining(data.name, data.fingerprint, view, recipe.to_token(), draws.seed, True)
    lost = f"{percent(left.lost)} of the draws leave less than {percent(FIFTH)}"
    st.write(f"On average **{percent(left.mean)}** of what a scan shows is left; {lost}.")
    share, steps = st.columns(2, gap="large")
    share.plotly_chart(kept_histogram(left.shares, FIFTH), key="lab-kept")
    names = [TRANSFORMS.get(name).title for name in left.taken]
    steps.plotly_chart(taken_bars(names, list(left.taken.values())), key="lab-taken")
    measured = len(loaders.spread(data.name, data.fingerprint, view))
    st.caption(
        f"Of {measured} training scans, in two epochs. Lost is what a hole covers, what leaves the picture, and what "
        "another scan covers; blur, noise, grey levels and bending are taken to lose nothing."
    )


def compare(data: Dataset, scans: Scans, draws: Draws) -> None:
    """The recipe beside another one, with the same draws."""
    recipe, names = lab_recipe.current(), augmentation_names()
    start = next((place for place, one in enumerate(names) if one != lab_recipe.known_name()), 0)
    second = st.selectbox("Beside", names, start, key="second", bind="query-params")
    try:
        other = open_augmentation(second)
        other.check(scans.images.shape[1:], second)
    except RequestError as error:
        controls.refuse(error)
        return
    left, right = st.columns(2, gap="medium")
    name = lab_recipe.name()
    ours = name if lab_recipe.known_name() else f"{name}, changed" if name else "this recipe"
    for column, title, one in ((left, ours, recipe), (right, second, other)):
        with column:
            lab_live.pictures(preview(scans, one, *draws), f"lab-beside-{column is left}", title)
    st.caption("The same scans, seed and epochs: a step that both recipes have draws the same in both.")


def code(data: Dataset, scans: Scans, draws: Draws) -> None:
    """The recipe as albumentations code, and as YAML."""
    recipe = lab_recipe.current()
    python, yaml = st.tabs(["albumentations", "YAML"])
    with python:
        try:
            st.code(to_code(recipe, scans.size), language="python")
        except RequestError as error:
            controls.refuse(error)
    yaml.code(recipe.to_yaml(), language="yaml")
