"""Everything that is cached: keyed by names and fingerprints, never by objects.

What is returned from `cache_resource` is shared by all sessions and must not be changed.
"""

import gc
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.config import RunConfig, input_shape
from medwb.dataset import Dataset, open_dataset, release_pages
from medwb.errors import RequestError
from medwb.gallery import MeanImages, intensity_table, mean_images, shrink, thumbnails
from medwb.paths import audits_dir, datasets_dir, runs_dir
from medwb.plots import label_counts, label_set_counts
from medwb.table import ScoreTable, f1_table

if TYPE_CHECKING:  # loads OpenCV: 40 MB that the other pages do not need
    from medwb.audit import Audit
    from medwb.audit.certificate import Certificate
    from medwb.audit.cleaning import Cleaning
    from medwb.audit.leaks import Leaks
    from medwb.augment.preservation import Preservation
    from medwb.augment.preview import Remaining, Scans
    from medwb.comparison import Comparison
    from medwb.submission import Expected
    from medwb.validation import Validation

THUMBNAIL = 72
Answer = TypeVar("Answer")
AuditKey = tuple[str, str, str]
"""Name and fingerprint of a dataset, and the stamp of its audit."""


@st.cache_resource(show_spinner=False)
def freeze_imports() -> None:
    """Take what is imported out of the garbage collection: once a server, before its sessions hold anything.

    Streamlit collects all garbage after each run, that of a fragment too: a tenth of a second with the many objects
    that are imported, and they stay for good. A second time would keep what sessions have left behind.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


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


def audit_stamp(name: str) -> str:
    """What tells one audit of a dataset from the next; "" where there is none. Cheap: not cached."""
    path = audits_dir() / name / "summary.json"
    try:
        facts = path.stat()
    except OSError:
        return ""
    return f"{path} {facts.st_mtime_ns} {facts.st_size} {facts.st_ino}"


@st.cache_resource(max_entries=2, show_spinner=False)
def audit(name: str, fingerprint: str, stamp: str) -> "Audit | str":
    """The audit of the dataset, or why it cannot be shown."""
    from medwb.audit import open_audit

    def opened() -> "Audit":
        found = open_audit(open_current(name))
        found.copies, found.exact  # noqa: B018  # damage in the tables shows here, not on some tab
        return found

    try:
        return or_message(opened)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return f"the audit in {audits_dir() / name} is damaged ({error}); run `medwb audit {name}`"


def audited(key: AuditKey) -> "Audit":
    """An audit that could be opened before."""
    found = audit(*key)
    if isinstance(found, str):
        raise RequestError(found)
    return found


@st.cache_resource(max_entries=24, show_spinner="Reading the audit …")
def audit_table(what: str, key: AuditKey) -> pd.DataFrame:
    """A table of an audit: the name of a function of `medwb.plots` or `medwb.audit.label_facts`, or "shortcuts"."""
    found = audited(key)
    if what == "shortcuts":
        from medwb.audit.shortcuts import shortcut_table

        return shortcut_table(found.dataset, found.frames.drop(columns="id"))
    if hasattr(plots, what):
        table: pd.DataFrame = getattr(plots, what)(found)
        release_pages(found.dataset.images)
        return table
    from medwb.audit import label_facts

    facts: pd.DataFrame = getattr(label_facts, what)(found.dataset)
    return facts


@st.cache_resource(max_entries=4, show_spinner=False)
def chance_agreement(name: str, fingerprint: str) -> float:
    """`chance_agreement` of the dataset."""
    return plots.chance_agreement(open_current(name))


@st.cache_resource(max_entries=2, show_spinner="Comparing splits …")
def leaks(key: AuditKey) -> "Leaks":
    """The leaks of an audited dataset."""
    from medwb.audit.leaks import find_leaks

    found = audited(key)
    answer = find_leaks(found.dataset, found.copies)
    release_pages(found.dataset.images)
    return answer


@st.cache_resource(max_entries=4, show_spinner="Certifying the splits …")
def certificate(key: AuditKey) -> "Certificate":
    """The leak certificate of the dataset as it is."""
    from medwb.audit.certificate import certify

    data = open_current(key[0])
    answer = certify(data)
    release_pages(data.images)
    return answer


@st.cache_resource(max_entries=8, show_spinner="Trying the policies …")
def preview(
    key: AuditKey, policies: tuple[str, ...], splits: tuple[str, ...]
) -> "tuple[Cleaning, dict[str, pd.DataFrame]] | str":
    """A cleaning by these policies with its before and after, or why there is none."""
    from medwb.audit.cleaning import make_cleaning, preview_cleaning

    def tried() -> "tuple[Cleaning, dict[str, pd.DataFrame]]":
        found = audited(key)
        cleaning = make_cleaning(found, policies, splits)
        tables = preview_cleaning(cleaning, found)
        release_pages(found.dataset.images)
        return cleaning, tables

    return or_message(tried)


class Seen(NamedTuple):
    """How a run would see a dataset's scans: a key for what is cached.

    Attributes:
        shape: (height, width, channels) that its network sees.
        cleaning: Name of what it learns under, "none" for the dataset as it is.
        digest: Of that cleaning as it stands on disk; "" for none.
    """

    shape: tuple[int, int, int]
    cleaning: str
    digest: str


def seen(data: Dataset, config: RunConfig) -> Seen:
    """How a run with these settings would see the dataset now. Raises RequestError. Cheap: not cached."""
    found = _cleaning(data, config.cleaning)
    return Seen(input_shape(config, data), config.cleaning, found.digest if found else "")


def learned(data: Dataset, view: Seen) -> npt.NDArray[np.bool_]:
    """The samples that such a run learns from, bool (N,). Raises RequestError."""
    from medwb.augment.preview import learned

    return learned(data, _cleaning(data, view.cleaning))


def _cleaning(data: Dataset, name: str) -> "Cleaning | None":
    from medwb.audit.cleaning import open_cleaning
    from medwb.audit.cleaning.changes import NO_CLEANING

    return None if name == NO_CLEANING else open_cleaning(data, name)


@st.cache_resource(max_entries=6, show_spinner=False)
def scans(name: str, fingerprint: str, positions: tuple[int, ...], view: Seen) -> "Scans":
    """Samples for the augmentation lab."""
    from medwb.augment.preview import Scans

    data = open_current(name)
    return Scans.of(data, positions, cleaning=_cleaning(data, view.cleaning), shape=view.shape)


@st.cache_resource(max_entries=2, show_spinner=False)
def spread(name: str, fingerprint: str, view: Seen) -> "Scans":
    """Samples that stand for what a run learns from."""
    from medwb.augment.preview import Scans

    data = open_current(name)
    return Scans.spread(data, cleaning=_cleaning(data, view.cleaning), shape=view.shape)


@st.cache_resource(max_entries=8, show_spinner=False)
def remaining(name: str, fingerprint: str, view: Seen, token: str, seed: int, blame: bool) -> "Remaining":
    """How much of a dataset's training scans a recipe leaves, measured on `spread`."""
    from medwb.augment import from_token
    from medwb.augment.preview import remaining

    return remaining(spread(name, fingerprint, view), from_token(token), seed, blame=blame)


