"""What is answered in the place of what: whole label sets, and single labels."""

import controls
import errors_pictures
import numpy as np
import pandas as pd
import streamlit as st
from errors_pictures import Shelf

from medwb.dataset import Dataset
from medwb.outcomes import Outcomes, SetMatrix, missed_while_answering, set_matrix
from medwb.plots.outcomes import OUTCOME_COLOURS, missed_figure, set_matrix_figure

_TOP, _SHOWN = 10, 36


@st.fragment
def panel(data: Dataset, outcomes: Outcomes) -> None:
    """True sets against answered ones, with the scans of a cell; and labels that are missed for others."""
    top = st.slider("Sets of their own", 3, 20, _TOP, key="errors-top", bind="query-params")
    found = set_matrix(outcomes, top=top)
    st.subheader("True set → answered set")
    event = st.plotly_chart(
        set_matrix_figure(found), key=f"errors-sets-{top}", on_select="rerun", selection_mode="points"
    )
    st.caption(
        "All labels at the run's own thresholds. Blue: answered as it is; orange: not. Colour is the share of a row. "
        "A label that is not known stands with a question mark. Click on a cell to see its scans."
    )
    _cell(data, outcomes, found, event)
    st.subheader("Missed one label while answering another")
    wrongly = st.toggle("Only where the answer is wrong", True, key="errors-wrongly", bind="query-params")
    left, right = st.columns([1.5, 1], gap="large")
    table = missed_while_answering(outcomes, wrongly=wrongly)
    left.plotly_chart(missed_figure(table), key="errors-missed")
    with right:
        pairs = table.stack().rename_axis(["Missed", "Answered"]).rename("Samples").reset_index()
        pairs = pairs[pairs["Samples"] > 0].sort_values("Samples", ascending=False, kind="stable")
        if pairs.empty:
            st.info("No label was missed while another was answered.", icon=":material/check:")
        else:
            st.dataframe(pairs, hide_index=True, height=320)
            controls.download_table(pairs, f"{outcomes.run_id}-{outcomes.split}-missed")


def _cell(data: Dataset, outcomes: Outcomes, found: SetMatrix, event: object) -> None:
    """The scans of the cell that was clicked or chosen: the largest wrong one at first."""
    table = found.table()
    cells = [(str(truth), str(answer)) for truth, answer in table[["truth", "answer"]].itertuples(index=False)]
    counts = dict(zip(cells, table["samples"].tolist(), strict=True))
    start = next((place for place, (truth, answer) in enumerate(cells) if truth != answer), 0)
    clicked = _clicked(found, event)
    if clicked in cells and clicked != st.session_state.get("errors-clicked"):
        st.session_state["errors-cell"] = clicked
    st.session_state["errors-clicked"] = clicked
    if st.session_state.get("errors-cell") not in cells:
        st.session_state["errors-cell"] = cells[start]
    cell = st.selectbox(
        "Scans of", cells, format_func=lambda one: f"{one[0]} → {one[1]} ({counts[one]:,})", key="errors-cell"
    )
    rows = found.members(*cell)
    shown = rows[:_SHOWN]
    same = cell[0] == cell[1]
    wrong = outcomes.wrong().sum(axis=1)
    texts = [f"{wrong[row]} of {len(outcomes.label_names)} wrong" for row in shown.tolist()]
    shelf = Shelf(
        f"{cell[0]} → {cell[1]}",
        f"{len(rows):,}",
        f"{len(shown)} shown" if len(shown) < len(rows) else "",
        OUTCOME_COLOURS["true_positive" if same else "false_positive"],
        outcomes.positions[shown],
        texts,
    )
    errors_pictures.shelves(data, [shelf], "errors-cell-scans")
    listed = pd.DataFrame({"id": outcomes.ids[rows], "truth": cell[0], "answer": cell[1]})
    controls.download_table(listed, f"{outcomes.run_id}-{outcomes.split}-set")


def _clicked(found: SetMatrix, event: object) -> tuple[str, str] | None:
    """The cell that was clicked, by its place: names on the axes are shortened and escaped."""
    selection = getattr(event, "selection", None)
    points = (selection or {}).get("points", [])
    if not points:
        return None
    place = points[0].get("point_index") or points[0].get("point_number")
    if not isinstance(place, list) or len(place) != 2:
        return None
    row, column = int(np.clip(place[0], 0, len(found.rows) - 1)), int(np.clip(place[1], 0, len(found.columns) - 1))
    return found.rows[row], found.columns[column]
