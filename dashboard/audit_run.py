"""Running an audit from the page, and opening the one that there is."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import controls
import loaders
import streamlit as st
from run_panel import duration

from medwb.audit import Audit
from medwb.audit.near import RADIUS
from medwb.dataset import Dataset

_WIDEST = 0.6  # radius that can be asked for: candidates beyond are hardly ever copies, and there are many
_SECONDS = 2.0  # of work before the time left is told
_PAUSE = 0.2  # between two looks at how far it is
_CHILD = Path(__file__).parent / "audit_child.py"


def current_audit(data: Dataset) -> tuple[Audit, loaders.AuditKey]:
    """The dataset's audit and the key of what is cached of it. Ends the page with a way to run one otherwise."""
    stamp = loaders.audit_stamp(data.name)
    key = (data.name, data.fingerprint, stamp)
    if not stamp:
        st.write(
            "An audit looks for what is wrong with a dataset: copies and contradictions among them, leaks between "
            "splits, frames without content, label errors, shortcuts. It changes nothing."
        )
        _form(data)
        st.stop()
    found = loaders.audit(*key)
    if isinstance(found, str):
        st.warning(controls.plain(found), icon=":material/history:")
        _form(data)
        st.stop()
    near = found.summary["near"]
    mirrored = "with mirror images" if near.get("mirrored") else "without mirror images"
    with st.expander(f"Near copies within radius {near['radius']:g}, {mirrored} · audit again", key="again"):
        _form(data)
    return found, key


def _form(data: Dataset) -> None:
    """The options of an audit, and the button that runs it."""
    radius_column, mirror_column, button_column = st.columns([2, 2, 1.4], vertical_alignment="bottom", gap="large")
    radius = radius_column.slider(
        "Radius of near copies",
        0.05,
        _WIDEST,
        RADIUS,
        0.05,
        key="audit-radius",
        persist_state="session",
        help="How far apart the signatures of two scans may lie for their pixels to be compared. Larger finds more "
        "distorted copies and takes longer.",
    )
    mirrored = mirror_column.toggle(
        "Mirror images are copies", key="audit-mirrored", persist_state="session", help="Left and right exchanged."
    )
    if button_column.button(
        "Audit", type="primary", icon=":material/troubleshoot:", width="stretch", key="run-audit"
    ):
        _run(data, radius, mirrored)


def _run(data: Dataset, radius: float, mirrored: bool) -> None:
    """Audit with a bar; what somebody does on the page meanwhile, Stop or anything else, ends it without a trace."""
    row = st.container(horizontal=True, vertical_alignment="center")
    bar = row.progress(0.0, "Starting")
    row.button("Stop", icon=":material/stop_circle:", key="stop-audit")
    command = [sys.executable, str(_CHILD), data.name, str(radius), str(int(mirrored))]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            child = subprocess.Popen(command, stdout=out, stderr=err)
        try:
            _watch(child, output, bar)
        finally:  # the bar raises when somebody does something on the page
            child.kill()
            child.wait()
        failure = _last(output).get("error")
        if failure is None and child.returncode:
            lines = errors.read_text(encoding="utf-8", errors="replace").splitlines() or ["it was ended from outside"]
            failure = f"the audit failed: {lines[-1]}"
    if failure is not None:
        controls.refuse(str(failure))
        return
    st.rerun()


def _watch(child: subprocess.Popen[bytes], output: Path, bar: Any) -> None:
    """Move the bar until the child is over."""
    begun = time.monotonic()
    while child.poll() is None:
        time.sleep(_PAUSE)
        share, worked = float(_last(output).get("share", 0.0)), time.monotonic() - begun
        if share > 0 and worked > _SECONDS:
            bar.progress(share, f"Working · about {duration(worked / share * (1 - share))} left")
        else:
            bar.progress(share, "Starting")


def _last(output: Path) -> dict[str, Any]:
    """The last whole line that the child wrote."""
    lines = output.read_text(encoding="utf-8").split("\n")[:-1]
    return json.loads(lines[-1]) if lines else {}
