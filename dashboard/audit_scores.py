"""What an audit means for scores: leaks between splits, and the ceiling."""

import controls
import loaders
import streamlit as st

from medwb import plots
from medwb.audit import Audit


def leaks(audit: Audit, key: loaders.AuditKey) -> None:
    """Split by split: samples with copies, or of groups, that stand elsewhere too; and the certificate."""
    found = loaders.leaks(key)
    summary, totals = found.summary(), audit.dataset.samples["split"].value_counts()
    certificate = loaders.certificate(key)
    st.write(
        "A validation or test sample that the training has seen, as a copy or as another scan of the same patient, "
        "scores too well. Frames of one value do not count: there is nothing on them to remember."
    )
    facts = {
        "Sets of copies in several splits": f"{summary['sets'] - summary['constant_sets']:,}",
        "Groups in several splits": f"{summary['groups']:,}",
    }
    for split in ("val", "test"):
        part = summary[split]
        if part["samples"]:
            facts[f"{split.capitalize()} samples touched"] = f"{part['touched']:,} ({part['share']:.1%})"
    for column, (name, value) in zip(st.columns(4), facts.items(), strict=False):
        column.metric(name, value)
    left, right = st.columns(2, gap="large")
    left.subheader("Copies")
    left.plotly_chart(plots.leak_matrix(found.matrix("copies"), totals, what="copies"), key="leaks-copies")
    right.subheader("Groups (patients)")
    if (audit.dataset.samples["group"] != "").any():
        right.plotly_chart(
            plots.leak_matrix(found.matrix("groups"), totals, what="the same group"), key="leaks-groups"
        )
    else:
        right.info("The dataset does not say which samples belong to one patient.", icon=":material/info:")
    st.subheader("Certificate")
    (st.success if certificate.clean else st.warning)(
        controls.plain(certificate.text), icon=":material/verified:" if certificate.clean else ":material/warning:"
    )
    st.caption(
        "Every run keeps this, for the samples that its cleaning leaves. Its hash covers all that was compared:"
    )
    st.code(certificate.hash, language=None)
    table = found.table()
    if table.empty:
        return
    st.subheader("What stands in several splits")
    st.dataframe(
        table.head(1000),
        hide_index=True,
        height="content" if len(table) <= 8 else 300,
        column_config={
            "kind": "What",
            "name": "Set or group",
            **{split: st.column_config.NumberColumn(split, format="localized") for split in ("train", "val", "test")},
            "constant": st.column_config.CheckboxColumn("Frames of one value"),
        },
    )
    controls.download_table(table, f"{key[0]}-leaks")


def ceiling(audit: Audit, key: loaders.AuditKey) -> None:
    """The best score that any function of the image can reach on each split."""
    table = loaders.audit_table("ceiling_table", key)
    if table.empty:
        st.info("No label is known, so nothing can be scored.", icon=":material/info:")
        return
    st.write(
        "**No model passes this line**, however good it is and whatever its threshold. A function of the image gives "
        "identical images one answer; where their labels contradict, it cannot be right on all of them. Without "
        "contradictory exact copies the ceiling is 1. A score is to be read against it, not against 1."
    )
    capped = table["ceiling"] < table["black"] - 1e-9
    black = st.toggle(
        "What black frames alone cost",
        key="black",
        bind="query-params",
        help="The ceiling if all other copies had been labelled alike.",
    )
    st.plotly_chart(plots.ceiling_bars(table, black=black), key="ceiling-bars")
    macro = table[table["score"] == "macro_f1"]
    for _, row in macro.iterrows():
        if row["black"] < 1 and black:
            rest = (
                "all of it"
                if not capped[row.name]
                else f"other copies cost another {row['black'] - row['ceiling']:.4f}"
            )
            st.caption(
                f"{row['split']}: black frames alone hold macro F1 at {row['black']:.4f}; "
                f"{1 - row['black']:.4f} is lost by them; {rest}."
            )
    wide = table.assign(score=table["score"].map(plots.score_title), bound=table["bound"].map({True: "≤", False: ""}))
    number = st.column_config.NumberColumn
    st.dataframe(
        wide,
        hide_index=True,
        height="content" if len(wide) <= 10 else 320,
        placeholder="–",
        column_config={
            "split": "Split",
            "score": "Score",
            "ceiling": number("Ceiling", format="%.4f"),
            "black": number("Black frames alone", format="%.4f"),
            "bound": st.column_config.TextColumn("", help="≤: an upper bound, not known to be reached."),
        },
    )
    controls.download_table(table, f"{key[0]}-ceiling")
