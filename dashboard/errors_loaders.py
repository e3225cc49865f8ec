"""What the page of errors caches, as everything in `loaders`: keyed by names and fingerprints."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from loaders import AnswersKey, answers_key, audit, open_current, or_message, thresholds_stamp

from medwb.dataset import Dataset, release_pages
from medwb.outcomes import Outcomes, disagreements, hardest_scans, outcomes_of, scan_properties
from medwb.plots.outcomes import operating_curves
from medwb.runs import Run, open_run

Key = tuple[AnswersKey, str, str]
"""A run's answers, the split, and the stamp of the thresholds that were saved for it."""


def outcomes_key(data: Dataset, run: Run, split: str) -> Key:
    """The key of what a run answered on a split. Cheap: not cached."""
    return answers_key(data, run.id), split, thresholds_stamp(run.id)


@st.cache_resource(max_entries=6, show_spinner="Reading answers …")
def outcomes(key: Key) -> Outcomes | str:
    """What a run answered on a split, or why that cannot be had."""
    answers, split, _ = key

    def opened() -> Outcomes:
        data = open_current(answers.name)
        found = outcomes_of(open_run(answers.run_id), data, split)
        release_pages(data.images)
        return found

    return or_message(opened)


def opened(key: Key) -> Outcomes:
    """Outcomes that could be had before."""
    found = outcomes(key)
    assert isinstance(found, Outcomes)
    return found


@st.cache_resource(max_entries=32, show_spinner=False)
def curves(key: Key, label: str) -> go.Figure:
    """ROC and precision-recall curve of a label, without its operating point."""
    found = opened(key)
    return operating_curves(found.ranked[found.place(label)].curve)


@st.cache_resource(max_entries=4, show_spinner="Looking for the hardest scans …")
def hardest(keys: tuple[Key, ...]) -> pd.DataFrame | str:
    """The hardest scans over several runs, or why there are none."""
    return or_message(lambda: hardest_scans([opened(key) for key in keys]))


@st.cache_resource(max_entries=4, show_spinner="Comparing two runs …")
def flips(a: Key, b: Key) -> pd.DataFrame | str:
    """Where two runs disagree, or why they cannot be compared."""
    return or_message(lambda: disagreements(opened(a), opened(b)))


@st.cache_resource(max_entries=4, show_spinner="Measuring images …")
def properties(key: Key, stamp: str) -> pd.DataFrame | str:
    """Properties of the images that a run answered: those of the audit with this stamp, or a few measured now."""

    def measured() -> pd.DataFrame:
        data = open_current(key[0].name)
        found = audit(data.name, data.fingerprint, stamp) if stamp else None
        frames = None if found is None or isinstance(found, str) else found.frames
        table = scan_properties(data, opened(key), frames)
        release_pages(data.images)
        return table

    return or_message(measured)
