"""Scans worth looking at: the hardest ones, and those on which two runs disagree."""

from collections.abc import Mapping

import controls
import errors_loaders
import errors_pictures
import streamlit as st
from errors_loaders import Key
from errors_pictures import Shelf
from run_panel import run_title

from medwb.dataset import Dataset
from medwb.looks import record_look
from medwb.outcomes import Outcomes, flip_counts
from medwb.plots.outcomes import OUTCOME_COLOURS, disagreement_scatter
from medwb.plots.style import NEUTRAL
from medwb.runs import Run

_SHOWN = 48
_SIDES = 18
Runs = Mapping[str, Run]


def hardest_panel(data: Dataset, runs: Runs, key: Key) -> None:
    """The scans that the chosen runs answer worst."""
    chosen = st.multiselect(
        "Over runs",
        list(runs),
        [key[0].run_id],
        format_func=lambda name: run_title(runs[name]),
        key="errors-hardest",
        placeholder="one or more",
    )
    keys = _usable(data, runs, chosen, key[1])
    if not keys:
        st.info("Choose at least one run that has answered this split.", icon=":material/info:")
        return
    found = errors_loaders.hardest(tuple(keys))
    if isinstance(found, str):
        controls.refuse(found)
        return
    if found.empty:
        st.info("No label of these scans is known, so none can be called hard.", icon=":material/info:")
        return
    shown = found.head(_SHOWN)
    texts = [f"loss {row.loss:.2f}, {row.wrong:.3g} wrong" for row in shown.itertuples()]
    shelf = Shelf(
        "scans, the hardest first",
        f"{len(found):,}",
        f"{len(shown)} shown",
        OUTCOME_COLOURS["false_positive"],
        shown["position"].to_numpy(),
        texts,
    )
    errors_pictures.shelves(data, [shelf], "errors-hardest-scans")
    st.caption("By the mean log loss over known labels and runs; it asks how sure the wrong answer was.")
    controls.download_table(found.drop(columns=["row", "position"]), f"{data.name}-{key[1]}-hardest")


def two_runs_panel(data: Dataset, runs: Runs, key: Key) -> None:
    """Where another run calls otherwise, and who is right."""
    others = [name for name in runs if name != key[0].run_id]
    if not others:
        st.info("There is one finished run. Train another to see where they disagree.", icon=":material/info:")
        st.page_link("app_pages/04_train.py", label="Go to Train", icon=":material/model_training:")
        return
    second = st.selectbox(
        "Beside", others, format_func=lambda name: run_title(runs[name]), key="errors-second", bind="query-params"
    )
    keys = _usable(data, runs, [key[0].run_id, second], key[1])
    if len(keys) < 2:
        return
    found = errors_loaders.flips(*keys)
    if isinstance(found, str):
        controls.refuse(found)
        return
    names = (run_title(runs[key[0].run_id]), run_title(runs[second]))
    labels = runs[second].label_names
    label = st.segmented_control(
        "Of", ["all labels", *labels], default="all labels", required=True, key="errors-flips"
    )
    part = found if label == "all labels" else found[found["label"] == label]
    left, right = st.columns(2, gap="large")
    left.plotly_chart(disagreement_scatter(part, names), key="errors-scatter")
    with right:
        table = flip_counts(found, labels)
        named = {
            "label": "Label",
            "flips": "Flips",
            "a_right": "First right",
            "b_right": "Second right",
        }
        table = table.rename(columns={**named, "unknown": "Unknown", "p": "p (McNemar)"})
        number = st.column_config.NumberColumn(format="%.3g")
        st.dataframe(table, hide_index=True, height="content", column_config={"p (McNemar)": number})
        st.caption("First: " + controls.plain(names[0]) + "; second: " + controls.plain(names[1]) + ".")
    shelves = []
    for who, title, colour in (
        ("a", "only the first is right", OUTCOME_COLOURS["true_positive"]),
        ("b", "only the second is right", OUTCOME_COLOURS["false_positive"]),
        ("unknown", "truth unknown", NEUTRAL),
    ):
        side = part[part["right"] == who]
        if side.empty and who == "unknown":
            continue
        shown = side.head(_SIDES)
        texts = [f"{row.label}: {row.a_score:.2f} and {row.b_score:.2f}" for row in shown.itertuples()]
        count = f"{len(side):,}"
        shelves.append(Shelf(title, count, "flips", colour, shown["position"].to_numpy(), texts))
    errors_pictures.shelves(data, shelves, "errors-flip-scans")
    controls.download_table(part.drop(columns=["row", "position"]), f"{data.name}-{key[1]}-disagreements")


def _usable(data: Dataset, runs: Runs, chosen: list[str], split: str) -> list[Key]:
    """Keys of the runs whose answers can be read; says why of the others. Counts looks at the test split."""
    keys = []
    for name in chosen:
        key = errors_loaders.outcomes_key(data, runs[name], split)
        found = errors_loaders.outcomes(key)
        if isinstance(found, Outcomes):
            keys.append(key)
        else:
            controls.refuse(found)
    if split == "test":
        record_look([runs[key[0].run_id] for key in keys], "errors")
    return keys
