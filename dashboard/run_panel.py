"""The panel of runs: what is queued, running and done, read from the run folders each time it is drawn."""

from typing import Any

import controls
import numpy as np
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.architectures import ARCHITECTURES
from medwb.config import changed_settings
from medwb.errors import RequestError
from medwb.launch import stop
from medwb.runs import ACTIVE_STATES, Run, list_runs

_LATEST = 4  # runs whose curves are drawn when nobody chooses
_QUEUED = 5  # queued runs that are shown with a bar
_FAILURES = 3  # failed runs that are shown with their error, among the latest ones
_RECENT = 12


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
    runs = list_runs(dataset)
    statuses = {run.id: run.status() for run in runs}
    active = [run for run in runs if statuses[run.id]["state"] in ACTIVE_STATES]
    if bool(active) != was_active:
        st.rerun()  # the page sets another interval
    st.subheader("Runs")
    if not runs:
        st.info("Nothing has been trained on this dataset yet.", icon=":material/model_training:")
        return
    queued = [run for run in active if statuses[run.id]["state"] == "queued"]
    for run in [run for run in active if run not in queued] + queued[:_QUEUED]:
        _active_run(run, statuses[run.id])
    _rest_of_queue(queued)
    _warnings(runs[-_RECENT:], statuses)
    _curves(runs, active)
    _logs(runs, active)
    _receipts([run for run in reversed(runs) if run.augmentation_digest])
    with st.expander(f"All {len(runs)} runs of {controls.plain(dataset)}", key="all-runs"):
        st.dataframe(_table(runs, statuses), hide_index=True, height="content" if len(runs) < 10 else 380)


def _active_run(run: Run, status: dict[str, Any]) -> None:
    name, bar, button = st.columns([2, 3, 0.7], vertical_alignment="center")
    name.text(run_title(run))
    total = status.get("total") or 0
    share = min(status.get("done", 0) / total, 1.0) if total else 0.0
    bar.progress(share, controls.plain(progress_text(run, status)))
    if status["state"] == "stopping":
        button.text("stopping")
    elif button.button("Stop", key=f"stop-{run.id}", icon=":material/stop_circle:", width="stretch"):
        try:
            stop(run)
        except (RequestError, ProcessLookupError) as error:
            controls.refuse(str(error))
        else:
            st.rerun()


def _rest_of_queue(queued: list[Run]) -> None:
    if len(queued) < 2:
        return
    rest, button = st.columns([5, 0.9], vertical_alignment="center")
    if len(queued) > _QUEUED:
        rest.caption(f"and {len(queued) - _QUEUED} more queued")
    if button.button("Stop queue", help="Stops the queued runs, not the one at work.", width="stretch"):
        for run in queued:
            if run.state == "queued":
                stop(run)
        st.rerun()


def progress_text(run: Run, status: dict[str, Any]) -> str:
    """How far a run is and how long it may still take, in words."""
    if status["state"] == "queued":
        return "queued: starts when the run before it is over"
    if not status.get("total"):
        return "starting"
    head = f", {status['head']}" if status.get("head") not in (None, "shared") else ""
    network = ARCHITECTURES.get(run.config.architecture).is_network
    epochs = f"epoch {status['epoch']} of {run.config.epochs}{head}" if network else f"fitting{head}"
    eta = status.get("eta")
    if eta is None:
        return epochs
    bound = "at most " if run.config.early_stopping_patience else "about "
    return f"{epochs} · {bound}{duration(eta)} left"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _warnings(recent: list[Run], statuses: dict[str, dict[str, Any]]) -> None:
    failed = [run for run in recent if statuses[run.id]["state"] == "failed"]
    for run in failed[-_FAILURES:]:
        reason = statuses[run.id].get("error") or "see its log"
        controls.refuse(f"{run_title(run)} failed: {reason}")
    for run in recent:
        if statuses[run.id].get("collapsed"):
            text = f"{run_title(run)} has collapsed: it gives every image the same answer for a label."
            st.warning(controls.plain(text), icon=":material/trending_flat:")


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


def _receipts(runs: list[Run]) -> None:
    """What augmentation did in a run, as it was counted while the run learned."""
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