def preservation_stamp(run_id: str) -> str:
    """When a run's labels were tested last; "" when they were not. Cheap: not cached."""
    try:
        facts = (runs_dir() / run_id / "preservation.json").stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns:020d} {facts.st_size}"


@st.cache_resource(max_entries=8, show_spinner=False)
def preservation(run_id: str, stamp: str) -> "Preservation | str":
    """What the label-preservation tests of a run found, or why it cannot be shown."""
    from medwb.augment.preservation import open_preservation
    from medwb.runs import open_run

    return or_message(lambda: open_preservation(open_run(run_id)))


def or_message(work: Callable[[], Answer]) -> Answer | str:
    """What `work` returns, or the text of its RequestError: a cache keeps values, not exceptions."""
    try:
        return work()
    except RequestError as error:
        return str(error)


class AnswersKey(NamedTuple):
    """What a run answered on validation: a key for what is cached.

    Attributes:
        name: Name of the dataset.
        fingerprint: Its fingerprint.
        run_id: The run.
        stamp: What changes when its predictions do.
    """

    name: str
    fingerprint: str
    run_id: str
    stamp: str


def answers_key(data: Dataset, run_id: str) -> AnswersKey:
    """The key of a run's answers as they stand on disk. Cheap: not cached."""
    path = runs_dir() / run_id / "predictions.npz"
    try:
        facts = path.stat()
        stamp = f"{path} {facts.st_mtime_ns} {facts.st_size} {facts.st_ino}"
    except OSError:
        stamp = ""
    return AnswersKey(data.name, data.fingerprint, run_id, stamp)


@st.cache_resource(max_entries=8, show_spinner=False)
def validation_answers(key: AnswersKey) -> "Validation | str":
    """What a run answered on validation, or why that cannot be had."""
    from medwb.runs import open_run
    from medwb.validation import validation_of

    return or_message(lambda: validation_of(open_run(key.run_id), open_current(key.name)))


def answered(key: AnswersKey) -> "Validation":
    """What a run answered on validation. Raises RequestError."""
    found = validation_answers(key)
    if isinstance(found, str):
        raise RequestError(found)
    return found


def thresholds_stamp(run_id: str) -> str:
    """What changes when a run's saved thresholds do; "" where none are saved. Cheap: not cached."""
    try:
        facts = (runs_dir() / run_id / "thresholds.json").stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns:020d} {facts.st_size} {facts.st_ino}"


@st.cache_resource(max_entries=16, show_spinner="Scoring validation and drawing intervals …")
def expected(key: AnswersKey, saved: str, chosen: float | tuple[tuple[str, float], ...] | None) -> "Expected | str":
    """What a submission of a run should score at its own thresholds or at chosen ones, or why that is not known."""
    from medwb.decisions import decide
    from medwb.runs import open_run
    from medwb.submission import expected_score

    def told() -> "Expected":
        run = open_run(key.run_id)
        decision = decide(run, dict(chosen) if isinstance(chosen, tuple) else chosen)
        return expected_score(run, open_current(key.name), decision)

    return or_message(told)


@st.cache_resource(max_entries=16, show_spinner="Comparing row by row …")
def comparison(
    name: str, fingerprint: str, run_ids: tuple[str, ...], split: str, metric: str, chosen: bool
) -> "Comparison | str":
    """Rows compared pair by pair, or why they cannot be: these runs, or all finished ones unless some were chosen."""
    from medwb.comparison import compare_runs, compare_table
    from medwb.runs import open_run

    def compared() -> "Comparison":
        if not chosen:
            return compare_table(open_current(name), split, metric)
        return compare_runs([open_run(run_id) for run_id in run_ids], split, metric)

    return or_message(compared)
