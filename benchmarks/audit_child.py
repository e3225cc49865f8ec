"""The audit of one dataset in a process of its own: `python audit_child.py DATASET ANSWER`; started by benchmarks.

The clock runs from the open dataset to the tables on disk, and over what the audit imports on its way.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from medwb.audit import CHECKS, results, run_audit, survey
from medwb.dataset import open_dataset

STAGES = {"exact_sets": "exact", "measure_frames": "frames", "find_near_copies": "near", "fit_quick_model": "model"}


def main() -> None:
    """Audit, and write seconds in all and a stage."""
    name, answer = sys.argv[1], Path(sys.argv[2])
    stages: dict[str, float] = {}

    def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def watched(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - started

        return watched

    for function, stage in STAGES.items():
        setattr(survey, function, timed(stage, getattr(survey, function)))
    for check in CHECKS:
        object.__setattr__(check, "find", timed("checks", check.find))
    results._save = timed("save", results._save)
    dataset = open_dataset(name)
    answer.write_text(json.dumps({"samples": len(dataset)}))
    started, cpu = time.perf_counter(), os.times()
    audit = run_audit(dataset)
    seconds, used = time.perf_counter() - started, os.times()
    found = {
        "samples": len(dataset),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.user + used.system - cpu.user - cpu.system, 1),
        "stages": {stage: round(value, 1) for stage, value in stages.items()},
        **{kind: {key: audit.summary[kind][key] for key in ("sets", "samples")} for kind in ("exact", "near")},
        "pairs": len(audit.pairs),
        "issues": len(audit.issues),
    }
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
