"""What augmentation did in a run, as it was counted while the run learned."""

from collections.abc import Callable

import controls
import numpy as np
import pandas as pd
import streamlit as st

from medwb.errors import RequestError
from medwb.runs import Run


def receipts(runs: list[Run], run_title: Callable[[Run], str]) -> None:
    """The receipt of one of the runs, which all learned with augmentation."""
    if not runs:
        return
    with st.expander("What augmentation did", icon=":material/receipt_long:", key="receipt"):
        by_id = {run.id: run for run in runs}
        picked = st.selectbox(
            "Of", list(by_id), format_func=lambda run_id: run_title(by_id[run_id]), key="receipt-of"
        )
        show_receipt(by_id[picked])


def show_receipt(run: Run) -> None:
    """How often each step was applied, what it drew, and some examples."""
    from medwb.augment.panel import summary  # loads OpenCV
    from medwb.augment.receipt import EXAMPLES_FILE, open_receipt

    try:
        receipt = open_receipt(run)
    except RequestError as error:
        st.caption(controls.plain(error))
        return
    if receipt is None:
        st.caption("This run learned without augmentation.")
        return
    rows = []
    for number, mine in enumerate(receipt.steps, 1):
        row = {"Step": f"{number}. {mine.step.entry.title}", "Settings": summary(mine.step)}
        row["Applied, %"] = 100 * mine.applied / receipt.scans if receipt.scans else np.nan
        for name, drawn in mine.drawn.items() or [("", None)]:
            places = [] if drawn is None else drawn.places
            rows.append(
                row
                | {
                    "Parameter": name,
                    "From": places[0] if len(places) else np.nan,
                    "To": places[-1] if len(places) else np.nan,
                    "Drawn": [] if drawn is None else drawn.counts.tolist(),
                }
            )
    epochs = ", ".join(
        f"{done} epochs{f' of {head}' if len(receipt.epochs) > 1 else ''}" for head, done in receipt.epochs.items()
    )
    st.caption(
        controls.plain(f"{receipt.name}, {receipt.digest}: {receipt.scans:,} scans in {epochs}, seed {receipt.seed}.")
    )
    column = st.column_config
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content" if len(rows) <= 14 else 420,
        placeholder="–",
        column_config={
            "Applied, %": column.NumberColumn(format="%.1f", help="Share of the scans that the step was applied to."),
            "Drawn": column.BarChartColumn(help="How often, from the lowest to the highest.", y_min=0),
        },
    )
    picture = run.path / EXAMPLES_FILE
    if picture.is_file():
        st.image(picture.read_bytes(), width="stretch")
        st.caption("The first scans of the first epoch: as they are, and as the network received them.")
