import json

import numpy as np

from medwb.strict_json import dump_json


def test_nan_is_null_and_numpy_scalars_are_numbers():
    value = {"a": float("nan"), "b": [np.float32(0.5), np.int64(3), np.bool_(True), "x", None], "c": {"d": np.nan}}
    assert json.loads(dump_json(value)) == {"a": None, "b": [0.5, 3, True, "x", None], "c": {"d": None}}
