"""Errors: where a run is wrong, a label and a threshold at a time, and scan by scan."""

import controls
import errors_browser
import errors_card
import errors_causes
import errors_loaders
import errors_map
import errors_saliency
import errors_scans
import errors_sets
import streamlit as st
from run_panel import run_title

from medwb.looks import record_look
from medwb.runs import finished_runs

data = controls.current_dataset()
st.title("Errors")
fresh, stale = finished_runs(data)
runs = {run.id: run for run in reversed(fresh)}
if not runs:
    if stale:
        st.warning(f"{len(stale)} runs were trained before the dataset changed; train again.")
    st.info("No run on this dataset has finished yet, so there is nothing to be wrong. Train one first.")
    st.page_link("app_pages/04_train.py", label="Go to Train", icon=":material/model_training:")
    st.stop()
if st.session_state.pop(errors_browser.FORGET, False):
    errors_browser.forget_threshold()

bound = {"bind": "query-params", "on_change": errors_browser.forget_threshold}
run_column, split_column, label_column = st.columns([2.2, 1, 1.4])
run_id = run_column.selectbox(
    "Run", list(runs), format_func=lambda name: run_title(runs[name]), key="errors-run", **bound
)
run = runs[run_id]
splits = data.known_label_splits()
with split_column:
    start = splits.index("val") if "val" in splits else 0
    split = st.selectbox("Split", splits or data.splits, start, key="errors-split", **bound)
label = label_column.selectbox("Label", run.label_names, key="errors-label", **bound)

key = errors_loaders.outcomes_key(data, run, split)
outcomes = errors_loaders.outcomes(key)
if isinstance(outcomes, str):
    controls.refuse(outcomes)
    st.stop()
if split == "test":
    record_look([run], "errors")
    st.warning("This look at the test split is recorded in the run. Choose thresholds and runs on validation.")

titles = ["Threshold", "Label sets", "Hardest scans", "Two runs", "Where errors gather", "Suspected labels"]
titles += ["What it looks at", "Map"]
threshold = errors_browser.chosen_threshold(outcomes, label)
tabs = dict(zip(titles, st.tabs(titles, key="errors", bind="query-params"), strict=True))
for title, tab in tabs.items():
    if not tab.open:
        continue
    with tab:
        if title == "Threshold":
            errors_browser.panel(data, run, outcomes, key, label)
        elif title == "Label sets":
            errors_sets.panel(data, outcomes)
        elif title == "Hardest scans":
            errors_scans.hardest_panel(data, runs, key)
        elif title == "Two runs":
            errors_scans.two_runs_panel(data, runs, key)
        elif title == "Where errors gather":
            errors_causes.panel(data, outcomes, key, label)
        elif title == "Suspected labels":
            errors_causes.suspects_panel(data, outcomes)
        elif title == "What it looks at":
            errors_saliency.saliency_panel(data, run, split, None, label)
        else:
            errors_map.map_panel(data, run, split, label, threshold)
errors_card.show_picked(data, outcomes, label, errors_browser.chosen_threshold(outcomes, label))
