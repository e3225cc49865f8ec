"""Work that a child process does for a panel, on a thread: told how far it is, and stopped by a button."""

import threading
import time
from collections.abc import Callable

import controls
import streamlit as st
from run_panel import duration

from medwb.errors import RequestError
from medwb.progress import Progress

EVERY_S = 0.5
_TOLD_S = 2.0  # of work before the time left is told


class _StopError(Exception):
    """Somebody has had enough of it."""


class Job:
    """Work on a thread, so that the page goes on; what it finds is kept on disk.

    Attributes:
        of: What it is for; another one's is left alone.
        stopping: Set to end it, which kills the child.
        refused: Why nothing was found.
    """

    def __init__(self, of: tuple[str, ...], work: Callable[[Progress], object]) -> None:
        self.of, self.stopping, self.refused = of, False, ""
        self._share, self._begun = 0.0, 0.0
        self._thread = threading.Thread(target=self._do, args=(work,), daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def told(self) -> tuple[float, str]:
        """The share that is done, 0..1, and a line about the time."""
        worked = time.monotonic() - self._begun
        if not self._share:
            return 0.0, "Loading the network, some seconds"
        if worked < _TOLD_S:
            return self._share, "Working"
        return self._share, f"Working · about {duration(worked / self._share * (1 - self._share))} left"

    def _do(self, work: Callable[[Progress], object]) -> None:
        try:
            work(self._report)
        except _StopError:
            pass
        except (RequestError, OSError) as error:
            self.refused = str(error)

    def _report(self, done: int, total: int) -> None:
        if done and not self._begun:
            self._begun = time.monotonic()
        self._share = min(1.0, done / total) if total else 0.0
        if self.stopping:
            raise _StopError


def current(key: str, of: tuple[str, ...]) -> Job | None:
    """The session's job of that key, where it is for `of`."""
    job: Job | None = st.session_state.get(key)
    return job if job is not None and job.of == of else None


def start(key: str, of: tuple[str, ...], work: Callable[[Progress], object]) -> None:
    """Start a job in place of the session's last one, which is stopped."""
    if (last := st.session_state.get(key)) is not None:
        last.stopping = True
    st.session_state[key] = Job(of, work)
    st.rerun()


def wait(key: str, of: tuple[str, ...]) -> bool:
    """Draw how far a job is, with a button that stops it; whether it is still at work.

    A job that has just ended has the page drawn anew; one that failed says why.
    """
    job = current(key, of)
    if job is None:
        return False
    if job.alive:
        st.fragment(_bar, run_every=EVERY_S)(key, of)
        return True
    if job.refused:
        controls.refuse(job.refused)
    return False


def _bar(key: str, of: tuple[str, ...]) -> None:
    job = current(key, of)
    if job is None or not job.alive:
        st.rerun()
        return
    bar, button = st.columns([5, 1], vertical_alignment="center")
    share, text = job.told()
    bar.progress(share, controls.plain(text))
    if button.button("Stop", icon=":material/stop_circle:", width="stretch", key=f"stop-{key}"):
        job.stopping = True
