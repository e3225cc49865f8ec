"""Pictures that follow a slider in the augmentation lab, in a real browser against a real server.

    python benchmarks/dragging.py

Headless Chromium drags the handle of "Rotate" to and fro for five seconds, 60 mouse moves a second, over a grid of
four scans of 64 x 64 pixels in four epochs, and counts the different pictures that it has painted. The other side is
the same page with Streamlit's own slider, which tells of a value when it is let go. Target: 12 a second.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import report
from playwright.sync_api import Page, sync_playwright

from medwb.demo import write_demo

ROOT = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SECONDS, MOVES, ROUNDS = 5.0, 60, 3

# Every time the browser is about to paint, look whether the pictures are others than the last time.
COUNT = """() => {
  const pictures = () => {
    const host = document.querySelector('.stBidiComponent [data-testid=stBidiComponentIsolated]');
    if (!host) return [...document.querySelectorAll('[data-testid=stImage] img')].map((one) => one.src).join();
    let sum = 0;
    for (const canvas of host.shadowRoot.querySelectorAll('canvas')) {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      for (let n = 0; n < data.length; n += 28) sum = (sum * 31 + data[n]) | 0;
    }
    return sum;
  };
  window.painted = 0;
  let last = pictures();
  const look = () => {
    const now = pictures();
    if (now !== last) window.painted += 1;
    last = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@contextmanager
def served() -> Iterator[str]:
    """A dashboard over the demo dataset."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.headless", "true"]
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait()


def drag(page: Page, track: dict[str, float], start: float) -> float:
    """Pictures a second while a handle is dragged from `start`, a share of the track, to and fro."""
    height, left, width = track["y"] + track["height"] / 2, track["x"], track["width"]
    page.mouse.move(left + start * width, height)
    page.mouse.down()
    page.evaluate("window.painted = 0")
    started, moves, passed = time.perf_counter(), 0, 0.0
    while passed < SECONDS:
        turn = (start + passed / 2) % 2  # there and back in four seconds
        page.mouse.move(left + width * (turn if turn < 1 else 2 - turn), height)
        moves += 1
        time.sleep(max(0, moves / MOVES - (time.perf_counter() - started)))
        passed = time.perf_counter() - started
    painted = float(page.evaluate("window.painted"))
    page.mouse.up()
    page.wait_for_timeout(1500)
    return painted / passed


def dragged(page: Page, url: str, side: str) -> float:
    """Open the page and drag the upper end of "Rotate"."""
    page.goto(f"{url}/augment{'' if side == 'medwb' else '?plain=true'}")
    handle = (
        page.get_by_role("slider", name="Degrees, highest") if side == "medwb" else page.get_by_role("slider").nth(1)
    )
    handle.wait_for()
    page.wait_for_timeout(2000)
    track = (handle if side == "medwb" else page.get_by_test_id("stSlider").first).bounding_box()
    knob = handle.bounding_box()
    assert track is not None
    assert knob is not None
    start = (knob["x"] + knob["width"] / 2 - track["x"]) / track["width"]
    if side == "medwb":  # the input is as wide as the track
        start = handle.evaluate("one => (one.value - one.min) / (one.max - one.min)")
        track = {**track, "x": track["x"] + 9, "width": track["width"] - 18}
    else:
        track = {**track, "y": knob["y"], "height": knob["height"]}
    page.evaluate(COUNT)
    return drag(page, track, start)


def main() -> None:
    """Drag both sliders in turn."""
    found: dict[str, list[float]] = {"medwb": [], "st.slider": []}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        write_demo(samples=600)
        with served() as url, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for _ in range(ROUNDS):
                for side, times in found.items():
                    page = browser.new_page(viewport={"width": 1280, "height": 1000})
                    times.append(dragged(page, url, side))
                    page.close()
            browser.close()
    rates = {side: round(statistics.median(times), 1) for side, times in found.items()}
    report(
        {"rounds": ROUNDS, "seconds": SECONDS, "pictures_per_second": rates, "target": 12},
        ("streamlit", "playwright"),
    )


if __name__ == "__main__":
    main()
