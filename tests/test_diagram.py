import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from medwb.architectures import ARCHITECTURES, describe_layers, total_parameters
from medwb.diagram import compact, network_svg
from medwb.errors import RequestError

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_every_architecture_has_a_diagram(name):
    entry = ARCHITECTURES.get(name)
    svg = network_svg(entry, (64, 64, 1), 3)
    drawn = texts(svg)
    assert drawn[0] == entry.title
    layers = describe_layers(entry, (64, 64, 1), 3)
    for layer in layers:
        assert any(layer.label in text for text in drawn)
    if layers:
        assert f"{total_parameters(layers):,}" in drawn
        assert " × ".join(map(str, layers[0].output_shape)) in " ".join(drawn)


@pytest.mark.parametrize("name", ARCHITECTURES.names())
def test_nothing_is_drawn_outside(name):
    root = ET.fromstring(network_svg(ARCHITECTURES.get(name), (64, 64, 3), 14))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for element in [*root.iter(f"{SVG}text"), *root.iter(f"{SVG}rect")]:
        assert 0 <= float(element.get("x", 0)) + float(element.get("width", 0)) <= width
        assert 0 <= float(element.get("y", 0)) + float(element.get("height", 0)) <= height


def test_text_is_escaped():
    entry = replace(ARCHITECTURES.get("fcnn-1"), title="<script>alert(1)</script>", summary="\"&'")
    svg = network_svg(entry, (8, 8, 1), 1)
    assert "<script" not in svg
    assert texts(svg)[:2] == ["<script>alert(1)</script>", "\"&'"]


def test_an_input_that_is_too_small_is_refused():
    with pytest.raises(RequestError, match="cannot take 8 x 8"):
        network_svg(ARCHITECTURES.get("cnn-4"), (8, 8, 1), 3)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (999.9, "1 k"), (1234, "1.23 k"), (12_345_678, "12.3 M"), (2e9, "2 G")],
)
def test_compact(number, text):
    assert compact(number) == text
