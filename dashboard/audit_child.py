"""Audits a dataset in a process of its own, which gives its memory back and can be stopped; `audit_run` starts it.

`python audit_child.py DATASET RADIUS MIRRORED` writes lines of JSON: {"share": 0..1}, or {"error": text} at the end.
"""

import json
import sys
import time

from medwb.audit import run_audit
from medwb.dataset import open_dataset
from medwb.errors import RequestError


def main(name: str, radius: str, mirrored: str) -> None:
    """Audit, telling how far it is ten times a second."""
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > 0.1:
            told = time.monotonic()
            print(json.dumps({"share": min(done / max(total, 1), 1.0)}), flush=True)

    try:
        run_audit(open_dataset(name), radius=float(radius), mirrored=mirrored == "1", progress=progress)
    except RequestError as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
