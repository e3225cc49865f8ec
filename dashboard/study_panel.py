"""The panel of studies: pick a question, start what is missing, watch the arms, read the answer as it comes in."""

from typing import Any

import controls
import loaders
import pandas as pd
import streamlit as st

from medwb import plots
from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, parse_seeds
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.launch import look_after, stop
from medwb.runs import ACTIVE_STATES, Run
from medwb.studies import (
    STUDIES,
    Plan,
    StudyGrid,
    StudyRuns,
    StudyTable,
    find_runs,
    plan_grid,
    start_runs,
    study_table,
)

_FIRST = "epochs"
_USUAL = "usual"
_CHOSEN_ELSEWHERE = ("dataset", "architecture", "seed")


def panel(data: Dataset) -> None:
    """Draw the panel; `?study=` and `?study-architecture=` in the address say what it shows."""
    names = STUDIES.names()
    what, where, how_often = st.columns([1.2, 1.2, 1], gap="medium")
    start = names.index(_FIRST) if _FIRST in names else 0
    name = what.selectbox("Study", names, start, key="study", bind="query-params")
    entry = STUDIES.get(name)
    networks = [_USUAL, *(one.name for one in ARCHITECTURES if one.is_network)]
    architecture = where.selectbox(
        "Architecture",
        networks,
        key="study-architecture",
        bind="query-params",
        help="What all variants train; usual for cnn-2, or for a study that varies it.",
    )
    seeds = how_often.text_input(
        "Seeds of the study", "0,1,2", key="study-seeds", help="Comma-separated; one run a variant each."
    )
    settings = _settings()
    st.markdown(f"**{controls.plain(entry.summary)}** {controls.plain(entry.finding)}")
    chosen = None if architecture == _USUAL else architecture
    try:
        plan = _plan(name, data.name, data.fingerprint, loaders.audit_stamp(data.name))
        if isinstance(plan, str):
            raise RequestError(plan)
        grid = plan_grid(entry, plan, data, chosen, settings, parse_seeds(seeds))
        runs = find_runs(grid)
    except RequestError as error:
        controls.refuse(error)
        return
    active = [run for run in runs.all_runs if run.state in ACTIVE_STATES]
    _buttons(grid, runs, active)
    st.fragment(_draw, run_every=2.0 if active else None)(grid, bool(active))


def _settings() -> dict[str, Any]:
    """What all variants share: an input for each setting that somebody names."""
    fields = [name for name in RunConfig.model_fields if name not in _CHOSEN_ELSEWHERE]
    named = st.multiselect(
        "Settings of all variants",
        fields,
        format_func=lambda field: field.replace("_", " ").capitalize(),
        placeholder="the usual ones; name one to change it",
        key="study-settings",
        persist_state="session",
    )
    if not named:
        return {}
    columns = st.columns(4)
    values = {}
    for position, field in enumerate(named):
        with columns[position % len(columns)]:
            values[field] = controls.config_input(field, f"study-{field}")
    return values


@st.cache_resource(max_entries=8, show_spinner="Planning the study …")
def _plan(study: str, name: str, fingerprint: str, stamp: str) -> Plan | str:
    """What a study trains on a dataset, or why it does not arise there."""
    return loaders.or_message(lambda: STUDIES.get(study).plan(loaders.open_current(name)))


@st.cache_resource(max_entries=8, show_spinner="Scoring runs and drawing intervals …")
def _table(key: tuple[str, ...], _runs: StudyRuns) -> StudyTable | str:
    """The answer of a study; computed again when a run ends, or what is asked differs."""
    return loaders.or_message(lambda: study_table(_runs))


def _buttons(grid: StudyGrid, runs: StudyRuns, active: list[Run]) -> None:
    expected = len(grid.order)
    over = [run for run in runs.all_runs if run.state in ("stopped", "failed")]
    missing = expected - len(runs.all_runs)
    begin, end, text = st.columns([1, 1, 3], vertical_alignment="center")
    label = "Start" if missing == expected else "Go on"
    if begin.button(
        label, key="study-start", type="primary", icon=":material/play_arrow:", disabled=not missing + len(over),
        width="stretch",
    ):  # fmt: skip
        try:
            started = start_runs(grid)
        except RequestError as error:
            controls.refuse(error)
        else:
            st.toast(f"{started.started + started.continued} queued.", icon=":material/check:")
            st.rerun()
    if end.button(
        "Stop the study", key="study-stop", icon=":material/stop_circle:", disabled=not active, width="stretch"
    ):
        for run in active:
            try:
                stop(run)
            except RequestError:  # it ended at this moment
                continue
        st.rerun()
    parts = [f"{missing} runs to train"] if missing else []
    parts += [f"{len(over)} to go on with"] if over else []
    text.caption(
        f"{len(grid.variants)} variants, {expected} runs: {', '.join(parts) or 'all are there'}. "
        "Runs that are there already are used."
    )


