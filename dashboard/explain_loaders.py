"""Maps and features of a run, cached as everything in `loaders`: by names and fingerprints."""

from pathlib import Path

import streamlit as st
from loaders import or_message

from medwb.embedding import Features, Layout, features_path, lay_out, open_features
from medwb.errors import RequestError
from medwb.runs import Run, open_run
from medwb.saliency import Saliency, open_saliency, saliency_path

Stamp = tuple[int, int, int]


def file_stamp(path: Path) -> Stamp:
    """What changes when a file does; zeros where there is none. Cheap: not cached."""
    try:
        facts = path.stat()
    except OSError:
        return (0, 0, 0)
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def maps_stamp(run: Run, method: str, label: str) -> Stamp:
    """The stamp of what is kept of a method and label."""
    return file_stamp(saliency_path(run, method, label))


@st.cache_resource(max_entries=12, show_spinner=False)
def maps(run_id: str, method: str, label: str, stamp: Stamp) -> Saliency:
    """All maps that are kept of a method and label."""
    return open_saliency(open_run(run_id), method, label)


def features_stamps(run: Run, splits: tuple[str, ...], label: str) -> tuple[Stamp, ...]:
    """The stamps of what is kept of splits."""
    return tuple(file_stamp(features_path(run, split, label)) for split in splits)


@st.cache_resource(max_entries=4, show_spinner=False)
def features(run_id: str, splits: tuple[str, ...], label: str, stamps: tuple[Stamp, ...]) -> Features | None:
    """The features of splits; None where one is not kept."""
    import numpy as np

    found = [open_features(open_run(run_id), split, label) for split in splits]
    kept = [one for one in found if one is not None]
    if len(kept) < len(splits):
        return None
    ids, values = (np.concatenate([getattr(one, part) for one in kept]) for part in ("ids", "values"))
    return Features("+".join(splits), ids, values)


@st.cache_resource(max_entries=8, show_spinner="Laying out the map …")
def layout(run_id: str, splits: tuple[str, ...], label: str, stamps: tuple[Stamp, ...], method: str) -> Layout | str:
    """The map of features, or why there is none."""

    def laid_out() -> Layout:
        found = features(run_id, splits, label, stamps)
        if found is None:
            raise RequestError(f"run {run_id}: its features are not kept any more; compute them again")
        return lay_out(found, method)

    return or_message(laid_out)
