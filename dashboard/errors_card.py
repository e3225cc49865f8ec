"""One scan with all that is known of it: picture, truth and answer a label, split, group, copies, issues."""

import controls
import loaders
import pandas as pd
import streamlit as st
from errors_pictures import PICKED

from medwb.audit import CHECKS
from medwb.dataset import Dataset
from medwb.gallery import enlarge
from medwb.outcomes import UNKNOWN, Outcomes, scan_table
from medwb.plots.outcomes import scan_scores

_LARGE = 360  # pixels
_TRUTH = {1.0: "positive", 0.0: "negative"}


def _close() -> None:
    st.query_params.pop(PICKED, None)


def show_picked(data: Dataset, outcomes: Outcomes, label: str, threshold: float) -> None:
    """The card of the scan in the address, in a dialog; nothing where none is picked."""
    picked = st.query_params.get(PICKED, "")
    if not picked:
        return
    found = data.samples.index[data.samples["id"] == picked]
    if not len(found):
        st.warning(controls.plain(f"There is no scan {picked!r} in {data.name}."), icon=":material/search_off:")
        _close()
        return
    position = int(data.samples.index.get_loc(found[0]))
    st.dialog("Scan", width="large", on_dismiss=_close)(_card)(data, outcomes, position, {label: threshold})


def _card(data: Dataset, outcomes: Outcomes, position: int, thresholds: dict[str, float]) -> None:
    sample = data.samples.iloc[position]
    picture, answers = st.columns([1, 1.25], gap="large")
    with picture:
        image = data.images[data.rows[[position]]]
        scale = max(1, _LARGE // max(image.shape[1:3]))
        st.image(enlarge(image, scale)[0], width="stretch", output_format="PNG")
        _facts(data, position, sample)
    with answers:
        row = outcomes.row_of.get(position)
        if row is None:
            st.info(
                f"The run did not answer this scan in the split {controls.plain(outcomes.split)}.",
                icon=":material/info:",
            )
            return
        table = scan_table(outcomes, row, thresholds)
        st.plotly_chart(scan_scores(table), key="errors-card-scores")
        words = {
            "Label": table["label"],
            "Truth": [_TRUTH.get(float(value), UNKNOWN) for value in table["truth"]],
            "Score": table["score"],
            "Outcome": table["outcome"].str.replace("_", " "),
        }
        number = st.column_config.NumberColumn(format="%.4f")
        st.dataframe(pd.DataFrame(words), hide_index=True, height="content", column_config={"Score": number})


def _facts(data: Dataset, position: int, sample: pd.Series) -> None:
    facts = {"id": sample["id"], "split": sample["split"], "group": sample["group"] or "–"}
    facts["found as"] = f"{sample['width']} × {sample['height']} px, {sample['mode']}"
    if sample["path"]:
        facts["path"] = sample["path"]
    stamp = loaders.audit_stamp(data.name)
    audit = loaders.audit(data.name, data.fingerprint, stamp) if stamp else None
    if audit is None or isinstance(audit, str):
        facts["copies, issues"] = "not audited" if audit is None else "the audit cannot be read"
    else:
        mine = audit.groups[audit.groups["id"] == sample["id"]]
        same = audit.groups[audit.groups["set"].isin(mine["set"]) & (audit.groups["id"] != sample["id"])]["id"]
        facts["copies"] = ", ".join(same.head(5)) + (" …" if len(same) > 5 else "") if len(same) else "none found"
        issues = audit.issues[audit.issues["id"] == sample["id"]]
        for name, part in issues.groupby("check", sort=False):
            title = CHECKS.get(str(name)).title if name in CHECKS.names() else str(name)
            facts[title] = "; ".join(
                ": ".join(filter(None, (label, evidence)))
                for label, evidence in zip(part["label"], part["evidence"], strict=True)
            )
    table = pd.DataFrame({"Field": list(facts), "Value": [str(value) for value in facts.values()]})
    st.dataframe(
        table, hide_index=True, height="content", column_config={"Field": st.column_config.Column(width=110)}
    )
