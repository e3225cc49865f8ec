"""Measuring the same way in every benchmark: rounds, medians, the machine's name, a JSON file."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median wall time of each side; every round runs all sides in turn, so that noise hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            times[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in times.items()}


def command(*arguments: str) -> str:
    """Standard output of `medwb ...`."""
    run = [sys.executable, "-m", "medwb.cli", *arguments]
    return subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True).stdout


def report(figures: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Print the figures and write them to `results/<script>.json`."""
    script = Path(sys.argv[0]).stem
    record = {
        "benchmark": script,
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("medwb", *packages)},
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1)
    (RESULTS / f"{script}.json").write_text(text + "\n")
    print(text)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
