"""A reader's way through the pages, in a real browser against a real server."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import write_dataset
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WAIT_MS = 60_000

pytestmark = pytest.mark.slow


def chromium() -> str | None:
    """Path of Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def address(home: Path, tmp_path: Path) -> Iterator[str]:
    """A server over a small dataset; everything that it started is stopped at the end."""
    write_dataset("scans", samples=240)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", "--server.port", str(port)]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "MEDWB_HOME": str(home)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://localhost:{port}"
        wait_until_healthy(url, server, log)
        yield url
        text = log.read_text()
        assert "Traceback" not in text, text
        assert "warning" not in text.lower(), text
    finally:
        stop_runs()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


def stop_runs() -> None:
    """Let no training outlive a test that failed half-way."""
    from medwb.launch import stop
    from medwb.runs import list_runs

    for run in reversed(list_runs()):
        if run.state in ("queued", "running"):
            stop(run)


@pytest.fixture
def browser_page() -> Iterator[Page]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1280, "height": 1000})
        opened.set_default_timeout(WAIT_MS)
        yield opened
        browser.close()


def open_page(page: Page, title: str) -> None:
    """Follow the menu."""
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=title).click()
    page.get_by_role("heading", name=title, exact=True).wait_for()


def settled(page: Page) -> None:
    """Wait until the server has drawn the page."""
    page.locator("[data-test-script-state=notRunning]").first.wait_for(state="attached")


def launch_one_epoch(page: Page) -> None:
    """On the page Train: FCNN-1 for an epoch."""
    box = page.get_by_role("combobox", name="Architectures")
    box.click()
    box.press("Backspace")  # what is chosen when nobody has chosen
    box.fill("FCNN-1")
    page.get_by_role("option", name="FCNN-1").click()
    page.keyboard.press("Escape")
    page.get_by_text("Settings", exact=True).click()
    epochs = page.get_by_role("spinbutton", name="Epochs").or_(page.get_by_label("Epochs", exact=True)).first
    epochs.fill("1")
    epochs.press("Enter")
    page.get_by_text(re.compile("Changed: .*epochs=1|Changed: epochs=1")).wait_for()
    page.get_by_role("button", name="Launch").click()


def test_from_a_scan_to_a_row_in_the_table(address: str, browser_page: Page) -> None:
    page = browser_page
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if foreign(request.url, address) else None)

    page.goto(address)
    page.get_by_role("heading", name="Explore").wait_for()
    page.get_by_role("radio", name="Table").or_(page.get_by_role("button", name="Table")).first.click()
    pick_row(page, 2)
    page.wait_for_url("**sample=0002.png**")

    open_page(page, "Train")
    launch_one_epoch(page)
    page.get_by_role("button", name="Stop", exact=True).wait_for()

    page.reload()  # the run lives on disk, not in the page
    page.get_by_role("heading", name="Train", exact=True).wait_for()
    expect(page.get_by_test_id("stPlotlyChart")).to_be_visible(timeout=2 * WAIT_MS)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0, timeout=2 * WAIT_MS)

    open_page(page, "Compare")
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    expect(table.locator("td", has_text="FCNN-1")).to_have_count(1, timeout=WAIT_MS)  # the canvas's text form
    expect(page.get_by_test_id("stPlotlyChart")).to_be_visible()
    assert not outside, outside


def test_from_an_audit_to_a_saved_cleaning(address: str, browser_page: Page) -> None:
    page = browser_page
    page.goto(f"{address}/audit")
    page.get_by_role("heading", name="Audit", exact=True).wait_for()
    page.get_by_role("button", name="Audit", exact=True).click()
    page.get_by_role("tab", name="Checks").wait_for()
    expect(page.get_by_test_id("stDataFrame").first.locator("td", has_text="Exact copies")).to_have_count(1)

    for tab in ("Copies", "Radius", "Contradictions", "Leaks", "Ceiling", "Labels", "Cleaning"):
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page).to_have_url(re.compile(f"audit={tab}"))
        settled(page)  # a click while the page is drawn can be lost
        expect(page.get_by_test_id("stException")).to_have_count(0)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved as keep-one-soft").wait_for()

    page.reload()  # what is looked at is in the address, what was saved is on disk
    page.get_by_role("heading", name="Saved", exact=True).wait_for()
    open_page(page, "Train")
    page.get_by_text("Nothing has been trained").wait_for()  # the end of the page: an earlier click closes menus
    page.get_by_text("Settings", exact=True).click()
    page.wait_for_timeout(500)  # the settings unfold
    box = page.get_by_role("combobox", name="Cleaning")
    box.click()
    box.fill("keep-one")
    page.get_by_role("option", name="keep-one-soft").click()
    page.get_by_text("Changed: cleaning=keep-one-soft").wait_for()


def foreign(url: str, address: str) -> bool:
    return url.startswith("http") and not url.startswith((address, address.replace("localhost", "127.0.0.1")))


def pick_row(page: Page, row: int) -> None:
    """Tick a row of the table of images; it is drawn on a canvas, so by its place."""
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    page.wait_for_timeout(500)  # the canvas takes clicks a moment after it is there
    table.click(position={"x": 16, "y": 36 + 60 * row + 30})
