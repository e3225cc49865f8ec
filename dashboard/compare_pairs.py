"""The panel of paired comparisons: which rows differ, which cannot be told apart, and two rows label by label."""

import controls
import loaders
import numpy as np
import pandas as pd
import streamlit as st

from medwb.answers_compared import compared_rows
from medwb.comparison import Comparison, difference_score, metric_facts
from medwb.dataset import Dataset
from medwb.metrics import METRICS
from medwb.plots.comparison import tie_chart
from medwb.runs import Run


def panel(data: Dataset, runs: list[Run], split: str) -> None:
    """Choose a score and rows; see differences, ties and, for two rows, each label.

    Args:
        data: The picked dataset.
        runs: Its finished runs, the oldest first.
        split: What is scored.
    """
    rows = compared_rows(runs)
    what, which = st.columns([1, 2])
    names = ["macro_f1", *(name for name in METRICS.names() if name not in ("f1", "macro_f1"))]
    metric = what.selectbox(
        "Compared by",
        [*names, *(f"f1:{label}" for label in data.label_names)],
        format_func=lambda name: metric_facts(name, data.label_names)[0],
        key="compared-by",
        bind="query-params",
    )
    chosen = which.multiselect(
        "Rows",
        list(rows),
        placeholder="all; choose two to see each label",
        key="compared-rows",
        persist_state="session",
    )
    if len(rows) < 2:
        st.info("One row is nothing to compare. Train another architecture.", icon=":material/compare_arrows:")
        return
    picked = [run.id for name in chosen for run in rows[name]] if len(chosen) > 1 else [run.id for run in runs]
    found = loaders.comparison(data.name, data.fingerprint, tuple(picked), split, metric, len(chosen) > 1)
    if isinstance(found, str):
        controls.refuse(found)
        return
    _show(found)


def _show(found: Comparison) -> None:
    st.success(controls.plain(found.sentence), icon=":material/compare_arrows:")
    st.plotly_chart(tie_chart(found), key="ties")
    if len(found.labels):
        _labels(found)
    with st.expander(f"All {len(found.pairs)} pairs"):
        _pairs(found)
    st.caption(controls.plain(f"{found.samples:,} samples, {found.units:,} units. {'; '.join(found.notes)}."))
    st.download_button(
        "Download CSV",
        found.to_csv(),
        f"{found.dataset}-{found.split}-pairs.csv",
        "text/csv",
        key="pairs-csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _pairs(found: Comparison) -> None:
    names = found.rows["name"].to_numpy(object)
    shown = pd.DataFrame({"Row": names[found.pairs["a"]], "less": names[found.pairs["b"]]})
    shown["Difference"] = [_signed(cells) for cells in found.pairs.to_dict("records")]
    shown["p, bootstrap"], shown["p, swaps"] = found.pairs["p_bootstrap"], found.pairs["p_permutation"]
    shown["p, corrected for all pairs"] = found.pairs["p_holm"]
    shown["Verdict"] = np.where(found.pairs["verdict"] == "better", "the first is better", found.pairs["verdict"])
    numbers = {name: st.column_config.NumberColumn(format="%.2g") for name in shown if name.startswith("p,")}
    st.dataframe(
        shown, hide_index=True, placeholder="–", column_config=numbers, height=460 if len(shown) > 12 else "content"
    )


def _labels(found: Comparison) -> None:
    first, second = found.rows["name"]
    shown = pd.DataFrame({"Label": found.labels["label"]})
    shown[f"F1: {first} less {second}"] = [_signed(cells) for cells in found.labels.to_dict("records")]
    shown[f"Only {first} right"], shown[f"Only {second} right"] = found.labels["a_alone"], found.labels["b_alone"]
    shown["p of as many right, corrected"] = found.labels["p_holm"]
    shown["Test"] = found.labels["method"]
    numbers = {"p of as many right, corrected": st.column_config.NumberColumn(format="%.2g")}
    st.dataframe(shown, hide_index=True, placeholder="–", column_config=numbers, height="content")


def _signed(cells: dict[str, object]) -> str:
    value, low, high = difference_score(cells)
    return "undefined" if value != value else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
