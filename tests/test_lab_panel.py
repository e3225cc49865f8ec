"""The lab's panel: what its sliders say and take, how numbers are written, what a frame holds."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import write_dataset

from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.panel import (
    LAB_JS,
    changed,
    controls,
    frame,
    harm_text,
    harmful_spans,
    pack,
    read_values,
    setting_text,
    unpack,
)
from medwb.augment.preview import Scans, left_text, number_text, percent, preview
from medwb.augment.recipe import PROBABILITY
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.params import OneOf, Param


@pytest.fixture
def data(home) -> Dataset:
    return write_dataset(samples=60, side=64)


@pytest.mark.parametrize(
    ("value", "step", "unit", "text"),
    [
        (33.27, 0.5, "°", "33.3°"),
        (62.5, 0.5, "%", "62.5 %"),
        (78.125, 0.5, "%", "78.1 %"),
        (3.0, 1, "px", "3 px"),
        (-0.001, 0.05, "", "0"),
        (0.35, 0.05, "", "0.35"),
        (100, 0.5, "%", "100 %"),
        (0.25, 0.25, "%", "0.25 %"),
        (0.75, 0.25, "%", "0.75 %"),
        (0.15, 0.1, "px", "0.1 px"),
        (20, 1, "", "20"),
    ],
)
def test_a_value_is_written_with_its_unit(value, step, unit, text):
    assert number_text(value, Param("x", -1000, 1000, 0, step, "X.", unit)) == text


POSITIONS = [
    pytest.param(param, id=f"{name}-{param.name}")
    for name, params in [("", [PROBABILITY]), *((entry.name, entry.params) for entry in TRANSFORMS)]
    for param in params
]


@pytest.mark.parametrize("param", POSITIONS)
def test_every_position_of_a_slider_is_written_as_it_is(param):
    places = param.low + param.step * np.arange(round((param.high - param.low) / param.step) + 1)
    texts = [number_text(value, param) for value in places.tolist()]
    assert len(set(texts)) == len(places)
    read = [float(text.removesuffix(param.unit)) for text in texts]
    assert np.allclose(read, places, rtol=0, atol=1e-9)
    assert not any(re.search(r"\.\d*0$|^-0$|\s$", text.removesuffix(param.unit).strip()) for text in texts)


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_page_writes_numbers_as_the_library_does():
    source = LAB_JS.read_text(encoding="utf-8")
    functions = re.findall(r"^function (?:decimals|words)\(.*?^}", source, re.MULTILINE | re.DOTALL)
    assert len(functions) == 2
    cases = [
        (value, param)
        for param in (case.values[0] for case in POSITIONS)
        for value in (*np.linspace(param.low, param.high, 41).tolist(), 0.125, -0.001, 78.125)
    ]
    asked = json.dumps([[value, {"unit": param.unit, "step": param.step}] for value, param in cases])
    code = "\n".join([*functions, f"console.log(JSON.stringify({asked}.map((pair) => words(...pair))))"])
    answer = subprocess.run(["node", "-e", code], check=True, capture_output=True, text=True).stdout
    assert json.loads(answer) == [number_text(value, param) for value, param in cases]


def test_shares_are_written_in_one_way():
    assert [percent(share) for share in (0, 0.004, 0.126, 1, np.nan)] == ["0 %", "0 %", "13 %", "100 %", "–"]
    assert [left_text(share) for share in (0.5, 0.994, 0.996, 1, np.nan)] == ["50 % left", "99 % left", "", "", ""]


@pytest.mark.parametrize("name", TRANSFORMS.names())
def test_controls_say_what_the_step_says(name):
    for step in (Step(name), Step(name, p=0.125)):
        shown = controls(step)
        json.dumps(shown, allow_nan=False)
        assert [one["name"] for one in shown][-1] == "p"
        again = changed(step, {one["name"]: one["value"] for one in shown})
        one = Augmentation((step,))
        pool = Pool(
            np.arange(9), np.zeros((9, 1), np.float32), lambda where: np.zeros((len(where), 8, 8, 3), np.uint8)
        )
        first, second = (augment_samples(pool, np.arange(9), Augmentation((s,)), 0, 0).drawn for s in (step, again))
        assert one.steps[0].p == again.p
        assert np.array_equal(first[0].applied, second[0].applied)
        for key, value in first[0].values.items():
            assert np.array_equal(value, second[0].values[key])


def test_controls_set_a_step():
    step = Step("rotate", {"degrees": OneOf((10.0, 25.0))})
    assert controls(step)[0] == {
        "kind": "values",
        "name": "degrees",
        "label": "Degrees",
        "help": TRANSFORMS.get("rotate").param("degrees").help,
        "unit": "°",
        "value": "10, 25",
    }
    assert changed(step, {"degrees": "5, 90"}).settings["degrees"] == OneOf((5.0, 90.0))
    assert changed(step, {"degrees": [-5, 5]}).settings["degrees"] == (-5, 5)
    assert changed(step, {"degrees": [7, 7]}).settings["degrees"] == 7
    assert changed(step, {"p": 0.25, "border": "black"}).describe()["border"] == "black"
    assert changed(step, {"p": 0.25}).settings == step.settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"degrees": [200, 300]}, "out of range"),
        ({"degrees": [10, -10]}, "upside down"),
        ({"degrees": "a, b"}, "numbers with commas"),
        ({"degrees": ""}, "names no value"),
        ({"p": 1.5}, "out of range"),
        ({"border": "wood"}, "unknown border"),
        ({"degrees": {"x": 1}}, "no setting"),
        ({"degrees": True}, "no setting"),
    ],
)
def test_what_controls_cannot_say_is_refused(values, message):
    with pytest.raises(RequestError, match=message):
        changed(Step("rotate"), values)


def test_values_are_read_as_they_are_written():
    param = TRANSFORMS.get("rotate").param("degrees")
    assert read_values("10,25 ,", param) == OneOf((10.0, 25.0))


def test_a_frame_is_what_was_packed(data):
    grid = preview(Scans.of(data, range(5, 9)), PRESETS["study"], 0, 3, 2)
    header, cells = unpack(frame(grid, serial=7, panel="0 rotate", title="T", note="n", controls=[{"a": 1}]))
    assert (header["serial"], header["panel"], header["note"], header["controls"]) == (7, "0 rotate", "n", [{"a": 1}])
    assert header["heads"] == ["scan", "epoch 3", "epoch 4"]
    assert header["sides"] == list(grid.scans.ids)
    assert np.array_equal(cells, grid.cells)
    for row, shares in zip(header["captions"], grid.kept, strict=True):
        assert [one["lost"] for one in row] == (shares < 0.2).tolist()
    assert unpack(pack({}, np.zeros((1, 2, 3, 4, 3), np.uint8)))[1].shape == (1, 2, 3, 4, 3)


@pytest.mark.parametrize(
    ("harmed", "spans"),
    [
        ("....", []),
        ("x..x", [(0, 1), (5, 6)]),
        (".xx.", [(1, 5)]),
        ("xxxx", [(0, 6)]),
        ("x.x.", [(0, 1), (3, 5)]),
    ],
)
def test_the_parts_of_a_track_to_mark(harmed, spans):
    assert harmful_spans([0, 2, 4, 6], [sign == "x" for sign in harmed]) == spans


def test_red_parts_of_tracks_reach_every_slider_and_are_put_into_words():
    step = Step("flip-left-right")
    (shown,) = controls(step, {"p": [(0.5, 1.0)]})
    assert (shown["name"], shown["harmful"]) == ("p", [[0.5, 1.0]])
    assert controls(Step("rotate"), {"degrees": [(-180, -45.0)]})[0]["harmful"] == [[-180, -45.0]]
    param = TRANSFORMS.get("rotate").param("degrees")
    said = harm_text([(-180, -45.5), (90, 180)], param)
    assert said == "A trained run recognises a label less well from -180° to -45.5° and from 90° to 180°."
    assert harm_text([], param) == ""
    assert setting_text((5, 5), param) == "5°"
    assert setting_text(OneOf((10.0, 25.0)), param) == "one of 10, 25 °"


def test_the_javascript_loads_nothing_and_writes_no_markup():
    text = LAB_JS.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|innerHTML|outerHTML|insertAdjacent|fetch\(|import\b|eval|url\(", text)
    assert text.count("export default") == 1
