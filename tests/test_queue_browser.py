"""The queue on the page Train, in a real browser against a real server that is restarted meanwhile."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_dataset
from playwright.sync_api import Page, expect
from test_browser import ROOT, WAIT_MS, browser_page, settled, stop_runs, wait_until_healthy

from medwb.config import make_config
from medwb.launch import launch
from medwb.runs import list_runs

pytestmark = pytest.mark.slow
__all__ = ["browser_page"]


class Server:
    """The dashboard on one port, which can be ended and begun again."""

    def __init__(self, home: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self._home, self._log = f"http://localhost:{self.port}", home, log
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.port", str(self.port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "MEDWB_HOME": str(self._home)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until_healthy(self.url, self._process, self._log)

    def end(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=30)
            self._process = None


@pytest.fixture
def server(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MEDWB_WORKERS", "1")
    write_dataset("scans", samples=240)
    log = tmp_path / "server.log"
    server = Server(home, log)
    try:
        server.begin()
        yield server
        text = log.read_text()
        assert "Traceback" not in text, text
    finally:
        stop_runs()
        server.end()


def open_train(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/train")
    page.get_by_role("heading", name="Train", exact=True).wait_for()
    settled(page)


def states() -> list[str]:
    return [run.state for run in list_runs("scans")]


def wait_for_states(page: Page, *wanted: str) -> None:
    for _ in range(WAIT_MS // 200):
        if states() == list(wanted):
            return
        page.wait_for_timeout(200)
    raise AssertionError([run.status() for run in list_runs("scans")])


def test_trainings_outlive_page_and_server_and_can_be_resumed(server: Server, browser_page: Page) -> None:
    page = browser_page
    endless = {"epochs": 10_000, "early_stopping_patience": 0}
    launch([make_config({"dataset": "scans", "architecture": "fcnn-1", **endless})])
    open_train(page, server)
    box = page.get_by_role("combobox", name="Architectures")
    box.click()
    box.press("Backspace")  # what is chosen when nobody has chosen
    for name in ("Prevalence", "Always negative"):
        box.click()
        box.fill(name)
        page.get_by_role("option", name=name).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch", exact=True).click()
    page.get_by_text("queued: place 2").wait_for()
    page.get_by_text("3 runs").first.wait_for()

    page.reload()
    page.get_by_text("queued: place 2").wait_for()
    page.get_by_role("button", name="First").last.click()  # the last one goes ahead of the other
    page.wait_for_timeout(500)
    long, first, second = list_runs("scans")
    page.get_by_text(re.compile(r"epoch \d+ of 10000")).wait_for()
    wait_for_states(page, "running", "queued", "queued")

    server.end()
    wait_for_states(page, "running", "queued", "queued")
    server.begin()
    open_train(page, server)
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_states(page, "stopped", "finished", "finished")
    assert second.status()["started"] < first.status()["started"]

    page.get_by_role("button", name="Resume", exact=True).click()
    wait_for_states(page, "running", "finished", "finished")
    page.get_by_role("button", name="Stop now").click()
    wait_for_states(page, "stopped", "finished", "finished")
    page.get_by_text("was stopped").wait_for()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert long.state == "stopped"
