"""The form that turns a finished run and a sample submission into a submission."""

import tempfile
from pathlib import Path

import controls
import pandas as pd
import streamlit as st
from run_panel import run_title

from medwb.errors import RequestError
from medwb.runs import Run
from medwb.submission import Submission, write_submission


def builder(runs: list[Run]) -> None:
    """Choose a run and a sample submission; check, show and offer the submission."""
    by_id = {run.id: run for run in reversed(runs)}
    run_column, upload_column, path_column = st.columns(3)
    run_id = run_column.selectbox("Run", list(by_id), format_func=lambda key: run_title(by_id[key]), key="submit-run")
    uploaded = upload_column.file_uploader("Sample submission", "csv", help="A CSV with the ids to answer.")
    path = path_column.text_input(
        "or its path on this machine", placeholder="/data/sample_submission.csv", key="sample-path"
    )
    if uploaded is None and not path:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            sample = Path(path).expanduser()
            if uploaded is not None:
                sample = Path(folder) / "sample_submission.csv"
                sample.write_bytes(uploaded.getvalue())
            out = Path(folder) / "submission.csv"
            submission = write_submission(by_id[run_id], sample, out)
            content = out.read_bytes()
    except (RequestError, OSError) as error:
        controls.refuse(str(error))
        return
    _show(submission)
    st.download_button(
        "Download submission.csv", content, "submission.csv", "text/csv", type="primary", icon=":material/download:"
    )


def _show(submission: Submission) -> None:
    for note in submission.notes:
        st.warning(controls.plain(note))
    thresholds = pd.DataFrame(
        {
            "Label": list(submission.thresholds),
            "Threshold": list(submission.thresholds.values()),
            "Called positive": [int(submission.table[label].sum()) for label in submission.thresholds],
        }
    )
    left, right = st.columns(2)
    left.dataframe(
        thresholds, hide_index=True, column_config={"Threshold": st.column_config.NumberColumn(format="%.3f")}
    )
    left.caption("Thresholds have the best F1 on the validation split; the test split is not looked at.")
    right.dataframe(submission.table.head(200), hide_index=True, height=250)
    right.caption(f"{len(submission.table):,} rows, in the sample's order.")
