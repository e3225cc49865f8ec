"""The panel of the embedding map: a run's features, coloured, with a lasso that opens scans."""

import audit_pictures
import controls
import explain_job
import explain_loaders
import numpy as np
import pandas as pd
import streamlit as st

from medwb.dataset import Dataset
from medwb.embedding import EMBEDDINGS, find_features, map_table
from medwb.errors import RequestError
from medwb.inspection import check_inspectable
from medwb.plots.embedding import COLOURS, embedding_map
from medwb.progress import Progress
from medwb.runs import Run

_JOB = "features-job"
_PICTURES = 40


def map_panel(data: Dataset, run: Run, split: str, label: str, threshold: float) -> None:
    """See where a run's network puts scans; circle some to see them.

    Args:
        data: The picked dataset.
        run: A finished run on it.
        split: Which scans, unless they are coloured by split.
        label: What colours mean, and whose network it is where there is one a label.
        threshold: A score from this on is a yes.
    """
    try:
        check_inspectable(run, data)
    except RequestError as error:
        st.info(controls.plain(error), icon=":material/scatter_plot:")
        return
    colour_column, method_column = st.columns([3, 1], vertical_alignment="bottom")
    colour = colour_column.segmented_control(
        "Colour",
        list(COLOURS),
        default="outcome",
        required=True,
        format_func=lambda name: COLOURS[name],
        key="map-colour",
        bind="query-params",
    )
    method = method_column.selectbox(
        "Map",
        EMBEDDINGS.names(),
        format_func=lambda name: EMBEDDINGS.get(name).title,
        key="map-method",
        bind="query-params",
    )
    splits = tuple(data.splits) if colour == "split" else (split,)
    stamps = explain_loaders.features_stamps(run, splits, label)
    features = explain_loaders.features(run.id, splits, label, stamps)
    if features is None:
        _ask(data, run, splits, label)
        return
    layout = explain_loaders.layout(run.id, splits, label, stamps, method)
    if isinstance(layout, str):
        controls.refuse(layout)
        return
    try:
        table = map_table(run, data, features, layout, label, threshold)
    except RequestError as error:
        controls.refuse(error)
        return
    event = st.plotly_chart(
        embedding_map(table, layout.axes, colour),
        key=f"map-{run.id}-{'-'.join(splits)}-{method}",
        on_select="rerun",
        selection_mode=("lasso", "box", "points"),
    )
    of = f" What colours say is of {label}, from {threshold:.3f} on." if colour == "outcome" else ""
    st.caption(controls.plain(f"{EMBEDDINGS.get(method).summary}{of}"))
    picked = dict.fromkeys(str(_id(point)) for point in event["selection"]["points"])
    _selected(data, run, table[table["id"].isin(picked)])


def _id(point: dict[str, object]) -> object:
    """A point's id: plotly wraps it in a list where it can."""
    given = point.get("customdata", "")
    if isinstance(given, dict):
        given = next(iter(given.values()), "")
    return given[0] if isinstance(given, list | tuple) and given else given


def _ask(data: Dataset, run: Run, splits: tuple[str, ...], label: str) -> None:
    """The button that has features computed, or how far that is."""
    of = (run.id, label, *splits)
    if explain_job.wait(_JOB, of):
        return
    scans = int(data.samples["split"].isin(splits).sum())
    if st.button(
        f"Compute the features of {scans:,} scans", type="primary", icon=":material/scatter_plot:", key="map"
    ):

        def work(progress: Progress) -> None:
            find_features(run, splits, label, dataset=data, progress=progress)

        explain_job.start(_JOB, of, work)
    st.caption(
        "A map shows what the layer before the outputs makes of each scan: which scans look alike to the network. A "
        "process of its own computes it once; it is kept with the run."
    )


def _selected(data: Dataset, run: Run, chosen: pd.DataFrame) -> None:
    if chosen.empty:
        st.info("Circle points with the lasso to see their scans.", icon=":material/gesture_select:")
        return
    place = pd.Series(np.arange(len(data)), index=data.samples["id"])
    shown = chosen.head(_PICTURES)
    st.markdown(f"**{len(chosen):,} scans**" + (f", the first {_PICTURES}" if len(chosen) > _PICTURES else ""))
    captions = [
        audit_pictures.lines(
            audit_pictures.short(row["id"]),
            f"{row['truth']}, no score" if np.isnan(row["score"]) else f"{row['truth']}, score {row['score']:.3f}",
        )
        for row in shown.to_dict("records")
    ]
    audit_pictures.pictures(data, place[shown["id"]].to_numpy(), captions)
    controls.download_table(chosen.drop(columns=["x", "y"]), f"{run.id}-map")
