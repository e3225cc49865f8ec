"""The panel of runs: what is queued, running and done, read from the run folders each time it is drawn."""

import time
from typing import Any

import controls
import pandas as pd
import run_queue
import run_receipt
import streamlit as st

from medwb import plots
from medwb.architectures import ARCHITECTURES
from medwb.config import changed_settings
from medwb.estimate import duration, progress_text
from medwb.launch import look_after
from medwb.runs import ACTIVE_STATES, Run, damaged_runs, list_runs

__all__ = ["duration", "panel", "progress_text", "run_title"]

_LATEST = 4  # runs whose curves are drawn when nobody chooses
_RECENT = 12
_LOOK_AFTER_S = 15.0


def panel(dataset: str) -> None:
    """Draw the panel; it draws itself again every second while a run is active, else every five."""
    active = any(run.state in ACTIVE_STATES for run in list_runs(dataset))
    st.fragment(_draw, run_every=1.0 if active else 5.0)(dataset, active)


def run_title(run: Run) -> str:
    """Title of the architecture, seed and settings, and the end of the id, which tells equals apart."""
    entry = ARCHITECTURES.get(run.config.architecture)
    facts = [
        entry.title,
        f"seed {run.config.seed}" if entry.is_network else "",
        changed_settings(run.config),
        run.id[-4:],
    ]
    return " · ".join(fact for fact in facts if fact)


def _draw(dataset: str, was_active: bool) -> None:
    every = list_runs()
    runs = [run for run in every if run.config.dataset == dataset]
    others = [run for run in every if run.config.dataset != dataset]
    statuses = {run.id: run.status() for run in every}
    active = [run for run in runs if statuses[run.id]["state"] in ACTIVE_STATES]
    if bool(active) != was_active:
        st.rerun()  # the page sets another interval
    _see_to_it()
    st.subheader("Runs")
    for text in damaged_runs().values():
        controls.refuse(text)
    if not runs:
        st.info("Nothing has been trained on this dataset yet.", icon=":material/model_training:")
        return
    run_queue.rows(runs, others, statuses, run_title)
    run_queue.ended(runs[-_RECENT:], runs, statuses, run_title)
    _curves(runs, active)
    _logs(runs, active)
    run_receipt.receipts([run for run in reversed(runs) if run.augmentation_digest], run_title)
    with st.expander(f"All {len(runs)} runs of {controls.plain(dataset)}", key="all-runs"):
        run_queue.choose_again(runs, statuses, run_title)
        st.dataframe(_table(runs, statuses), hide_index=True, height="content" if len(runs) < 10 else 380)


def _see_to_it() -> None:
    """From time to time: replace a supervisor that was killed. Clusters are asked by `medwb runs --refresh`."""
    if time.monotonic() - st.session_state.get("looked-after", -_LOOK_AFTER_S) >= _LOOK_AFTER_S:
        st.session_state["looked-after"] = time.monotonic()
        look_after()


def _curves(runs: list[Run], active: list[Run]) -> None:
    networks = [run for run in runs if ARCHITECTURES.get(run.config.architecture).is_network]
    if not networks:
        return
    by_id = {run.id: run for run in reversed(networks)}
    chosen = st.multiselect(
        "Curves",
        list(by_id),
        format_func=lambda run_id: run_title(by_id[run_id]) if run_id in by_id else run_id,
        placeholder="the running and the latest",
        key="curves",
        persist_state="session",
    )
    training = [run for run in active if run in networks and (run.path / "history.csv").exists()]
    latest = [run for run in networks if run not in training and (run.path / "history.csv").exists()]
    shown = [by_id[run_id] for run_id in chosen] or (latest[-_LATEST:] + training)[-_LATEST:]
    metric = shown[-1].config.monitor if shown else "f1"
    figure = plots.training_curves({run_title(run): run.history() for run in shown}, metric=metric)
    st.plotly_chart(figure, key="training-curves", config={"displayModeBar": False})


def _logs(runs: list[Run], active: list[Run]) -> None:
    with st.expander("Log", icon=":material/notes:", key="log"):
        by_id = {run.id: run for run in [*active, *reversed(runs)]}
        picked = st.selectbox("Of", list(by_id), format_func=lambda run_id: run_title(by_id[run_id]), key="log-of")
        st.code(by_id[picked].log_tail(15) or "nothing yet", language=None, height=260)


def _table(runs: list[Run], statuses: dict[str, dict[str, Any]]) -> pd.DataFrame:
    rows = [
        {
            "Run": run.id,
            "State": statuses[run.id]["state"],
            "Architecture": ARCHITECTURES.get(run.config.architecture).title,
            "Settings": changed_settings(run.config),
            "Seed": run.config.seed,
            "Epochs": statuses[run.id].get("epoch", 0),
            "Training, s": statuses[run.id].get("train_seconds"),
        }
        for run in reversed(runs)
    ]
    return pd.DataFrame(rows).round({"Training, s": 1})
