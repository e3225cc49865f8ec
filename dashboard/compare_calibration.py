"""Calibration of a run: reliability before and after, what it gains on samples that it was not fitted on."""

import controls
import fit_loaders
import loaders
import pandas as pd
import streamlit as st
from run_panel import run_title

from medwb.calibration import (
    CALIBRATIONS,
    KINDS,
    SCORE_TITLES,
    Calibration,
    open_calibration,
    remove_calibration,
    save_calibration,
)
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.plots.calibration import reliability_diagram
from medwb.runs import Run

_KIND_TITLES = dict(zip(KINDS, ("as it is", "calibrated, cross-fitted", "gain"), strict=True))


def panel(data: Dataset, runs: list[Run]) -> None:
    """Choose a run and a method; see reliability and what is gained; keep the calibration.

    Args:
        data: The picked dataset.
        runs: Its finished runs, at least one, the oldest first.
    """
    by_id = {run.id: run for run in reversed(runs)}
    run_column, method_column = st.columns([3, 2])
    picked = run_column.selectbox(
        "Run", list(by_id), format_func=lambda key: run_title(by_id[key]), key="calibration-run", bind="query-params"
    )
    method = method_column.selectbox(
        "Method",
        CALIBRATIONS.names(),
        format_func=lambda key: CALIBRATIONS.get(key).title,
        key="calibration",
        bind="query-params",
    )
    st.caption(controls.plain(CALIBRATIONS.get(method).summary))
    key = loaders.answers_key(data, picked)
    found = fit_loaders.calibration(key, method)
    if isinstance(found, str):
        controls.refuse(found)
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        label = st.selectbox("Label", data.label_names, key="calibration-label", bind="query-params")
        before, after = fit_loaders.reliabilities(key, None)[label], fit_loaders.reliabilities(key, method)[label]
        st.plotly_chart(reliability_diagram(before, after), key="reliability")
    with right:
        for score, title in SCORE_TITLES.items():
            st.metric(f"{title}, mean of all labels: gain", str(found.score("gain", score)))
        if _parameters(found, label):
            st.caption(controls.plain(_parameters(found, label)))
    _table(found, f"{picked}-calibration")
    for note in found.notes:
        st.warning(controls.plain(note), icon=":material/info:")
    st.caption(
        "Fitted on validation; the test split is not looked at. Bins hold equally many samples; intervals count "
        "patients and sets of copies, not samples. A gain above 0 is better. Thresholds stay those of the scores as "
        "they are, so that calibration changes no call."
    )
    _keep(by_id[picked], found)


def _parameters(found: Calibration, label: str) -> str:
    fitted = found.parameters[found.label_names.index(label)]
    if "temperature" in fitted:
        return f"Temperature {fitted['temperature']:.3f}: above 1 the scores were too sure, below 1 not sure enough."
    return f"{len(fitted['scores'])} breakpoints." if fitted else ""


def _table(found: Calibration, name: str) -> None:
    rows = []
    for label in found.label_names:
        row: dict[str, object] = {"Label": label}
        for score, title in SCORE_TITLES.items():
            row |= {f"{title}, {text}": str(found.score(kind, score, label)) for kind, text in _KIND_TITLES.items()}
        rows.append(row)
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content" if len(rows) <= 14 else 460)
    controls.download_table(found.scores, name)


def _keep(run: Run, found: Calibration) -> None:
    keep, back, _ = st.columns([1, 1, 2])
    try:
        if keep.button("Use the run with this", key="keep-calibration", icon=":material/save:", width="stretch"):
            save_calibration(run, found)
            st.toast("Saved: predictions can be asked for with calibrated scores.")
        if back.button("Back to scores as they are", key="drop-calibration", icon=":material/undo:", width="stretch"):
            remove_calibration(run)
        saved = open_calibration(run)
        title = CALIBRATIONS.get(saved.method).title if saved else "scores as they are"
        st.caption(controls.plain(f"In use: {title}."))
    except RequestError as error:
        controls.refuse(error)
