"""Which scans the lab shows, and of which seed and epochs."""

from typing import NamedTuple

import controls
import loaders
import numpy as np
import numpy.typing as npt
import streamlit as st
from run_panel import run_title

from medwb.architectures import ARCHITECTURES
from medwb.augment.apply import FIRST_EPOCH
from medwb.augment.preview import Scans, hardest, telling
from medwb.config import RunConfig
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.runs import finished_runs

_WAYS = ("At random", "By label", "By id", "Hardest of a run")
_ANSWERS = {"positive": 1.0, "negative": 0.0, "unknown": np.nan}
_MOST_SEED = 2**31 - 1
_MOST_BYTES = 64_000_000  # of pixels in a grid: 4 scans in colour, 1,024 pixels a side, in 4 epochs

SEEN = ("image_size", "channels", "cleaning")
"""Settings of a run that decide how it sees scans; in the address under their names."""


class Draws(NamedTuple):
    """What is drawn: the seed of a run, the first epoch and how many."""

    seed: int
    epoch: int
    count: int


def draws() -> Draws:
    """The seed and the epochs to draw for, in the address."""
    bound = {"step": 1, "bind": "query-params"}
    seed = st.number_input("Seed", 0, _MOST_SEED, 0, key="seed", help="Seed of the run that would train.", **bound)
    epoch = st.number_input(
        "Epoch", FIRST_EPOCH, 9_999, FIRST_EPOCH, key="epoch", help="The first column is this epoch.", **bound
    )
    count = st.number_input("Epochs side by side", 1, 8, 4, key="draws", **bound)
    return Draws(seed, epoch, count)


def view(data: Dataset) -> loaders.Seen:
    """How a run would see the scans. Raises RequestError."""
    st.caption("As a run with these settings sees them:")
    places = [*st.columns(2), st.container()]
    values = {}
    for place, name in zip(places, SEEN, strict=True):
        with place:
            values[name] = controls.config_input(name, name)
    return loaders.seen(data, RunConfig(dataset=data.name, architecture=next(iter(ARCHITECTURES)).name, **values))


def choose(data: Dataset, view: loaders.Seen, draws: Draws) -> Scans | None:
    """The scans that somebody asks for; None, with what to do about it, where there is none. Raises RequestError."""
    learned = loaders.learned(data, view)
    count = st.number_input("Scans", 1, 8, 4, 1, key="rows", bind="query-params")
    way = st.selectbox("Chosen", _WAYS, key="scans", bind="query-params")
    positions = _WAY[way](data, learned, count)
    if not len(positions):
        return None
    height, width, channels = view.shape
    if len(positions) * (1 + draws.count) * height * width * channels > _MOST_BYTES:
        raise RequestError(
            f"{len(positions)} scans of {height} x {width} pixels in {draws.count} epochs are too many to show at "
            "once; choose fewer scans or epochs, or a smaller image size"
        )
    if others := int((~learned[positions]).sum()):
        st.caption(f"{others} of them would not be learned from: another split, or taken out by the cleaning.")
    return loaders.scans(data.name, data.fingerprint, tuple(positions.tolist()), view)


def _shuffled(data: Dataset, candidates: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    another = st.number_input(
        *("Choice number", 0, _MOST_SEED, 0, 1),
        key="choice",
        bind="query-params",
        help="Step it for other scans. Blank ones are passed over where there are others.",
    )
    return telling(data, np.random.default_rng(another).permutation(np.flatnonzero(candidates)), count)


def _at_random(data: Dataset, learned: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    return _shuffled(data, learned, count)


def _by_label(data: Dataset, learned: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    label_column, answer_column = st.columns([2, 1.3])
    label = label_column.selectbox("Label", data.label_names, key="of-label", bind="query-params")
    answer = answer_column.selectbox("Is", list(_ANSWERS), key="of-answer", bind="query-params")
    values, wanted = data.labels[:, data.label_names.index(label)], _ANSWERS[answer]
    found = learned & (np.isnan(values) if np.isnan(wanted) else values == wanted)
    if not found.any():
        st.info(f"No training scan is {answer} for this label.", icon=":material/filter_alt_off:")
    return _shuffled(data, found, count)


def _by_id(data: Dataset, learned: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    text = st.text_input(
        "Ids", key="of-ids", bind="query-params", placeholder="whole ids with commas, or a part of one"
    )
    ids = data.samples["id"]
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    places = [np.flatnonzero((ids == one).to_numpy()) for one in wanted]
    found = np.concatenate([*places, np.empty(0, np.int64)]).astype(np.int64)
    if not len(found):
        found = np.flatnonzero(ids.str.contains(text.strip(), regex=False).to_numpy())
    if not len(found):
        st.info("No id is or contains that.", icon=":material/filter_alt_off:")
    return found[:count]


def _hardest(data: Dataset, learned: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
    runs = {run.id: run for run in finished_runs(data)[0] if "val" in run.predicted_splits()}
    if not runs:
        st.info("No finished run has answered the validation scans. Train one first.", icon=":material/info:")
        return np.empty(0, np.int64)
    picked = st.selectbox(
        "Run",
        list(runs)[::-1],
        format_func=lambda run_id: run_title(runs[run_id]),
        key="of-run",
        bind="query-params",
        help="The validation scans whose answers are furthest from their labels, the worst first.",
    )
    try:
        found = runs[picked].predictions("val")
    except RequestError as error:
        controls.refuse(error)
        return np.empty(0, np.int64)
    worst = hardest(found.y_true, found.y_score, count)
    place = {sample: position for position, sample in enumerate(data.samples["id"])}
    return np.array([place[sample] for sample in found.ids[worst].tolist()], np.int64)


_WAY = dict(zip(_WAYS, (_at_random, _by_label, _by_id, _hardest), strict=True))
