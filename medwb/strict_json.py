"""JSON that any reader takes: NaN, which is no JSON, becomes null."""

import json
import math
from typing import Any

import numpy as np


def nan_to_none(value: Any) -> Any:
    """The value with NaN as None and numpy scalars as Python's, in dicts and lists too."""
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nan_to_none(item) for item in value]
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(value)
    return value.item() if isinstance(value, np.generic) else value


def dump_json(value: Any) -> str:
    """Strict JSON, indented by one."""
    return json.dumps(nan_to_none(value), indent=1, allow_nan=False)
