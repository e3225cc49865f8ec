"""Where errors gather: by image property and patient; and labels that may be wrong themselves."""

import math

import controls
import errors_loaders
import errors_pictures
import loaders
import streamlit as st
from errors_loaders import Key
from errors_pictures import Shelf

from medwb.dataset import Dataset
from medwb.outcomes import Outcomes, errors_by_group, errors_by_property, suspects
from medwb.outcomes.causes import ERRORS
from medwb.plots.outcomes import OUTCOME_COLOURS, error_bins

_ALL = "all labels"
_SHOWN = 36
_UNITS = {"mean": "grey level", "contrast": "grey levels", "height": "pixels", "width": "pixels"}


@st.fragment
def panel(data: Dataset, outcomes: Outcomes, key: Key, label: str) -> None:
    """Error rate over a property of the image, and the patients with the most errors."""
    of, kind_column = st.columns([1, 1.6])
    scope = of.segmented_control("Of", [label, _ALL], default=label, required=True, key="errors-scope")
    kind = kind_column.segmented_control(
        "Errors", list(ERRORS), default="all", format_func=ERRORS.get, required=True, key="errors-kind",
        bind="query-params",
    )  # fmt: skip
    chosen = None if scope == _ALL else label
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("By image property")
        table = errors_loaders.properties(key, loaders.audit_stamp(data.name))
        if isinstance(table, str):
            controls.refuse(table)
        elif not len(table.columns):
            st.info("All images are alike in what is measured.", icon=":material/info:")
        else:
            name = st.selectbox("Property", list(table), format_func=str.capitalize, key="errors-property")
            bins = errors_by_property(outcomes, table[name], chosen, kind)
            calls = bins["calls"].sum()
            whole = float(bins["wrong"].sum() / calls) if calls else math.nan
            st.plotly_chart(
                error_bins(bins, name.capitalize(), whole=whole, unit=_UNITS.get(name, "")), key="errors-bins"
            )
            st.caption("Bins of about as many scans each; the line is the rate over all. 95 % intervals.")
            controls.download_table(bins, f"{outcomes.run_id}-{outcomes.split}-{name}")
            if not loaders.audit_stamp(data.name):
                st.caption("An audit of the dataset measures more properties.")
    with right:
        st.subheader("By patient or study")
        groups = errors_by_group(outcomes, chosen, kind)
        if groups.empty:
            st.info("No sample of this split has a group with such a call.", icon=":material/info:")
            return
        share = st.column_config.NumberColumn(format="percent")
        named = {"group": "Group", "samples": "Scans", "calls": "Calls", "wrong": "Wrong", "rate": "Rate"}
        named |= {"rate_low": "From", "rate_high": "To"}
        st.dataframe(
            groups.rename(columns=named),
            hide_index=True,
            height=380,
            column_config={"Rate": share, "From": share, "To": share},
        )
        st.caption(f"{len(groups):,} groups; those that are wrong most surely first. 95 % intervals of each alone.")
        controls.download_table(groups, f"{outcomes.run_id}-{outcomes.split}-groups")


def suspects_panel(data: Dataset, outcomes: Outcomes) -> None:
    """Labels that the audit suspects, with what the run says."""
    stamp = loaders.audit_stamp(data.name)
    if not stamp:
        st.info("The dataset has not been audited yet; the audit looks for labels that may be wrong.")
        st.page_link("app_pages/02_audit.py", label="Go to Audit", icon=":material/fact_check:")
        return
    audit = loaders.audit(data.name, data.fingerprint, stamp)
    if isinstance(audit, str):
        controls.refuse(audit)
        return
    found = suspects(outcomes, audit)
    if found.empty:
        st.info("The audit suspects no label of this split.", icon=":material/check:")
        return
    shelves = []
    for agrees, title, kind in (
        (True, "suspected by the audit and the run", "false_positive"),
        (False, "suspected by the audit alone", "true_negative"),
    ):
        part = found[found["agrees"] == agrees]
        shown = part.head(_SHOWN)
        texts = [
            f"{row.label} {'yes' if row.given == 1 else 'no'}, score {row.score:.2f}" for row in shown.itertuples()
        ]
        positions = shown["position"].to_numpy()
        shelves.append(Shelf(title, f"{len(part):,}", "", OUTCOME_COLOURS[kind], positions, texts))
    errors_pictures.shelves(data, shelves, "errors-suspects")
    st.caption(
        "Yes or no: what the dataset says. The run may have learnt a wrong label in the training split, so that its "
        "word counts most in the others."
    )
    controls.download_table(found.drop(columns=["row", "position"]), f"{outcomes.run_id}-{outcomes.split}-suspects")
