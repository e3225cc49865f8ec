"""Thresholds of a run: a rule, what it gives each label, and how much tuning makes its scores too good."""

import controls
import fit_loaders
import loaders
import pandas as pd
import streamlit as st
from run_panel import run_title

from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.plots.thresholds import optimism_dots, threshold_curves
from medwb.runs import Run
from medwb.threshold_rules import F1, THRESHOLD_RULES, ThresholdRule
from medwb.thresholds import KINDS, Thresholds, remove_thresholds, save_thresholds, used_thresholds

_KIND_TITLES = dict(zip(KINDS, ("tuned", "cross-fitted", "optimism"), strict=True))


def panel(data: Dataset, runs: list[Run]) -> None:
    """Choose a run and a rule; see the thresholds, their curves and their optimism; keep them.

    Args:
        data: The picked dataset.
        runs: Its finished runs, at least one, the oldest first.
    """
    by_id = {run.id: run for run in reversed(runs)}
    run_column, rule_column, target_column = st.columns([3, 2, 2])
    picked = run_column.selectbox(
        "Run", list(by_id), format_func=lambda key: run_title(by_id[key]), key="thresholds-run", bind="query-params"
    )
    names = THRESHOLD_RULES.names()
    rule = THRESHOLD_RULES.get(
        rule_column.selectbox(
            "Rule", names, format_func=lambda key: THRESHOLD_RULES.get(key).title, key="rule", bind="query-params"
        )
    )
    target = None
    if rule.param is not None:
        with target_column:
            target = controls.param_slider(rule.param, f"target-{rule.name}")
    st.caption(controls.plain(rule.summary))
    run = by_id[picked]
    found = fit_loaders.thresholds(loaders.answers_key(data, run.id), rule.name, target, None)
    if isinstance(found, str):
        controls.refuse(found)
        return
    if found.missing:
        fill = st.toggle(
            f"Best F1 for {len(found.missing)} labels where that is not reached", key="otherwise", bind="query-params"
        )
        if fill:
            found = fit_loaders.thresholds(loaders.answers_key(data, run.id), rule.name, target, "best-f1")
    _show(data, run, rule, found)


def _show(data: Dataset, run: Run, rule: ThresholdRule, found: Thresholds) -> None:
    _metrics(found)
    aims = {F1.name: F1.title, rule.aim.name: rule.aim.title}
    shown = rule.aim.name
    if len(aims) > 1:
        shown = st.segmented_control(
            "Score", list(aims), default=shown, format_func=aims.get, required=True, key="threshold-score",
            bind="query-params",
        )  # fmt: skip
    left, right = st.columns(2, gap="large")
    left.plotly_chart(optimism_dots(found, shown, aims[shown]), key="optimism")
    with right:
        label = st.selectbox("Label", data.label_names, key="threshold-label", bind="query-params")
        curves = fit_loaders.operating_curves(loaders.answers_key(data, run.id))
        st.plotly_chart(threshold_curves(curves[label], found.by_label[label], name=label), key="threshold-curves")
    _table(found, aims, f"{run.id}-thresholds")
    for note in found.notes:
        st.warning(controls.plain(note), icon=":material/info:")
    st.caption(
        "Tuned on validation; the test split is not looked at. Cross-fitted: each fifth of the patients and sets of "
        "copies is called with thresholds that were tuned on the others, ten times over; 95 % bootstrap intervals."
    )
    _keep(run, found)


def _metrics(found: Thresholds) -> None:
    titles = ("Macro F1, on the same samples", "Macro F1, cross-fitted", "Optimism")
    for column, title, kind in zip(st.columns(3), titles, KINDS, strict=True):
        score = found.score(kind)
        value = "undefined" if score.value != score.value else f"{score.value:.3f}"
        column.metric(title, value, help=f"95 % interval {score.low:.3f} to {score.high:.3f}")


def _table(found: Thresholds, aims: dict[str, str], name: str) -> None:
    rows = []
    for label, value in found.by_label.items():
        row: dict[str, object] = {"Label": label, "Threshold": value}
        for aim, title in aims.items():
            row |= {f"{title}, {text}": str(found.score(kind, aim, label)) for kind, text in _KIND_TITLES.items()}
        rows.append(row)
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder="not reached",
        height="content" if len(rows) <= 14 else 460,
        column_config={"Threshold": st.column_config.NumberColumn(format="%.4f")},
    )
    controls.download_table(found.scores, name)


def _keep(run: Run, found: Thresholds) -> None:
    keep, back, _ = st.columns([1, 1, 2])
    try:
        if keep.button("Use the run with these", key="keep-thresholds", icon=":material/save:", width="stretch"):
            save_thresholds(run, found)
            st.toast("Saved: predictions, submissions and exports use these thresholds from now on.")
        if back.button("Back to best F1", key="drop-thresholds", icon=":material/undo:", width="stretch"):
            remove_thresholds(run)
        st.caption(controls.plain(f"In use: {used_thresholds(run)[1]}."))
    except RequestError as error:
        controls.refuse(error)
