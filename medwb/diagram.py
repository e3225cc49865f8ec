"""Network diagrams as standalone SVG: every layer with its shapes, parameters and multiply-adds.

The drawing needs no program and no font beyond the reader's own. It brings its own ground and follows the reader's
light or dark scheme, so that it is legible on any page. All text is escaped.
"""

from collections.abc import Sequence
from html import escape

from medwb.architectures import Architecture, LayerFacts, describe_layers, total_multiply_adds, total_parameters
from medwb.architectures.layers import Shape

_WIDTH = 660
_ROW = 30  # height of a layer's box
_GAP = 12  # height of the arrow between boxes
_TOP = 94  # where the first box begins
_COLUMNS = {"shape": 432, "parameters": 530, "multiply_adds": 626}  # right edges of the numbers

_KINDS = {
    "Conv2D": "conv",
    "MaxPooling2D": "pool",
    "Dense": "dense",
    "LSTM": "recurrent",
    "BatchNormalization": "norm",
    "Dropout": "norm",
    "Stem": "conv",
    "Stage": "conv",
    "Transition": "pool",
    "Features": "norm",
}
"""First word of a layer's label to the colour class of its stripe; others are plain reshaping."""

_STYLE = """
.ground{fill:#ffffff;stroke:#d5dae1}.box{fill:#f4f6f9;stroke:#d5dae1}.end{fill:#e8edf4;stroke:#c3cbd6}
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;fill:#1f2933}
.title{font-size:17px;font-weight:600}.small{font-size:12px;fill:#5f6b7a}.number{text-anchor:end}
.total{font-weight:600}.arrow{stroke:#8a95a3;stroke-width:1.5;fill:none}.head{fill:#8a95a3}.rule{stroke:#d5dae1}
.conv{fill:#0072b2}.pool{fill:#56b4e9}.dense{fill:#e69f00}.recurrent{fill:#cc79a7}.norm{fill:#009e73}
.plain{fill:#8a95a3}
@media (prefers-color-scheme:dark){.ground{fill:#161b22;stroke:#30363d}.box{fill:#21262d;stroke:#30363d}
.end{fill:#2b323b;stroke:#444c56}text{fill:#e6edf3}.small{fill:#9aa5b1}.rule{stroke:#30363d}}
""".strip().replace("\n", "")


def network_svg(architecture: Architecture, input_shape: Shape, outputs: int) -> str:
    """Draw an architecture.

    Args:
        architecture: A network, or a baseline: a card that says what it is. So is a backbone whose rows are not
            known for that shape, see `describe_layers`.
        input_shape: (height, width, channels).
        outputs: Number of outputs.

    Returns:
        A standalone SVG document.

    Raises:
        RequestError: The input is too small for the network.
    """
    if not architecture.is_network:
        return _card(
            architecture, "A classical baseline on flattened pixels, one classifier a label; it has no layers."
        )
    layers = describe_layers(architecture, input_shape, outputs)
    if not layers:
        return _card(architecture, f"Its blocks are not known yet for {_shape(input_shape)} pixels.")
    parts = [_text(24, 34, architecture.title, "title"), _text(24, 54, architecture.summary, "small")]
    for column, title in (
        ("shape", "shape in → out"),
        ("parameters", "parameters"),
        ("multiply_adds", "multiply-adds"),
    ):
        parts.append(_text(_COLUMNS[column], 84, title, "small number"))
    y = _TOP
    parts.append(_box(y, "Input", _shape(input_shape), kind="end"))
    for layer in layers[:-1]:
        parts += [_arrow(y + _ROW), _layer(y := y + _ROW + _GAP, layer)]
    output = layers[-1]
    parts += [_arrow(y + _ROW), _layer(y := y + _ROW + _GAP, output, title=f"Output: {output.label}", end=True)]
    parts.append(_totals(y + _ROW + 16, layers))
    alt = f"{architecture.title}: {len(layers)} layers from {_shape(input_shape)} to {outputs} outputs"
    return _document(y + _ROW + 52, alt, parts)


def compact(number: float) -> str:
    """A count in three or four characters and a unit: 1,234 as "1.23 k", 12,345,678 as "12.3 M"."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size * 0.9995:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"


def _layer(y: int, layer: LayerFacts, *, title: str = "", end: bool = False) -> str:
    kind = _KINDS.get(layer.label.split(" ")[0], "plain")
    shapes = f"{_shape(layer.input_shape)} → {_shape(layer.output_shape)}"
    numbers = [
        _text(_COLUMNS[name], y + 20, f"{value:,}" if value < 1e9 else compact(value), "number")
        for name, value in (("parameters", layer.parameters), ("multiply_adds", layer.multiply_adds))
        if value
    ]
    return _box(y, title or layer.label, shapes, kind="end" if end else "box", stripe=kind) + "".join(numbers)


def _box(y: int, title: str, shapes: str, *, kind: str, stripe: str = "") -> str:
    mark = f'<rect class="{stripe}" x="24" y="{y}" width="5" height="{_ROW}" rx="2.5"/>' if stripe else ""
    frame = f'<rect class="{kind}" x="24" y="{y}" width="{_WIDTH - 48}" height="{_ROW}" rx="5"/>'
    return frame + mark + _text(40, y + 20, title) + _text(_COLUMNS["shape"], y + 20, shapes, "small number")


def _arrow(y: int) -> str:
    middle, tip = 120, y + _GAP
    head = f"{middle - 4},{tip - 6} {middle + 4},{tip - 6} {middle},{tip - 1}"
    return f'<path class="arrow" d="M{middle} {y + 1}V{tip - 5}"/><polygon class="head" points="{head}"/>'


def _totals(y: int, layers: Sequence[LayerFacts]) -> str:
    rule = f'<path class="rule" d="M24 {y}H{_WIDTH - 24}"/>'
    hidden = f"{len(layers)} layers; multiply-adds of one image"
    return (
        rule
        + _text(40, y + 22, hidden, "small")
        + _text(_COLUMNS["parameters"], y + 22, f"{total_parameters(layers):,}", "number total")
        + _text(_COLUMNS["multiply_adds"], y + 22, compact(total_multiply_adds(layers)), "number total")
    )


def _card(architecture: Architecture, text: str) -> str:
    parts = [
        _text(24, 34, architecture.title, "title"),
        _text(24, 58, architecture.summary, "small"),
        '<rect class="plain" x="24" y="76" width="5" height="34" rx="2.5"/>',
        _text(40, 98, text),
    ]
    return _document(132, f"{architecture.title}: {text}", parts)


def _document(height: int, alt: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(alt)}"><style>{_STYLE}</style>'
        f'<rect class="ground" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>'
        f"{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x}" y="{y}">{escape(text)}</text>'


def _shape(shape: Shape) -> str:
    return " × ".join(map(str, shape))
