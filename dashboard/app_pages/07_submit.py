"""Submit: a submission that fits its sample, what it should score, and the model for new scans."""

import controls
import streamlit as st
import submissions

from medwb.runs import finished_runs

data = controls.current_dataset()
st.title("Submit")
fresh, stale = finished_runs(data)
if stale:
    st.warning(f"{len(stale)} runs were trained before the dataset changed and cannot be handed in; train again.")
if not fresh:
    st.info("No run on this dataset has finished yet. Train one first.", icon=":material/upload_file:")
    st.page_link("app_pages/04_train.py", label="Go to Train", icon=":material/model_training:")
    st.stop()
submissions.desk(fresh)

st.subheader("Written submissions")
submissions.history(data.name)

st.subheader("New scans, and the model itself")
run_id = st.session_state["submit-run"]
st.write("In a terminal: answers for files and folders that the run has never seen, and its network as one file.")
st.code(
    f"medwb predict {run_id} FOLDER --csv answers.csv --scores\nmedwb export {run_id} --format onnx", language="bash"
)
