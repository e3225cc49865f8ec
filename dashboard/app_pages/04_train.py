"""Train: choose architectures and settings, launch, watch; plan a budget, ask a question."""

import controls
import plan_panel
import run_panel
import streamlit as st
import study_panel

from medwb.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE
from medwb.config import make_configs, parse_seeds
from medwb.errors import RequestError
from medwb.launch import launch

data = controls.current_dataset()
st.title("Train")
choice, drawing = st.columns([1, 1.6], gap="large")
with choice:
    entries = sorted(ARCHITECTURES, key=lambda entry: (entry.family != "reference", entry.family))
    names = st.multiselect(
        "Architectures",
        [entry.name for entry in entries],
        [DEFAULT_ARCHITECTURE],
        format_func=controls.architecture_title,
        placeholder="one or more, by family",
        key="architectures",
        on_change=controls.draw_latest_choice,
        persist_state="session",
        wrap=True,
    )
    seeds = st.text_input(
        "Seeds",
        "0",
        key="seeds",
        persist_state="session",
        help="Comma-separated; each is one training of each network.",
    )
    button = st.container()

with st.expander("Settings", icon=":material/tune:", key="settings"):
    networks = [entry for entry in map(ARCHITECTURES.get, names) if entry.is_network]
    latest = networks[-1] if networks else entries[0]
    settings = controls.config_inputs(skip=("dataset", "architecture", "seed"), architecture=latest)

try:
    numbers, wrong = parse_seeds(seeds), ""
except RequestError as error:
    numbers, wrong = [], str(error)

with button:
    if settings:
        st.text("Changed: " + ", ".join(f"{name}={value}" for name, value in settings.items()))
    if st.button("Launch", type="primary", icon=":material/rocket_launch:", disabled=not names, width="stretch"):
        try:
            if wrong:
                raise RequestError(wrong)
            chosen = [ARCHITECTURES.get(name) for name in names]
            runs = launch(make_configs(data.name, chosen, settings, numbers))
            st.toast(f"{len(runs)} queued. They go on when you close this page.", icon=":material/check:")
        except RequestError as error:
            controls.refuse(error)
    st.caption("Runs wait in a queue, train in processes of their own, and survive this page and its server.")

with drawing:
    controls.architecture_card(data, [entry.name for entry in entries], latest.name, settings)

runs_tab, plan_tab, studies_tab = st.tabs(["Runs", "Plan", "Studies"], key="train", bind="query-params")
if runs_tab.open:
    with runs_tab:
        run_panel.panel(data.name)
if plan_tab.open:
    with plan_tab:
        plan_panel.panel(data, names, numbers, settings)
if studies_tab.open:
    with studies_tab:
        study_panel.panel(data)
