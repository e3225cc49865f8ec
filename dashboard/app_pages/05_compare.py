"""Compare: F1 of every architecture with intervals, and the submission that follows."""

import controls
import loaders
import streamlit as st
import submissions

from medwb import plots
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

table = loaders.score_table(data.name, data.fingerprint, tuple(run.id for run in fresh + stale), split)
if isinstance(table, str):
    controls.refuse(table)
    st.stop()
controls.score_dataframe(table)
if table.capped:
    limits = (f"{controls.plain(plots.score_title(column))} {table.ceiling_text(column)}" for column in table.capped)
    st.caption(
        f"**Ceiling**, the best that any function of the image can reach on {split}, whatever the threshold: "
        f"{' · '.join(limits)}. Intervals may reach above it: each replicate draws other samples."
    )
for note in table.notes:
    st.warning(controls.plain(note), icon=":material/info:")
drawn = "patients" if data.samples["group"].any() else "samples"
st.caption(
    f"Threshold 0.5; 95 % bootstrap intervals over {drawn} and seeds. "
    "A row with one run does not show how much the seed matters."
)
csv, markdown, _ = st.columns([1, 1, 4])
name = f"{data.name}-{split}-f1"
csv.download_button("CSV", table.to_csv(), f"{name}.csv", "text/csv", icon=":material/download:", width="stretch")
markdown.download_button("Markdown", table.to_markdown(), f"{name}.md", icon=":material/download:", width="stretch")

st.subheader("F1 by architecture")
st.plotly_chart(plots.score_bars(table), key="scores")

st.subheader("Submission")
submissions.builder(fresh)
