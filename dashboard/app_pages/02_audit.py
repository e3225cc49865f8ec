"""Audit: what is wrong with a dataset, what it costs, and what to do about it."""

import audit_cleaning
import audit_copies
import audit_labels
import audit_overview
import audit_run
import audit_scores
import controls
import streamlit as st

data = controls.current_dataset()
st.title("Audit")
audit, key = audit_run.current_audit(data)
audit_overview.headline(audit)

TABS = {
    "Checks": audit_overview.scoreboard,
    "Copies": audit_copies.duplicate_sets,
    "Radius": audit_copies.radius,
    "Contradictions": audit_copies.contradictions,
    "Leaks": audit_scores.leaks,
    "Ceiling": audit_scores.ceiling,
    "Labels": audit_labels.labels,
    "Cleaning": audit_cleaning.cleaning,
}
for tab, draw in zip(st.tabs(list(TABS), key="audit", bind="query-params"), TABS.values(), strict=True):
    if tab.open:
        with tab:
            draw(audit, key)
