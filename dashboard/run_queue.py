"""The rows of the queue: each active run, and those that ended too early, with what can be done with them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import controls
import streamlit as st

from medwb.errors import RequestError
from medwb.estimate import duration, expected_seconds, may_stop_early, paces, progress_text, queue_estimate
from medwb.launch import cancel, launch, move, queue_note, recipe_again, resume, retry, stop, worker_count
from medwb.queue import positions
from medwb.runs import Run
from medwb.status import ACTIVE_STATES

Statuses = Mapping[str, Mapping[str, Any]]
Titled = Callable[[Run], str]

_QUEUED = 5  # waiting runs that are shown with a bar
_ENDED = 3  # failed or stopped runs that are shown with their reason, among the latest ones
_REFUSED_S = 10.0
_STABLE = "stable"


def rows(runs: list[Run], others: list[Run], statuses: Statuses, title: Titled) -> None:
    """Draw the active runs of a dataset.

    Args:
        runs: All runs of the dataset, by age.
        others: Runs on other datasets; they are in the same queue.
        statuses: Run id to status.
        title: Name of a run.
    """
    _refused()
    places = positions()
    by_id = {run.id: run for run in [*runs, *others]}
    waiting = [by_id[run_id] for run_id in places if run_id in by_id]
    active = [run for run in by_id.values() if statuses[run.id]["state"] in ACTIVE_STATES]
    if not active:
        return
    known = paces(list(by_id.values()))
    working = [run for run in active if run not in waiting]
    _estimate([*working, *waiting], statuses, known, title)
    for run in working:
        if run in runs:
            _working(run, statuses[run.id], title)
    mine = [run for run in waiting if run in runs]
    for run in mine[:_QUEUED]:
        seconds = expected_seconds(run, known)
        _waiting(run, {**statuses[run.id], "position": places[run.id]}, seconds, waiting, title)
    if len(mine) > 1:
        rest, button = st.columns([5, 0.9], vertical_alignment="center")
        if len(mine) > _QUEUED:
            rest.caption(f"and {len(mine) - _QUEUED} more queued")
        button.button(
            "Empty queue",
            help="Takes the waiting runs of this dataset out of the queue, not the one at work.",
            width="stretch",
            on_click=_act,
            args=(cancel, *mine),
        )


def _estimate(active: list[Run], statuses: Statuses, known: Any, title: Titled) -> None:
    try:
        workers = worker_count()
    except RequestError as error:
        controls.refuse(error)
        workers = 1
    noun = "run" if len(active) == 1 else "runs"
    once = f", {workers} at once" if workers > 1 else ""
    st.caption(
        controls.plain(f"Queue: {len(active)} {noun}{once} · {queue_estimate(active, statuses, known, workers)}")
    )
    if note := queue_note():
        controls.refuse(note)


def _row(run: Run, share: float, text: str, title: Titled) -> Any:
    """Name and bar of a run; returns the place for its buttons."""
    name, bar, buttons = st.columns([1.8, 2.2, 3], vertical_alignment="center")
    name.text(title(run))
    bar.progress(share, controls.plain(text))
    return buttons.container(horizontal=True, gap="small")


def _working(run: Run, status: Mapping[str, Any], title: Titled) -> None:
    total = status.get("total") or 0
    share = min(status.get("done", 0) / total, 1.0) if total else 0.0
    row = _row(run, share, progress_text(run, status), title)
    if status["state"] != "stopping":
        row.button(
            "Stop",
            key=f"stop-{run.id}",
            icon=":material/stop_circle:",
            help="Ends after the batch at hand; weights and answers are kept.",
            on_click=_act,
            args=(stop, run),
        )
    if status["state"] in ("running", "stopping"):
        row.button(
            "Stop now",
            key=f"kill-{run.id}",
            type="tertiary",
            help="Kills it; what is left is its last checkpoint.",
            on_click=_act,
            args=(_stop_now, run),
        )


def _waiting(run: Run, status: Mapping[str, Any], seconds: float | None, line: list[Run], title: Titled) -> None:
    bound = "" if seconds is None else f" · takes {_takes(run, seconds)}"
    row = _row(run, 0.0, progress_text(run, status) + bound, title)
    place = line.index(run)

    def button(label: str, icon: str, act: Callable[[Run], None], off: bool = False) -> None:
        row.button(
            label, key=f"{label}-{run.id}", icon=icon, type="tertiary", disabled=off, on_click=_act, args=(act, run)
        )

    button("First", ":material/vertical_align_top:", lambda run: move(run, first=True), place == 0)
    button("Up", ":material/arrow_upward:", lambda run: move(run, before=line[place - 1]), place == 0)
    button("Down", ":material/arrow_downward:", lambda run: _move_down(run, line), place + 1 == len(line))
    button("Remove", ":material/close:", cancel)


def _takes(run: Run, seconds: float) -> str:
    return f"{'at most' if may_stop_early(run.config) else 'about'} {duration(seconds)}"


def _move_down(run: Run, line: list[Run]) -> None:
    place = line.index(run) + 2
    if place < len(line):
        move(run, before=line[place])
    else:
        move(run, last=True)


def _stop_now(run: Run) -> None:
    stop(run, now=True)


def ended(recent: list[Run], runs: list[Run], statuses: Statuses, title: Titled) -> None:
    """Draw the latest runs that ended too early, with their reasons, and those that have collapsed."""
    over = [run for run in recent if statuses[run.id]["state"] in ("failed", "stopped")]
    for run in over[-_ENDED:]:
        status = statuses[run.id]
        message, buttons = st.columns([5, 2.2], vertical_alignment="center")
        with message:
            if status["state"] == "failed":
                controls.refuse(f"{title(run)} failed: {status.get('error') or 'see its log'}")
            else:
                begun = status.get("epoch", 0)
                after = f"after epoch {begun} of {run.epochs}" if begun else "before its first epoch was over"
                st.info(controls.plain(f"{title(run)} was stopped {after}."), icon=":material/stop_circle:")
        row = buttons.container(horizontal=True, gap="small")
        row.button("Resume", key=f"resume-{run.id}", help=RESUME_HELP, on_click=_act, args=(resume, run))
        row.button("Retry", key=f"retry-{run.id}", type="tertiary", help=RETRY_HELP, on_click=_act, args=(retry, run))
    for run in recent:
        if statuses[run.id].get("collapsed"):
            _collapsed(run, runs, title)


RESUME_HELP = "Goes on from its checkpoint; without one, from the start."
RETRY_HELP = "From the start: its checkpoint and answers are removed."


def _collapsed(run: Run, runs: list[Run], title: Titled) -> None:
    message, buttons = st.columns([5, 2.2], vertical_alignment="center")
    text = f"{title(run)} has collapsed: it gives every image the same answer for a label."
    message.warning(controls.plain(text), icon=":material/trending_flat:")
    if run.config.recipe == _STABLE:
        return
    try:
        config = recipe_again(run, _STABLE)
    except RequestError:  # what was chosen by hand does not go with it
        return
    if any(other.config == config for other in runs):
        return
    buttons.button(
        f"Launch with recipe {_STABLE}",
        key=f"{_STABLE}-{run.id}",
        help="The same network and seed; other initial weights, a rising and falling rate, clipped gradients.",
        on_click=_act,
        args=(lambda _: launch([config]), run),
    )


def choose_again(runs: list[Run], statuses: Statuses, title: Titled) -> None:
    """Resume or retry any of the stopped and failed runs."""
    by_id = {run.id: run for run in reversed(runs) if statuses[run.id]["state"] in ("failed", "stopped")}
    if not by_id:
        return
    chosen, buttons = st.columns([5, 2.2], vertical_alignment="bottom")
    picked = chosen.multiselect(
        "Stopped and failed",
        list(by_id),
        format_func=lambda run_id: title(by_id[run_id]) if run_id in by_id else run_id,
        placeholder="to resume or retry",
        key="again",
    )
    row, found = buttons.container(horizontal=True, gap="small"), [by_id[name] for name in picked if name in by_id]
    for label, help, act in (("Resume these", RESUME_HELP, resume), ("Retry these", RETRY_HELP, retry)):
        row.button(label, help=help, disabled=not found, on_click=_act, args=(act, *found))


def _act(act: Callable[[Run], Any], *runs: Run) -> None:
    """Do something with runs before the panel is drawn again; what cannot be done is told on it."""
    for run in runs:
        try:
            act(run)
        except (RequestError, OSError) as error:
            st.session_state["queue-refused"] = str(error), time.monotonic()


def _refused() -> None:
    text, when = st.session_state.get("queue-refused", ("", 0.0))
    if text and time.monotonic() - when < _REFUSED_S:
        controls.refuse(text)
