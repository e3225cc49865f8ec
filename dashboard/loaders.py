"""Everything that is cached: keyed by names and fingerprints, never by objects.

What is returned from `cache_resource` is shared by all sessions and must not be changed.
"""

import json
from collections.abc import Callable

import pandas as pd
import streamlit as st

from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError
from medwb.gallery import MeanImages, intensity_table, mean_images, shrink, thumbnails
from medwb.paths import datasets_dir
from medwb.plots import label_counts, label_set_counts
from medwb.table import ScoreTable, f1_table

THUMBNAIL = 72


def fingerprint(name: str) -> str:
    """A dataset's fingerprint as it stands on disk; "" when it cannot be read. Cheap: not cached."""
    try:
        facts = json.loads((datasets_dir() / name / "dataset.json").read_text(encoding="utf-8"))
        return str(facts["fingerprint"])
    except (OSError, ValueError, KeyError):
        return ""


def open_current(name: str) -> Dataset:
    """The dataset of that name as it stands on disk. Raises RequestError as `open_dataset`."""
    return dataset(name, fingerprint(name), str(datasets_dir()))


@st.cache_resource(max_entries=2, show_spinner=False)
def dataset(name: str, fingerprint: str, folder: str) -> Dataset:
    """An open dataset: its table in memory, its images mapped."""
    return open_dataset(name)


@st.cache_data(max_entries=8, show_spinner=False)
def counts(name: str, fingerprint: str) -> pd.DataFrame:
    """`label_counts` of the dataset."""
    return label_counts(open_current(name))


@st.cache_data(max_entries=8, show_spinner=False)
def label_sets(name: str, fingerprint: str) -> pd.DataFrame:
    """`label_set_counts` of the dataset."""
    return label_set_counts(open_current(name))


@st.cache_resource(max_entries=4, show_spinner="Averaging images …")
def means(name: str, fingerprint: str, split: str | None) -> MeanImages:
    """Mean images of every label over one split, or over all."""
    data = open_current(name)
    return mean_images(data.split(split) if split else data)


@st.cache_data(max_entries=8, show_spinner="Measuring intensities …")
def intensities(name: str, fingerprint: str, by: str) -> pd.DataFrame:
    """`intensity_table` of the dataset."""
    return intensity_table(open_current(name), by)


@st.cache_data(max_entries=32, show_spinner=False)
def page_thumbnails(name: str, fingerprint: str, rows: tuple[int, ...]) -> list[str]:
    """Data URIs of a page of images, at most THUMBNAIL pixels a side."""
    return thumbnails(shrink(open_current(name).images[list(rows)], THUMBNAIL))


@st.cache_data(max_entries=2, show_spinner=False)
def ingest_events(name: str, fingerprint: str) -> pd.DataFrame:
    """What happened to every file at import (`file`, `event`, `detail`); empty for a dataset without such a list."""
    path = datasets_dir() / name / "ingest.parquet"
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=["file", "event", "detail"])


@st.cache_data(max_entries=2, show_spinner=False)
def events_csv(name: str, fingerprint: str) -> bytes:
    """`ingest_events` as CSV."""
    return ingest_events(name, fingerprint).to_csv(index=False).encode("utf-8")


@st.cache_resource(max_entries=8, show_spinner="Scoring runs and drawing intervals …")
def score_table(name: str, fingerprint: str, run_ids: tuple[str, ...], split: str) -> ScoreTable | str:
    """The F1 table of the finished runs, or why there is none; computed again when a run is added or removed."""
    return or_message(lambda: f1_table(open_current(name), split))


def or_message(work: Callable[[], ScoreTable]) -> ScoreTable | str:
    """What `work` returns, or the text of its RequestError: a cache keeps values, not exceptions."""
    try:
        return work()
    except RequestError as error:
        return str(error)
