"""Labels: prevalence by split, labels together, suspected errors, shortcuts."""

import audit_pictures
import controls
import loaders
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.audit import Audit

_SUSPECTS, _ROWS = 24, 1000


def labels(audit: Audit, key: loaders.AuditKey) -> None:
    """One of four views, so that only that one is computed."""
    if not audit.dataset.label_names:
        st.info("The dataset has no labels.", icon=":material/info:")
        return
    views = {"Prevalence": _prevalence, "Together": _together, "Suspected errors": _suspects, "Shortcuts": _shortcuts}
    view = st.segmented_control(
        "Labels", list(views), default="Prevalence", required=True, key="facts", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    views[view](audit, key)


def _table(table: pd.DataFrame, name: str, formats: dict[str, str]) -> None:
    """A table with its download; titles are the columns' names in words."""
    config = {
        column: st.column_config.NumberColumn(
            column.replace("_", " ").capitalize(), format=formats.get(column, "localized")
        )
        if pd.api.types.is_numeric_dtype(table[column]) and table[column].dtype != bool
        else st.column_config.Column(column.replace("_", " ").capitalize())
        for column in table
    }
    st.dataframe(
        table.head(_ROWS),
        hide_index=True,
        placeholder="–",
        height="content" if len(table) <= 10 else 320,
        column_config=config,
    )
    controls.download_table(table, name)


def _prevalence(audit: Audit, key: loaders.AuditKey) -> None:
    table, shifts = loaders.audit_table("prevalence_table", key), loaders.audit_table("shift_table", key)
    st.plotly_chart(plots.prevalence_dots(table), key="prevalence-dots")
    st.subheader("Shifts between splits")
    st.write("Effect is Cohen's h: 0.2 is small, 0.5 medium. p-values allow for groups and for the number of tests.")
    _table(
        shifts,
        f"{key[0]}-shifts",
        dict.fromkeys(("prevalence", "reference_prevalence", "difference", "effect"), "%.3f")
        | {"design_effect": "%.2f", "p_value": "%.2g", "p_adjusted": "%.2g"},
    )
    st.subheader("Balance")
    st.write("Imbalance is how many times as common the commoner answer is.")
    _table(
        table,
        f"{key[0]}-prevalence",
        dict.fromkeys(("unknown_share", "prevalence", "low", "high"), "%.3f") | {"imbalance": "%.1f"},
    )


def _together(audit: Audit, key: loaders.AuditKey) -> None:
    pairs, combinations = loaders.audit_table("pair_table", key), loaders.audit_table("combination_table", key)
    st.subheader("Pairs of labels")
    st.write(
        "Lift is how many times as often two labels occur together as they would by chance; 0 is never seen. A label "
        "implies or excludes another where next to no sample says otherwise, too few for chance."
    )
    rank = pairs["relation"].map({"implies": 0, "excludes": 1}).fillna(2)
    ordered = pairs.iloc[rank.argsort(kind="stable")]
    never = int(((pairs["together"] == 0) & (pairs["expected"] >= 1)).sum()) // 2
    st.caption(f"{never:,} pairs never occur together though at least one sample would by chance.")
    _table(
        ordered,
        f"{key[0]}-pairs-of-labels",
        {"expected": "%.1f", "p_b_given_a": "%.3f", "lift": "%.2f", "p_value": "%.2g", "p_adjusted": "%.2g"},
    )
    st.subheader("Combinations")
    possible = 2 ** len(audit.dataset.label_names)
    st.caption(f"{len(combinations):,} of {possible:,} possible combinations occur; the rest was never seen.")
    _table(combinations.drop(columns="first"), f"{key[0]}-combinations", {"share": "%.4f", "expected": "%.1f"})


def _suspects(audit: Audit, key: loaders.AuditKey) -> None:
    table = loaders.audit_table("suspect_table", key)
    st.write(
        "A quick model that has not seen the sample gives its label a probability below 5 %, by confident learning. "
        "Labels that the model cannot tell well are passed over. A suspicion is not a verdict: look. Beneath each "
        "scan: its label as it is, and the probability of yes that the model gives."
    )
    if table.empty:
        st.success("No label is suspected.", icon=":material/check_circle:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        counts = table["label"].value_counts()
        label = st.selectbox(
            "Label", ["all", *(name for name in audit.dataset.label_names if name in counts)],
            key="suspects", bind="query-params", width=260,
        )  # fmt: skip
        shown = table if label == "all" else table[table["label"] == label]
        number = controls.pager(-(-len(shown) // _SUSPECTS), "suspects-page")
        controls.download_table(table, f"{key[0]}-suspects")
    st.caption(f"{len(shown):,} of {len(table):,} suspected labels")
    page = shown.iloc[(number - 1) * _SUSPECTS : number * _SUSPECTS]
    captions = []
    for _, row in page.iterrows():
        answer = f"{row['label']}: {'yes' if row['given'] == 1 else 'no'}"
        says = f"model says {row['probability']:.3f}"
        captions.append(audit_pictures.lines(audit_pictures.short(row["id"]), row["split"], answer, says))
    audit_pictures.pictures(audit.dataset, page["position"].to_numpy(), captions)


def _shortcuts(audit: Audit, key: loaders.AuditKey) -> None:
    table = loaders.audit_table("shortcuts", key)
    st.write(
        "Properties of the image, not of what it shows, that alone predict a label. A network finds them, and fails "
        "where they do not hold. Nothing is fitted here; 0.5 is chance. 'Certain low' allows for the number of rows."
    )
    label = st.selectbox("Label", ["all", *audit.dataset.label_names], key="shortcut", bind="query-params", width=260)
    shown = table if label == "all" else table[table["label"] == label]
    st.plotly_chart(plots.shortcut_dots(shown, audit.dataset.label_names), key="shortcut-dots")
    _table(shown, f"{key[0]}-shortcuts", dict.fromkeys(("auc", "low", "high", "certain_low"), "%.3f"))
