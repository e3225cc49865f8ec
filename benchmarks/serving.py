"""Memory of the web server while a browser looks at 58,954 scans.

    python benchmarks/serving.py MEDNIST_ZIP

The other side is the same server without a dataset. Chromium opens every page. Target: at most 450 MB resident.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
from measure import report
from playwright.sync_api import sync_playwright

from medwb.formats import import_dataset

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.stem.split("_", 1)[1] for path in (ROOT / "dashboard" / "app_pages").glob("*.py"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def serve_and_browse() -> float:
    """Resident memory of the server in MB after a browser opened each page twice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            page = browser.new_page()
            for name in PAGES * 2:
                page.goto(f"{url}/{name}")
                page.wait_for_selector("h1", timeout=60_000)
                page.wait_for_selector('[data-testid="stStatusWidget"]', state="detached", timeout=60_000)
                page.wait_for_timeout(1500)
            browser.close()
        return psutil.Process(server.pid).memory_info().rss / 1e6
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Serve an empty workbench, then one with the set."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        empty = serve_and_browse()
        dataset = import_dataset(sys.argv[1], "mednist")
        full = serve_and_browse()
    figures = {"samples": len(dataset), "pages": PAGES, "empty_mb": round(empty), "open_mb": round(full)}
    report({**figures, "ratio": round(full / empty, 2)}, ("streamlit", "plotly"))


if __name__ == "__main__":
    main()
