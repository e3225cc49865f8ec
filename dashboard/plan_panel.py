"""The panel of the budget planner: how long the chosen trainings take here, and what fits into the time there is."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import controls
import pandas as pd
import streamlit as st

from medwb.architectures import ARCHITECTURES
from medwb.budget import Budget, Row
from medwb.config import RunConfig, make_configs
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.plan import plan

_JOB, _FAILED = "plan-job", "plan-failed"
_EVERY_S = 0.5


class _StopError(Exception):
    """Somebody has had enough of the measuring."""


class _Job:
    """Measuring on a thread, so that the page and its queue go on; what it finds is kept on disk.

    Attributes:
        share: How much is done, 0..1.
        doing: What is being done.
        stopping: Set to end it.
        failed: Why some could not be measured, by their settings.
        refused: Why nothing was measured.
    """

    def __init__(self, configs: Sequence[RunConfig], fresh: bool) -> None:
        self.share, self.doing, self.stopping = 0.0, "starting", False
        self.failed: dict[RunConfig, str] = {}
        self.refused = ""
        self._thread = threading.Thread(target=self._measure, args=(list(configs), fresh), daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _measure(self, configs: list[RunConfig], fresh: bool) -> None:
        try:
            budget = plan(configs, fresh=fresh, report=self._report)
            self.failed = {_settings(row): row.error for row in budget.rows if row.error}
        except _StopError:
            pass
        except (RequestError, OSError) as error:
            self.refused = str(error)

    def _report(self, done: int, total: int, doing: str) -> None:
        self.share, self.doing = done / max(total, 1), doing
        if self.stopping:
            raise _StopError


def panel(data: Dataset, names: Sequence[str], seeds: Sequence[int], settings: Mapping[str, Any]) -> None:
    """Draw the panel.

    Args:
        data: What is trained on.
        names: Of the architectures.
        seeds: Of the networks.
        settings: What differs from the usual.
    """
    if not names:
        st.info("Choose architectures: then it can be measured how long they take.", icon=":material/timer:")
        return
    configs, refused = list[RunConfig](), dict[str, str]()
    for name in names:
        try:
            configs += make_configs(data.name, [ARCHITECTURES.get(name)], settings, seeds)
        except RequestError as error:
            refused[name] = str(error)
    job = st.session_state.get(_JOB)
    active = job is not None and job.alive
    st.fragment(_draw, run_every=_EVERY_S if active else None)(configs, refused, active)


def _draw(configs: list[RunConfig], refused: dict[str, str], was_active: bool) -> None:
    job: _Job | None = st.session_state.get(_JOB)
    if job is not None and job.alive:
        bar, button = st.columns([5, 1], vertical_alignment="center")
        bar.progress(job.share, controls.plain(f"Measuring · {job.doing}"))
        if button.button("Stop", icon=":material/stop_circle:", width="stretch", key="stop-plan"):
            job.stopping = True
        if not was_active:
            st.rerun()  # the page sets another interval
        return
    if job is not None:
        st.session_state[_FAILED] = {**st.session_state.get(_FAILED, {}), **job.failed}
        del st.session_state[_JOB]
        if job.refused:
            controls.refuse(job.refused)
        elif was_active:
            st.rerun()
    for name, reason in refused.items():
        controls.refuse(f"{ARCHITECTURES.get(name).title}: {reason}")
    if configs:
        _show(configs)


def _show(configs: list[RunConfig]) -> None:
    given, button = st.columns([2, 1], vertical_alignment="bottom")
    minutes = given.number_input(
        "Minutes there are",
        min_value=0.1,
        value=None,
        step=10.0,
        format="%g",
        placeholder="as many as it takes",
        key="plan-minutes",
        persist_state="session",
        help="What of the selection fits into them is said below.",
    )
    try:
        budget = plan(configs, minutes=minutes, measure=False)
    except RequestError as error:
        controls.refuse(error)
        return
    failed = st.session_state.get(_FAILED, {})
    missing = [row for row in budget.rows if row.measured is None and not row.error]
    again = not missing
    if button.button(
        "Measure again" if again else "Measure",
        type="secondary" if again else "primary",
        icon=":material/timer:",
        width="stretch",
        key="measure-plan",
        disabled=not (missing or budget.known),
        help="A few steps of each, for some seconds; nothing is trained. On a machine at work it takes longer.",
    ):
        st.session_state[_FAILED] = {}
        st.session_state[_JOB] = _Job(configs, fresh=again)
        st.rerun()
    if budget.known:
        st.text(budget.answer)
    for note in budget.notes:
        st.caption(controls.plain(note))
    _table(budget, failed)


def _table(budget: Budget, failed: Mapping[RunConfig, str]) -> None:
    rows = []
    for row in budget.rows:
        known = row.measured
        step = known.step if known else None
        rows.append(
            {
                "Architecture": ARCHITECTURES.get(row.config.architecture).title,
                "A step, ms": 1000 * step.value if step else None,
                "Steps": known.steps * known.heads if known and step else None,
                "Epochs": row.epochs or None,
                "A run": str(row.seconds(1)) if known else None,
                "Runs": row.runs,
                "Note": row.error or ("" if known else failed.get(_settings(row), "not measured yet")),
            }
        )
    column = st.column_config
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        placeholder="–",
        height="content" if len(rows) <= 12 else 460,
        column_config={
            "A step, ms": column.NumberColumn(format="%.3g"),
            "Steps": column.NumberColumn(format="localized", help="In an epoch, of all its networks."),
            "A run": column.TextColumn(help="From start to end; in brackets the range that the steps' spread gives."),
        },
    )


def _settings(row: Row) -> RunConfig:
    return row.config.model_copy(update={"seed": 0})