def _draw(grid: StudyGrid, was_active: bool) -> None:
    """Progress and answer; draws itself again while an arm is active."""
    runs = find_runs(grid)
    statuses = {run.id: run.status() for run in runs.all_runs}
    states = [status["state"] for status in statuses.values()]
    active = any(state in ACTIVE_STATES for state in states)
    if active != was_active:
        st.rerun()  # the page sets another interval, and the buttons
    if "queued" in states:
        look_after()
    if not states:
        st.info("Nothing of this study has been trained yet.", icon=":material/science:")
        return
    done = sum(map(_share, statuses.values())) / len(grid.order)
    finished = states.count("finished")
    if finished < len(grid.order):
        st.progress(min(done, 1.0), f"{finished} of {len(grid.order)} runs are finished")
        _arms(grid, runs, statuses)
    key = (grid.study.name, grid.dataset.name, grid.dataset.fingerprint, repr(grid.configs), str(grid.scored.sum()))
    table = _table((*key, *(f"{name} {state}" for name, state in zip(statuses, states, strict=True))), runs)
    if isinstance(table, StudyTable):
        _answer(table)
    elif finished:
        controls.refuse(table)


def _share(status: dict[str, Any]) -> float:
    """How much of a run is done, 0..1."""
    if status["state"] == "finished":
        return 1.0
    total = status.get("total") or 0
    return min(status.get("done", 0) / total, 1.0) if total else 0.0


def _arms(grid: StudyGrid, runs: StudyRuns, statuses: dict[str, dict[str, Any]]) -> None:
    """The state of each arm, a row a variant and a column a seed."""
    by_config = {run.config: statuses[run.id] for run in runs.all_runs}
    rows = [
        {"Variant": variant.title} | {f"Seed {config.seed}": _arm(by_config.get(config)) for config in configs}
        for variant, configs in zip(grid.variants, grid.configs, strict=True)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content")


def _arm(status: dict[str, Any] | None) -> str:
    """An arm's state in a few words."""
    if status is None:
        return "not started"
    state = str(status["state"])
    if state != "running":
        return f"{state}, collapsed" if status.get("collapsed") else state
    return f"running, epoch {status.get('epoch', 0)}, {100 * _share(status):.0f} %"


def _answer(table: StudyTable) -> None:
    """Sentence, chart, table, notes and the download."""
    st.success(controls.plain(table.answer), icon=":material/science:")
    st.plotly_chart(plots.study_intervals(table), key="study-chart", config={"displayModeBar": False})
    rows = table.rows
    first = controls.plain(rows["variant"].iloc[0])
    shown = pd.DataFrame({"Variant": rows["variant"], "What it does": rows["facts"], "Runs": rows["runs"]})
    if not rows["facts"].any():
        shown = shown.drop(columns="What it does")
    shown["Macro F1"] = [str(table.score(row, "macro_f1")) for row in range(len(rows))]
    shown[f"Difference to {first}"] = [
        "" if not row else _signed(table, row) for row in range(len(rows))
    ]  # the first is what the others are compared with
    shown["Verdict"] = rows["verdict"]
    if table.scored < table.samples:
        shown["Macro F1, all scans"] = [str(table.score(row, "all_macro_f1")) for row in range(len(rows))]
    st.dataframe(shown, hide_index=True, height="content")
    st.caption(
        controls.plain(
            f"{table.architecture} {table.settings}".strip()
            + f": {table.scored:,} of {table.samples:,} validation samples. {'; '.join(table.notes)}."
        )
    )
    st.download_button(
        "Download CSV",
        table.to_csv(),
        f"{table.dataset}-{table.study}.csv",
        "text/csv",
        key="study-csv",
        on_click="ignore",
        icon=":material/download:",
    )


def _signed(table: StudyTable, row: int) -> str:
    score = table.score(row, "difference")
    return "undefined" if score.value != score.value else f"{score.value:+.3f} [{score.low:+.3f}, {score.high:+.3f}]"
