"""Looks: how often a run was evaluated on the test split.

`looks.json` of a run's folder is a list of {"when": seconds since 1970, "what": "table", "compare", "errors", ...},
the oldest first. A score on a test split that was looked at often is no longer a score on unseen samples: whoever
chooses among runs by it has tuned on it.
"""

import json
import logging
import time
from collections.abc import Iterable
from typing import Any

from medwb.errors import RequestError
from medwb.paths import write_text
from medwb.runs import Run

LOOKS_FILE = "looks.json"

_ONE_LOOK_S = 60.0
_recent: dict[tuple[str, str], float] = {}
"""Folder and kind to when this process last saw to it that the look is counted: a page drawn again reads nothing."""


def record_look(runs: Iterable[Run], what: str) -> None:
    """Count that runs were evaluated on the test split.

    Two looks of one kind at a run within a minute count once, for a page draws itself again at every click. A look
    that cannot be written down, in a folder that is read only or beside a damaged file, is a warning in the log.

    Args:
        runs: What was evaluated.
        what: The kind: "table", "compare", "errors", ...
    """
    for run in runs:
        key, now = (str(run.path), what), time.monotonic()
        if now - _recent.get(key, -_ONE_LOOK_S) < _ONE_LOOK_S:
            continue
        try:
            _append(run, what)
        except (OSError, RequestError) as error:
            logging.getLogger(__name__).warning("a look at the test split is not counted: %s", error)
        _recent[key] = now


def count_looks(run: Run) -> int:
    """How often a run was evaluated on the test split; 0 where nothing is recorded.

    Raises:
        RequestError: The record is damaged.
    """
    return len(list_looks(run))


def list_looks(run: Run) -> list[dict[str, Any]]:
    """The looks, the oldest first: `when` (float, seconds since 1970) and `what` (str).

    Raises:
        RequestError: The record is damaged.
    """
    path = run.path / LOOKS_FILE
    try:
        looks = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(looks, list):
            raise TypeError("it is no list")
        return [{"when": float(look["when"]), "what": str(look["what"])} for look in looks]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(
            f"run {run.id}: {LOOKS_FILE} is damaged ({type(error).__name__}: {error}), so how often its "
            f"test split was looked at is not known; remove {path} to count anew"
        ) from error


def _append(run: Run, what: str) -> None:
    with run.locked():
        looks, now = list_looks(run), time.time()
        if any(look["what"] == what and abs(now - look["when"]) < _ONE_LOOK_S for look in looks):
            return
        write_text(run.path / LOOKS_FILE, json.dumps([*looks, {"when": now, "what": what}], indent=1) + "\n")
