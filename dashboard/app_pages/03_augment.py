"""Augment: put transforms together, see at once what they do to scans, save, train with them."""

import controls
import lab_labels
import lab_live
import lab_recipe
import lab_scans
import lab_stack
import lab_views
import streamlit as st

from medwb.errors import RequestError

data = controls.current_dataset()
lab_recipe.read_address()
st.title("Augment")
lab_stack.bar()
lab_recipe.messages()

stack, looks = st.columns([1.15, 2.25], gap="large")
with stack:
    lab_stack.steps()
    with st.expander("Scans and draws", expanded=True, icon=":material/image_search:"):
        draws = lab_scans.draws()
        try:
            view = lab_scans.view(data)
            scans = lab_scans.choose(data, view, draws)
        except RequestError as error:
            controls.refuse(error)
            st.stop()

TABS = {
    "Grid": lab_live.grid,
    "Sweep": lab_views.sweeps,
    "Difference": lab_views.changes,
    "Kept": lambda data, scans, draws: lab_views.remaining(data, view, draws),
    "Labels": lab_labels.labels,
    "Compare": lab_views.compare,
    "Code": lab_views.code,
}
with looks:
    if scans is None:
        st.info("Choose scans to see what the recipe does to them.", icon=":material/image_search:")
        st.stop()
    try:
        lab_recipe.current().check(view.shape, "the recipe")
    except RequestError as error:
        controls.refuse(error)
        st.stop()
    lab_views.warning(data, view, draws.seed)
    for tab, draw in zip(st.tabs(list(TABS), key="look", bind="query-params"), TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(data, scans, draws)
