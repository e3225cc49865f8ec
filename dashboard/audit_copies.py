"""Copies: sets as strips of pictures, candidate pairs by radius, contradictions as votes."""

import audit_pictures
import controls
import loaders
import numpy as np
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.audit import Audit

_SETS, _STRIP, _PAIRS, _BARS = 8, 8, 20, 12
_DRAWN = 3  # sets whose pictures stand below their votes
_SMALL = 3  # samples of a set that takes half of the page's width
_FILTERS = {
    "all": lambda table: np.ones(len(table), bool),
    "exact": lambda table: table["pictures"] < table["samples"],
    "near": lambda table: table["pictures"] > 1,
    "contradictory": lambda table: table["contradicts"],
    "leaking": lambda table: table["leaks"],
}


def duplicate_sets(audit: Audit, key: loaders.AuditKey) -> None:
    """Sets of copies, a strip of pictures each."""
    table = loaders.audit_table("set_table", key)
    if table.empty:
        st.success("No sample is a copy of another.", icon=":material/check_circle:")
        return
    masks = {name: np.asarray(chosen(table), bool) for name, chosen in _FILTERS.items()}
    left, right = st.columns([2, 1])
    kind = left.segmented_control(
        "Sets",
        list(_FILTERS),
        default="all",
        required=True,
        key="sets",
        bind="query-params",
    )
    first = right.segmented_control(
        "First",
        ["contradictory", "largest"],
        default="contradictory",
        required=True,
        key="order",
        bind="query-params",
    )
    st.caption(" · ".join(f"{name} {mask.sum():,}" for name, mask in masks.items()))
    columns = ["contradicts", "samples"] if first == "contradictory" else ["samples"]
    shown = table[masks[kind]].sort_values(columns, ascending=False, kind="stable")
    if shown.empty:
        st.info("No set is of this kind.", icon=":material/filter_alt_off:")
        return
    bar = st.container(horizontal=True, vertical_alignment="center")
    with bar:
        number = controls.pager(-(-len(shown) // _SETS), "sets-page")
        names = audit.groups.merge(table.drop(columns="number"), on="set")
        controls.download_table(names, f"{key[0]}-copies", "Download sets")
    _strips(audit, shown.iloc[(number - 1) * _SETS : number * _SETS])


def _strips(audit: Audit, sets: pd.DataFrame) -> None:
    """Sets one below the other, small ones two in a row."""
    columns, used = [], 2
    for _, row in sets.iterrows():
        if row["samples"] > _SMALL:
            used = 2
            _strip(audit, row)
            continue
        if used == 2:
            columns, used = st.columns(2), 0
        with columns[used]:
            _strip(audit, row)
        used += 1


def _strip(audit: Audit, row: pd.Series) -> None:
    """One set: facts, then pictures with labels, of each different answer one first."""
    data, members = audit.dataset, plots.set_members(audit, int(row["number"]), _STRIP)
    splits = ", ".join(f"{split} {row[split]:,}" for split in data.splits if row[split])
    kind = "same pixels" if row["pictures"] == 1 else f"{row['pictures']:,} different pictures"
    with st.container(border=True):
        head = st.container(horizontal=True, vertical_alignment="center")
        head.markdown(f"**{row['set']}** · {row['samples']:,} samples · {kind} · {splits}", width="content")
        if row["contradicts"]:
            names = audit_pictures.cut(row["disputed"], 60)
            head.badge(f"contradict on {controls.plain(names)}", color="red", icon=":material/contrast:")
        if row["leaks"]:
            head.badge("in several splits", color="orange", icon=":material/call_split:")
        if row["constant"]:
            head.badge("frames of one value in several splits", color="gray")
        captions = [audit_pictures.caption(data, position) for position in members.tolist()]
        audit_pictures.pictures(data, members, captions)
        if row["samples"] > len(members):
            st.caption(f"and {row['samples'] - len(members):,} more")


def radius(audit: Audit, key: loaders.AuditKey) -> None:
    """Candidate pairs up to a radius that a slider sets: how many, how often they agree, what they look like."""
    pairs = loaders.audit_table("candidate_table", key)
    widest = float(audit.summary["near"]["radius"])
    st.write(
        "Two scans are candidates when their signatures lie within the radius. The likeliest candidates of each scan "
        "are laid over one another and compared in full: these are shown. Scans of like anatomy are near, and are no "
        "copies: their labels agree less often."
    )
    if pairs.empty:
        st.success(f"No two scans lie within {widest:g} of one another.", icon=":material/check_circle:")
        return
    left, right = st.columns([2, 1.4], gap="large", vertical_alignment="bottom")
    at = left.slider("Radius", 0.0, widest, widest, 0.005, format="%.3f", key="radius", bind="query-params")
    kind = right.segmented_control(
        "Pairs", ["all", "copies", "look-alikes"], default="all", required=True, key="pairs", bind="query-params"
    )
    within = pairs[pairs["distance"] <= at + 1e-6]
    borne = within["copy"].to_numpy(bool)
    curves = plots.radius_table(pairs, widest)
    chance = loaders.chance_agreement(*key[:2])
    st.plotly_chart(plots.radius_curves(curves, at=at, chance=chance), key="radius-curves")
    facts = {
        "Compared within the radius": f"{len(within):,}",
        "Borne out by the pixels": f"{borne.sum():,}",
        "Pairs with the same labels": _share(within["agree"]),
        "Of those borne out": _share(within.loc[borne, "agree"]),
        "Two scans at random": _share(pd.Series([chance])),
    }
    for column, (name, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(name, value)
    shown = {"all": within, "copies": within[borne], "look-alikes": within[~borne]}[kind]
    bar = st.container(horizontal=True, vertical_alignment="center")
    with bar:
        order = st.segmented_control(
            "Order", ["nearest first", "farthest first"], default="nearest first", required=True, key="from",
            bind="query-params", label_visibility="collapsed",
        )  # fmt: skip
        number = controls.pager(-(-len(shown) // _PAIRS), "pairs-page")
        controls.download_table(pairs.drop(columns=["position_a", "position_b"]), f"{key[0]}-pairs", "Download pairs")
    shown = shown if order == "nearest first" else shown.iloc[::-1]
    page = shown.iloc[(number - 1) * _PAIRS : number * _PAIRS]
    a, b = (page[name].to_numpy(np.int64) for name in ("position_a", "position_b"))
    audit_pictures.pairs(audit.dataset, a, b, [_pair_caption(row) for _, row in page.iterrows()])
    if page.empty:
        st.info("No pair is left. Move the slider to the right, or show all.", icon=":material/filter_alt_off:")


def _pair_caption(row: pd.Series) -> str:
    verdict = "**copy**" if row["copy"] else "look-alike"
    agree = {1.0: "same labels", 0.0: "labels differ"}.get(row["agree"], "labels not known")
    names = audit_pictures.lines(f"{audit_pictures.short(row['a'])} | {audit_pictures.short(row['b'])}")
    return f"{verdict}, {agree}  \ndistance {row['distance']:.3f}, similarity {row['similarity']:.3f}  \n{names}"


def _share(agree: pd.Series) -> str:
    known = agree.dropna()
    return f"{known.mean():.1%}" if len(known) else "–"


def contradictions(audit: Audit, key: loaders.AuditKey) -> None:
    """Copies that disagree on a label: votes, expected labels, how many samples contradict."""
    votes, sets = loaders.audit_table("contradiction_table", key), loaders.audit_table("set_table", key)
    if votes.empty:
        st.success("No copies contradict one another on a label that they know.", icon=":material/check_circle:")
        return
    st.write(
        "A network gives identical pictures one answer, and near copies hardly another. Where their labels differ, "
        "some are wrong whatever it answers: at least those against the majority. The share of positive answers is "
        "the expected label of the picture. The ceiling counts identical pictures alone."
    )
    disputed = sets[sets["contradicts"]]
    facts = {
        "Sets that contradict": f"{len(disputed):,} of {len(sets):,}",
        "Samples in them": f"{disputed['samples'].sum():,}",
        "Of all samples": f"{disputed['samples'].sum() / len(audit.dataset):.1%}",
        "Answers against the majority": f"{votes['against'].sum():,}",
    }
    for column, (name, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(name, value)
    label = st.selectbox("Label", ["all", *audit.dataset.label_names], key="votes", bind="query-params", width=260)
    shown = votes if label == "all" else votes[votes["label"] == label]
    number = controls.pager(-(-len(shown) // _BARS), "votes-page")
    page = shown.iloc[(number - 1) * _BARS : number * _BARS]
    st.plotly_chart(plots.vote_bars(page, top=_BARS), key="vote-bars")
    drawn = [int(name.rpartition("-")[2]) for name in dict.fromkeys(page["set"])][:_DRAWN]
    _strips(audit, sets.iloc[drawn])
    st.dataframe(
        shown.drop(columns="contradicts").head(1000),
        hide_index=True,
        height="content" if len(shown) <= 8 else 300,
        column_config={
            "set": "Set",
            "label": "Label",
            "samples": st.column_config.NumberColumn("Samples", format="localized"),
            "positive": st.column_config.NumberColumn("Positive", format="localized"),
            "negative": st.column_config.NumberColumn("Negative", format="localized"),
            "unknown": st.column_config.NumberColumn("Unknown", format="localized"),
            "share": st.column_config.ProgressColumn("Expected label", format="%.3f", min_value=0, max_value=1),
            "against": st.column_config.NumberColumn("Against the majority", format="localized"),
        },
    )
    controls.download_table(votes, f"{key[0]}-contradictions")
