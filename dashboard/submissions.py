"""The submission desk: a run and a sample become a submission, each check shown, with what it should score."""

import tempfile
from pathlib import Path

import controls
import loaders
import numpy as np
import pandas as pd
import streamlit as st
from run_panel import run_title

from medwb.decisions import Choice, decide
from medwb.errors import RequestError
from medwb.runs import Run
from medwb.submission import (
    EXPECTED_TITLES,
    Draft,
    Expected,
    KeptSubmission,
    changes,
    draft_submission,
    finish_submission,
    list_submissions,
)

_MARKS = {True: "✓", False: "✗", None: "–"}
_OWN, _HALF, _HAND = "The run's own", "0.5 for every label", "Chosen by hand"
_WRITTEN = "submission-written"
_NUMBER = st.column_config.NumberColumn


def desk(runs: list[Run]) -> None:
    """Choose a run, thresholds and a sample; check, show and write the submission."""
    by_id = {run.id: run for run in reversed(runs)}
    run_column, upload_column, path_column = st.columns(3)
    run_id = run_column.selectbox("Run", list(by_id), format_func=lambda key: run_title(by_id[key]), key="submit-run")
    uploaded = upload_column.file_uploader("Sample submission", "csv", help="A CSV with the ids to answer.")
    path = path_column.text_input(
        "or its path on this machine", placeholder="/data/sample_submission.csv", key="sample-path"
    )
    run = by_id[run_id]
    try:
        chosen = _thresholds(run)
    except RequestError as error:
        controls.refuse(error)
        return
    if uploaded is None and not path:
        st.info("Upload the sample submission, or name its path.", icon=":material/upload_file:")
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            sample = Path(path).expanduser()
            if uploaded is not None:
                sample = Path(folder) / "sample_submission.csv"
                sample.write_bytes(uploaded.getvalue())
            draft = draft_submission(run, sample, thresholds=chosen)
    except (OSError, RuntimeError, ValueError) as error:  # a path that names nothing
        controls.refuse(str(error))
        return
    _checks(draft)
    if draft.problem is None:
        _drafted(draft, chosen)


def _thresholds(run: Run) -> Choice:
    """The user's thresholds, None for the run's own. Raises RequestError where the run's own cannot be had."""
    kind = st.segmented_control(
        "Thresholds", [_OWN, _HALF, _HAND], default=_OWN, required=True, key="submit-thresholds"
    )
    own = decide(run)
    if kind == _HALF:
        return 0.5
    if kind == _OWN:
        st.caption(f"{controls.plain(own.rule)}; the test split is not looked at.")
        return None
    columns = st.columns(4)
    chosen = {}
    for place, (label, value) in enumerate(own.thresholds.items()):
        start = float(np.clip(value, 0, 1))
        chosen[label] = columns[place % 4].number_input(
            controls.plain(label), 0.0, 1.0, start, 0.01, format="%.3f", key=f"threshold-{run.id}-{label}"
        )
    return chosen


def _checks(draft: Draft) -> None:
    """A line a check."""
    rows = [(_MARKS[check.passed], check.name, check.detail) for check in draft.checks]
    st.subheader("Checks")
    if draft.problem is not None:
        controls.refuse(draft.problem)
    st.dataframe(
        pd.DataFrame(rows, columns=["", "Check", "Result"]),
        hide_index=True,
        height="content",
        column_config={"": st.column_config.TextColumn(width=40), "Check": st.column_config.TextColumn(width=110)},
    )


def _drafted(draft: Draft, chosen: Choice) -> None:
    assert draft.dataset is not None
    key, saved = loaders.answers_key(draft.dataset, draft.run.id), loaders.thresholds_stamp(draft.run.id)
    by_label = chosen if chosen is None or isinstance(chosen, float) else tuple(chosen.items())
    expected = loaders.expected(key, saved, by_label)
    if isinstance(expected, str):
        controls.refuse(expected)
        return
    st.subheader("Expected score")
    _expected(expected)
    st.subheader("Answers")
    _answers(draft, expected)
    for note in [*draft.notes, *expected.notes]:
        st.warning(controls.plain(note), icon=":material/info:")
    earlier, _ = list_submissions(draft.dataset.name)
    if earlier:
        st.subheader("Against earlier submissions")
        _against(draft, earlier)
    st.download_button(
        "Write and download submission.csv",
        draft.content,
        "submission.csv",
        "text/csv",
        type="primary",
        icon=":material/download:",
        key="write-submission",
        on_click=_keep,
        args=(draft, expected),
        help="A copy is kept below MEDWB_HOME, with the run, the thresholds and the expected score.",
    )
    if (written := st.session_state.pop(_WRITTEN, None)) is not None:
        ok, text = written
        (st.success if ok else st.warning)(controls.plain(text))


