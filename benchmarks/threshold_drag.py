"""Dragging a label's threshold on the page of errors: 22,000 samples, 14 labels.

    python benchmarks/threshold_drag.py

In Python: what one step of the handle costs: counts with intervals, the operating point on both curves as JSON, and
the four galleries as one picture of 48 scans; the other side counts with scikit-learn and takes 200 bootstrap draws
of whole patients for the intervals. In headless Chromium, against a real server: the time from a step to the painted
answer, and painted answers a second while the handle is dragged for five seconds. Target: at most 150 ms.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from dragging import FLAGS, served
from measure import medians, report
from playwright.sync_api import Page, sync_playwright

from medwb.demo import write_demo

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "dashboard")]

ANSWERED, TRAINED, LABELS, SIDE, ROUNDS, SECONDS = 22_000, 100, 14, 64, 30, 5.0
SAMPLES = ANSWERED + TRAINED

# Each time an answer is painted, note when, and which threshold it is of.
WATCH = """() => {
  const box = () => {
    for (const host of document.querySelectorAll('[data-testid=stBidiComponentIsolated]')) {
      const found = host.shadowRoot && host.shadowRoot.querySelector('.err');
      if (found) return found;
    }
  };
  window.answers = [];
  let last = box().dataset.threshold;
  const look = () => {
    const now = box() && box().dataset.threshold;
    if (now !== undefined && now !== last) window.answers.push([performance.now(), Number(now)]);
    last = now ?? last;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  window.slider = () => box().querySelector('input');
}"""
STEP = """async (value) => {
  const input = window.slider();
  const start = performance.now(), before = window.answers.length;
  input.value = value;
  input.dispatchEvent(new Event('input'));
  while (window.answers.length === before && performance.now() - start < 3000)
    await new Promise((go) => requestAnimationFrame(go));
  return performance.now() - start;
}"""


def write_run() -> str:
    """A dataset of the demo's scans, three a patient, and a finished run on it whose scores are made up."""
    from medwb.config import make_config
    from medwb.dataset import allocate_images, new_dataset, open_dataset, save_dataset
    from medwb.runs import Predictions, create_run

    write_demo(samples=600)
    scans = open_dataset("demo")
    rng = np.random.default_rng(0)
    names = [f"finding {number:02d}" for number in range(LABELS)]
    labels = (rng.random((SAMPLES, LABELS)) < 0.1).astype(np.float32)
    table = pd.DataFrame(labels, columns=names)
    table["id"] = [f"{number:06d}.png" for number in range(SAMPLES)]
    table["group"] = [f"p{number // 3}" for number in range(SAMPLES)]
    table["split"] = "val"
    table.loc[: TRAINED - 1, "split"] = "train"
    with new_dataset("large") as folder:
        images = allocate_images(folder / "images.npy", (SAMPLES, SIDE, SIDE, 1))
        images[:] = scans.images[rng.integers(len(scans), size=SAMPLES)]
        images[:, 0, :8] = rng.integers(0, 256, (SAMPLES, 8, 1), np.uint8)  # so that none is another's copy
        save_dataset(folder, table, names, images, format="csv", source="the demo", ingest={"read": SAMPLES})
    data = open_dataset("large")
    run = create_run(make_config({"dataset": "large", "architecture": "fcnn-1"}), data)
    score = np.clip(rng.normal(0.35, 0.18, labels.shape) + 0.25 * labels, 0, 1).astype(np.float32)
    run.save_predictions(
        {"val": Predictions(data.samples["id"].to_numpy(str)[TRAINED:], labels[TRAINED:], score[TRAINED:])}
    )
    run.update_status(state="finished", epoch=1, train_seconds=1.0)
    return run.id


def python_side(run_id: str) -> dict[str, float]:
    """Milliseconds of one step without a browser, and of the other side's."""
    from errors_pictures import Shelf, frame
    from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

    from medwb.dataset import open_dataset
    from medwb.outcomes import KINDS, confusion, gallery, outcomes_of
    from medwb.plots.outcomes import at_threshold, operating_curves
    from medwb.runs import open_run
    from medwb.statistics import bootstrap_weights

    data = open_dataset("large")
    found = outcomes_of(open_run(run_id), data)
    label, curve = found.label_names[3], found.ranked[3].curve
    base = operating_curves(curve)
    thresholds = iter(np.linspace(0.2, 0.8, 10 * ROUNDS).tolist())
    truth, score = found.y_true[:, 3], found.y_score[:, 3]
    weights = bootstrap_weights(found.units, 200)

    def step() -> None:
        at = next(thresholds)
        confusion(found, label, at)
        at_threshold(base, curve, at).to_json()
        shelves = []
        for kind in KINDS:
            rows, count = gallery(found, label, at, kind, "surest", 12)
            shelves.append(Shelf(kind, str(count), "", "#000", found.positions[rows], [""] * len(rows)))
        frame(data, shelves)

    def scikit() -> None:
        called = score >= next(thresholds)
        confusion_matrix(truth, called)
        for draw in weights:
            for metric in (f1_score, precision_score, recall_score):
                metric(truth, called, sample_weight=draw)

    times = medians({"medwb": step}, ROUNDS)
    times |= medians({"scikit-learn, counts and 200 draws": scikit}, 2)
    return {side: round(1000 * value, 1) for side, value in times.items()}


def drag(page: Page) -> tuple[float, float]:
    """Painted answers a second while the handle is dragged to and fro, and their largest gap, ms."""
    slider = page.get_by_role("slider", name="Threshold, dragged")
    track = slider.bounding_box()
    assert track is not None
    height, left, width = track["y"] + track["height"] / 2, track["x"] + 9, track["width"] - 18
    page.mouse.move(left + float(slider.input_value()) * width, height)
    page.mouse.down()
    page.evaluate("window.answers = []")
    started, passed, moves = time.perf_counter(), 0.0, 0
    while passed < SECONDS:
        turn = (0.3 + passed / 2) % 2
        page.mouse.move(left + width * (turn if turn < 1 else 2 - turn), height)
        moves += 1
        time.sleep(max(0, moves / 60 - (time.perf_counter() - started)))
        passed = time.perf_counter() - started
    times = page.evaluate("window.answers.map((one) => one[0])")
    page.mouse.up()
    return len(times) / passed, float(max(np.diff(times), default=np.nan))


def browser_side() -> dict[str, float]:
    """Milliseconds from a step of the handle to the painted answer, and painted answers a second."""
    with served() as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{url}/errors?dataset=large&errors-label=finding+03")
        page.get_by_role("slider", name="Threshold, dragged").wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        page.evaluate(WATCH)
        steps = []
        for value in np.linspace(0.2, 0.8, ROUNDS).round(3).tolist():
            steps.append(float(page.evaluate(STEP, value)))
            page.wait_for_timeout(150)
        rate, gap = drag(page)
        browser.close()
    return {
        "step_to_paint_ms": round(statistics.median(steps), 1),
        "step_to_paint_p90_ms": round(float(np.percentile(steps, 90)), 1),
        "answers_per_second": round(rate, 1),
        "largest_gap_ms": round(gap, 1),
    }


def main() -> None:
    """Measure both sides over one dataset."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["MEDWB_HOME"] = f"{scratch}/home"
        run_id = write_run()
        python = python_side(run_id)
        browser = browser_side()
    report(
        {"samples": ANSWERED, "labels": LABELS, "python_ms": python, "chromium": browser, "target_ms": 150},
        ("streamlit", "plotly", "scikit-learn", "playwright"),
    )


if __name__ == "__main__":
    main()
