"""Cleaning: choose policies, see before and after, save, remove."""

from dataclasses import replace

import controls
import loaders
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.audit import Audit
from medwb.audit.cleaning import POLICIES, Cleaning, cleaning_names, open_cleaning, remove_cleaning, save_cleaning
from medwb.errors import RequestError

_START = "keep-one-soft"


def cleaning(audit: Audit, key: loaders.AuditKey) -> None:
    """Choose policies, see what they would do, save; a run names the cleaning that it learns under."""
    data = audit.dataset
    left, right = st.columns([2.2, 1], gap="large")
    with left:
        st.write(
            "A cleaning is a list of samples that leave and of labels that change. Scans and labels stay on disk."
        )
        policies = st.multiselect(
            "Policies, in the order in which they act",
            POLICIES.names(),
            [_START],
            format_func=lambda name: POLICIES.get(name).title,
            key="policies",
            persist_state="session",
            wrap=True,
        )
        for name in policies:
            policy = POLICIES.get(name)
            where = f" Acts on {' and '.join(policy.splits)}." if policy.splits else ""
            st.caption(f"**{policy.title}**: {policy.summary}{where}")
        splits = st.pills(
            "Acts on",
            data.splits,
            selection_mode="multi",
            default=[data.splits[0]] if "train" not in data.splits else ["train"],
            key="scope",
            persist_state="session",
            help="Policies about leaks name their splits themselves. Labels of one split never decide another's.",
        )
    with right:
        _saved(audit)
    if not policies:
        st.info("Choose at least one policy.", icon=":material/rule:")
        return
    answer = loaders.preview(key, tuple(policies), tuple(splits))
    if isinstance(answer, str):
        controls.refuse(answer)
        return
    made, tables = answer
    for note in made.notes:
        st.warning(controls.plain(note), icon=":material/info:")
    _before_and_after(tables)
    _save(made, pd.concat(tables, names=["table"]).reset_index("table"))


def _before_and_after(tables: dict[str, pd.DataFrame]) -> None:
    samples, leaks = st.columns(2, gap="large")
    number = st.column_config.NumberColumn
    counts = {name: number(format="localized") for name in ("before", "after", "excluded", "labels")}
    with samples:
        st.subheader("Samples")
        titles = {
            "split": "Split",
            "before": "Before",
            "after": "After",
            "excluded": "Leave",
            "labels": "Labels change",
        }
        st.dataframe(
            tables["samples"],
            hide_index=True,
            column_config={
                name: number(title, format="localized") if name in counts else title for name, title in titles.items()
            },
        )
    with leaks:
        st.subheader("Leaks")
        st.dataframe(
            tables["leaks"],
            hide_index=True,
            column_config={
                "what": "What",
                "split": "Split",
                "before": number("Before", format="localized"),
                "after": number("After", format="localized"),
            },
        )
    prevalence, ceiling = st.columns(2, gap="large")
    with prevalence:
        st.subheader("Prevalence")
        figure = plots.before_after(tables["prevalence"], "label", unit="Positives, % of those known", scale=100)
        st.plotly_chart(figure, key="prevalence-after")
    with ceiling:
        st.subheader("Ceiling")
        figure = plots.before_after(tables["ceiling"], "score", unit="Best score that is possible")
        st.plotly_chart(figure, key="ceiling-after")


def _save(made: Cleaning, effects: pd.DataFrame) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", made.name, key=f"name-{made.name}", width=340)
        if st.button("Save", type="primary", icon=":material/save:"):
            try:
                save_cleaning(replace(made, name=name))
                st.session_state["saved"] = name
                st.rerun()
            except RequestError as error:
                controls.refuse(error)
        controls.download_table(made.table, f"{made.dataset}-cleaning")
        controls.download_table(effects, f"{made.dataset}-before-after", "Before and after")
    st.caption(f"{len(made.table):,} rows: one a sample that leaves or a label that changes, with its reason.")
    if len(made.table):
        st.dataframe(made.table.head(200), hide_index=True, height=240, placeholder="–")


def _saved(audit: Audit) -> None:
    """The cleanings of the dataset, each with what it does and a button that removes it."""
    data = audit.dataset
    st.subheader("Saved")
    if name := st.session_state.pop("saved", None):
        st.toast(f"Saved as {controls.plain(name)}. Choose it under Train, Settings.", icon=":material/check:")
    names = cleaning_names(data)
    if not names:
        st.caption("None yet.")
    for name in names:
        text, button = st.columns([4, 1], vertical_alignment="center")
        text.text(f"{name}\n{_effect(audit, name)}")
        if button.button(
            "", icon=":material/delete:", key=f"remove-{name}", help="Remove; the dataset never changed."
        ):
            try:
                remove_cleaning(data, name)
            except RequestError as error:
                controls.refuse(error)
            else:
                st.rerun()


def _effect(audit: Audit, name: str) -> str:
    try:
        found = open_cleaning(audit.dataset, name)
    except RequestError as error:
        return str(error)
    return f"{sum(found.excluded.values()):,} leave, {sum(found.relabelled.values()):,} labels change"