def _keep(draft: Draft, expected: Expected) -> None:
    """Keep a copy of what the browser is given."""
    try:
        submission = finish_submission(draft, None, expected)
    except RequestError as error:
        st.session_state[_WRITTEN] = False, str(error)
        return
    if submission.kept is None:
        st.session_state[_WRITTEN] = False, submission.notes[-1]
    else:
        st.session_state[_WRITTEN] = True, f"Kept as {submission.kept.path}"


def _expected(expected: Expected) -> None:
    names = [*EXPECTED_TITLES, *(name for name in expected.scores if name.startswith("f1:"))]
    rows = {
        "Score": [EXPECTED_TITLES.get(name, f"F1 {name.removeprefix('f1:')}") for name in names],
        "Expected, 95 %": [str(expected.scores[name]) for name in names],
        "Tuned and scored on the same": [expected.same.get(name, np.nan) for name in names],
        "Ceiling": [expected.ceiling.get(name, np.nan) for name in names],
    }
    config = {
        "Tuned and scored on the same": _NUMBER(format="%.3f", help="Too good: the thresholds saw these samples."),
        "Ceiling": _NUMBER(format="%.3f", help="The best that any model can reach on validation, where below 1."),
    }
    shown = pd.DataFrame(rows).dropna(axis=1, how="all")
    st.dataframe(shown, hide_index=True, height="content", placeholder="–", column_config=config)
    fitted = (
        "Thresholds are cross-fitted: each scan is called by thresholds tuned on others. " if expected.same else ""
    )
    st.caption(
        f"From {expected.samples:,} scans of validation in {expected.units:,} units (patients and sets of copies are "
        f"drawn whole). {fitted}Validation also chose the epoch and perhaps the run, so expect a little less."
    )


def _answers(draft: Draft, expected: Expected) -> None:
    assert draft.decision is not None
    labels = list(draft.decision.thresholds)
    rows = pd.DataFrame(
        {
            "Label": labels,
            "Threshold": list(draft.decision.thresholds.values()),
            "Called positive": [int(draft.table[label].sum()) for label in labels],
            "Share, %": [100 * draft.table[label].mean() for label in labels],
            "On validation, %": [100 * expected.called.get(label, np.nan) for label in labels],
        }
    )
    left, right = st.columns(2)
    config = {
        "Threshold": _NUMBER(format="%.3f"),
        "Share, %": _NUMBER(format="%.1f"),
        "On validation, %": _NUMBER(format="%.1f", help="Share of validation that the same thresholds call."),
    }
    left.dataframe(rows, hide_index=True, column_config=config)
    left.caption(f"Thresholds: {controls.plain(draft.decision.rule)}.")
    right.dataframe(draft.table.head(200), hide_index=True, height=250)
    right.caption(f"{len(draft.table):,} rows, in the sample's order.")


def _against(draft: Draft, earlier: list[KeptSubmission]) -> None:
    by_name = {one.name: one for one in earlier}
    name = st.selectbox("Earlier submission", list(by_name), key="submit-earlier")
    try:
        found = changes(draft.table, by_name[name].table)
    except RequestError as error:
        controls.refuse(error)
        return
    st.caption(controls.plain(f"{found}; {found.only_new:,} ids are new, {found.only_earlier:,} are gone."))
    shown = found.labels.assign(share=100 * found.labels["share"])
    shown.columns = ["Label", "0 to 1", "1 to 0", "Changed, %"]
    st.dataframe(shown, hide_index=True, height="content", column_config={"Changed, %": _NUMBER(format="%.1f")})


def history(dataset: str) -> None:
    """The submissions that were written, the newest first."""
    found, problems = list_submissions(dataset)
    for problem in problems:
        controls.refuse(problem)
    if not found:
        st.caption("None yet.")
        return
    scores = [one.expected_macro_f1 for one in found]
    rows = pd.DataFrame(
        {
            "Written": pd.to_datetime([one.record["when"] for one in found], unit="s", utc=True),
            "Run": [one.record["run"] for one in found],
            "Rows": [one.record["rows"] for one in found],
            **{
                title: pd.Series([score[key] for score in scores], dtype=np.float64)
                for key, title in (("value", "Expected macro F1"), ("low", "95 % from"), ("high", "to"))
            },
            "Thresholds": [str(one.record.get("rule", "")) for one in found],
            "Sample": [str(one.record["sample"].get("name", "")) for one in found],
        }
    )
    config = {title: _NUMBER(format="%.3f") for title in ("Expected macro F1", "95 % from", "to")}
    st.dataframe(rows, hide_index=True, height="content" if len(rows) <= 12 else 460, column_config=config)
