"""What an audit found at a glance, and the issues of one check."""

import audit_pictures
import controls
import loaders
import numpy as np
import pandas as pd
import streamlit as st

from medwb.audit import CHECKS, Audit

_AREAS = {"images": "Images", "copies": "Copies", "splits": "Splits", "labels": "Labels"}
_HELP = {
    "Sets of copies": "Exact and near copies together.",
    "Contradictory": "Samples in a set of copies that disagree on a label.",
    "Leaking": "Samples of val and test with a copy, or a sample of their group, in another split.",
    "Ceiling": "The best macro F1 that any function of the image can reach.",
}
_PICTURES, _ROWS = 24, 2000


def headline(audit: Audit) -> None:
    """A row of numbers."""
    summary = audit.summary
    touched = sum(summary["leaks"][split]["touched"] for split in ("val", "test"))
    scored = [split for split in ("val", "test", "train") if split in summary["ceiling"]]
    ceiling = summary["ceiling"][scored[0]]["macro_f1"] if scored else None
    facts = {
        "Samples": f"{len(audit.dataset):,}",
        "Sets of copies": f"{len(audit.copies):,}",
        "Contradictory": f"{summary['contradictions']['samples']:,}",
        "Constant frames": f"{summary['constant']:,}",
        "Leaking": f"{touched:,}",
        f"Ceiling{f' on {scored[0]}' if scored else ''}": "–" if ceiling is None else f"{ceiling:.3f}",
    }
    for column, (name, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(name, value, help=_HELP.get(name.partition(" on ")[0]))


def scoreboard(audit: Audit, key: loaders.AuditKey) -> None:
    """One row a check; the issues of the one that is picked."""
    table = loaders.audit_table("check_table", key)
    shown = pd.DataFrame(
        {
            "Area": table["area"].map(_AREAS),
            "Check": table["title"],
            "Issues": table["issues"],
            "Affected": [_affected(row) for _, row in table.iterrows()],
            "Share": table["share"] * 100,
            "An issue means": table["summary"],
        }
    )
    event = st.dataframe(
        shown,
        key=f"checks-{hash(key)}",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height="content",
        placeholder="–",
        column_config={
            "Area": st.column_config.TextColumn(width=60),
            "Check": st.column_config.TextColumn(width=150),
            "Issues": st.column_config.NumberColumn(format="localized", width=60),
            "Affected": st.column_config.TextColumn(width=100),
            "Share": st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=100, width=100),
        },
    )
    if event.selection.rows:
        st.query_params["check"] = table["check"].iloc[event.selection.rows[0]]
    st.caption("Tick a row for its issues. Share: of the dataset's samples, or of its labels.")
    with st.container(horizontal=True):
        controls.download_table(table, f"{key[0]}-checks", "Checks")
        controls.download_table(audit.issues, f"{key[0]}-issues", "All issues")
        controls.download_table(audit.frames, f"{key[0]}-frames", "What was measured of each frame")
    asked = st.query_params.get("check", "")
    found = table[table["issues"] > 0]
    if asked in CHECKS.names():
        _issues(audit, asked)
    elif len(found):
        _issues(audit, str(found["check"].iloc[0]))
    else:
        st.success("No check found anything.", icon=":material/check_circle:")


def _affected(row: pd.Series) -> str:
    if not row["issues"]:
        return "–"
    return "dataset" if row["unit"] == "dataset" else f"{row['affected']:,} {row['unit']}"


def _issues(audit: Audit, name: str) -> None:
    """The issues of one check, the clearest first, with the pictures of their samples."""
    check = CHECKS.get(name)
    issues = audit.issues[audit.issues["check"] == name].sort_values("score", ascending=False, kind="stable")
    st.subheader(check.title)
    st.write(check.summary)
    if issues.empty:
        st.success("Nothing found.", icon=":material/check_circle:")
        return
    samples = issues[issues["id"] != ""].head(_PICTURES)
    if len(samples):
        positions = pd.Index(audit.dataset.samples["id"]).get_indexer(pd.Index(samples["id"])).astype(np.int64)
        captions = [
            audit_pictures.caption(audit.dataset, position, _note(row))
            for position, (_, row) in zip(positions.tolist(), samples.iterrows(), strict=True)
        ]
        with st.container(height=330, border=False):
            audit_pictures.pictures(audit.dataset, positions, captions)
    columns = [name for name in ("id", "label", "set") if (issues[name] != "").any()]
    st.dataframe(
        issues[[*columns, "score", "evidence"]].head(_ROWS),
        hide_index=True,
        height="content" if len(issues) <= 8 else 300,
        column_config={
            "id": "Sample",
            "label": "Label",
            "set": "Set or group",
            "score": st.column_config.NumberColumn("Score", format="%.3f", width=70),
            "evidence": st.column_config.TextColumn("Evidence", width="large"),
        },
    )
    row = st.container(horizontal=True, vertical_alignment="center")
    with row:
        controls.download_table(issues, f"{audit.dataset.name}-{name}")
        more = f"the {min(_ROWS, len(issues)):,} clearest of " if len(issues) > _ROWS else ""
        st.caption(f"Shown: {more}{len(issues):,} issues. Scores grade issues within their check.")


def _note(issue: pd.Series) -> str:
    return f"{issue['label']}: {issue['score']:.2f}" if issue["label"] else f"score {issue['score']:.2f}"
