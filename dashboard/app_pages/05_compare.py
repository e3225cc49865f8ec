"""Compare: scores of every architecture with intervals, what differs for sure, thresholds and calibration."""

import compare_calibration
import compare_pairs
import compare_table
import compare_thresholds
import controls
import loaders
import streamlit as st

from medwb.looks import record_look
from medwb.runs import finished_runs

data = controls.current_dataset()
st.title("Compare")
splits = data.known_label_splits()
if not splits:
    controls.refuse(f"no label of {data.name} is known, so nothing can be scored; import it with its labels")
    st.stop()
start = splits.index("val") if "val" in splits else 0
split = st.segmented_control(
    "Scored on", splits, default=splits[start], required=True, key="scored", bind="query-params"
)
fresh, stale = finished_runs(data)
if not fresh:
    if stale:
        st.warning(f"{len(stale)} runs were trained before the dataset changed; train again.")
    st.info("No run on this dataset has finished yet. Train one first.", icon=":material/leaderboard:")
    st.page_link("app_pages/04_train.py", label="Go to Train", icon=":material/model_training:")
    st.stop()

titles = ["Table", "Differences", "Thresholds", "Calibration"]
table_tab, pairs_tab, thresholds_tab, calibration_tab = st.tabs(titles, key="compare", bind="query-params")
if table_tab.open:
    with table_tab:
        if split == "test":
            record_look(fresh, "table")
        table = loaders.score_table(data.name, data.fingerprint, tuple(run.id for run in fresh + stale), split)
        if isinstance(table, str):
            controls.refuse(table)
        else:
            compare_table.panel(data, table)
if pairs_tab.open:
    with pairs_tab:
        compare_pairs.panel(data, fresh, split)
if thresholds_tab.open:
    with thresholds_tab:
        compare_thresholds.panel(data, fresh)
if calibration_tab.open:
    with calibration_tab:
        compare_calibration.panel(data, fresh)

st.page_link("app_pages/07_submit.py", label="Hand in a submission", icon=":material/upload_file:")
