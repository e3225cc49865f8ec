"""The threshold of one label: what it calls, where that lies on the curves, and the scans behind each number."""

import math

import controls
import errors_loaders
import errors_pictures
import loaders
import pandas as pd
import streamlit as st
from errors_pictures import Shelf, Slider

from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.outcomes import KINDS, ORDERS, Confusion, Outcomes, confusion, gallery, keep_threshold, outcome_table
from medwb.plots.outcomes import OUTCOME_COLOURS, at_threshold
from medwb.plots.style import NEUTRAL
from medwb.runs import Run
from medwb.thresholds import remove_thresholds

THRESHOLD = "threshold"  # in the address
FORGET = "errors-forget"
SHOWN = 12  # scans a gallery
_SCORES = {"f1": "F1", "recall": "Recall", "precision": "Precision", "specificity": "Specificity"}


def chosen_threshold(outcomes: Outcomes, label: str) -> float:
    """The threshold that is looked at: the one in the address, or the run's own."""
    value = st.session_state.get(THRESHOLD)
    return outcomes.threshold(label) if value is None else float(value)


def forget_threshold() -> None:
    """Go back to the run's own threshold, as after a change of the label."""
    st.session_state[THRESHOLD] = None


@st.fragment
def panel(data: Dataset, run: Run, outcomes: Outcomes, key: errors_loaders.Key, label: str) -> None:
    """The slider, the curves and the galleries; while the slider moves, only this is drawn again."""
    own = outcomes.threshold(label)
    _controls(run, outcomes, label, own)
    threshold = chosen_threshold(outcomes, label)
    counted = confusion(outcomes, label, threshold)
    scans, curves = st.columns([1.9, 1], gap="large")
    with scans:  # first, as it is what the browser waits for before it sends the next threshold
        order = st.session_state.get("errors-order") or "surest"
        errors_pictures.shelves(
            data,
            [_shelf(outcomes, counted, kind, order) for kind in KINDS],
            "errors-live",
            slider=Slider(f"Threshold of {label}", threshold, own, f"{own:.4f}: {outcomes.rule}"),
            panel=f"{outcomes.run_id} {outcomes.split} {label}",
            moved=_move,
        )
        st.download_button(
            f"Download the outcome of all {len(outcomes):,} scans as CSV",
            lambda: outcome_table(outcomes, label, threshold).to_csv(index=False).encode("utf-8"),
            f"{outcomes.run_id}-{outcomes.split}-{label}-outcomes.csv",
            "text/csv",
            key="errors-download",
            on_click="ignore",
            icon=":material/download:",
        )
    with curves:
        curves_figure = at_threshold(
            errors_loaders.curves(key, label), outcomes.ranked[outcomes.place(label)].curve, threshold
        )
        st.plotly_chart(curves_figure, key="errors-curves")
        _scores(counted)
        st.caption(controls.plain(_about(outcomes, counted)))


def _move(value: float) -> None:
    st.session_state[THRESHOLD] = value


def _controls(run: Run, outcomes: Outcomes, label: str, own: float) -> None:
    number, order, buttons = st.columns([1, 1.7, 1.7], vertical_alignment="bottom")
    number.number_input(
        "Threshold",
        0.0,
        1.0,
        None,
        step=0.01,
        format="%.4f",
        key=THRESHOLD,
        placeholder=f"{own:.4f}",
        help="A label is called where its score is at least this. Empty: the run's own.",
        bind="query-params",
    )
    order.segmented_control(
        "Scans", list(ORDERS), default="surest", format_func=ORDERS.get, required=True, key="errors-order",
        bind="query-params",
    )  # fmt: skip
    by_hand = st.session_state.get(THRESHOLD) is not None
    with buttons.container(horizontal=True):
        keep = st.button(
            "Keep",
            key="errors-keep",
            icon=":material/save:",
            disabled=not by_hand or outcomes.split != "val",
            help="Use the run with this threshold for this label from now on. Only what was chosen on validation "
            "can be kept: nothing is selected on the test split.",
        )
        st.button(
            "Reset", key="errors-reset", icon=":material/undo:", disabled=not by_hand, on_click=forget_threshold
        )
        back = st.button(
            "Best F1",
            key="errors-best",
            help="Drop all thresholds that were kept for this run: back to the best F1 on validation.",
            disabled=not loaders.thresholds_stamp(run.id),
        )
    try:
        if keep:
            keep_threshold(run, label, chosen_threshold(outcomes, label))
            st.session_state[FORGET] = True
            st.rerun()
        if back:
            remove_thresholds(run)
            st.session_state[FORGET] = True
            st.rerun()
    except RequestError as error:
        controls.refuse(error)


def _shelf(outcomes: Outcomes, counted: Confusion, kind: str, order: str) -> Shelf:
    rows, count = gallery(outcomes, counted.label, counted.threshold, kind, order, SHOWN)
    place, score = outcomes.place(counted.label), counted.ranges[kind]
    interval = "" if math.isnan(score.low) else f"95 %: {score.low:,.0f} to {score.high:,.0f}"
    texts = [f"score {value:.3f}" for value in outcomes.y_score[rows, place].tolist()]
    colour = OUTCOME_COLOURS.get(kind, NEUTRAL)
    none = "None at this threshold."
    return Shelf(KINDS[kind], f"{count:,}", interval, colour, outcomes.positions[rows], texts, none)


def _scores(counted: Confusion) -> None:
    rows = [(title, *counted.scores[name]) for name, title in _SCORES.items()]
    number = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        pd.DataFrame(rows, columns=["Score", "Value", "From", "To"]),
        hide_index=True,
        height="content",
        placeholder="undefined",
        column_config={"Value": number, "From": number, "To": number},
    )


def _about(outcomes: Outcomes, counted: Confusion) -> str:
    tp, fp, fn, tn = counted.counts
    unknown = (
        f" {counted.unknown:,} scans of unknown truth count nowhere; {counted.unknown_called:,} of them are called."
        if counted.unknown
        else ""
    )
    return (
        f"{tp + fn:,} positives and {fp + tn:,} negatives. 95 % intervals know patients and copies.{unknown} "
        f"The run's own thresholds: {outcomes.rule}."
    )
