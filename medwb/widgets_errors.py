"""A notebook's view of a run's errors: drag a label's threshold, see the counts and the scans behind them."""

from typing import Any

import ipywidgets as ipw
import numpy as np

from medwb.dataset import Dataset
from medwb.gallery import contact_sheet, png, shrink
from medwb.outcomes import KINDS, ORDERS, Outcomes, confusion, gallery

_THUMBNAIL = 72  # pixels a side


def threshold_view(dataset: Dataset, outcomes: Outcomes, *, columns: int = 8, rows: int = 2) -> ipw.VBox:
    """A slider for a label's threshold above its scores and the scans of each outcome; it follows the handle.

    Args:
        dataset: Of the outcomes.
        outcomes: A run's answers (`medwb.outcomes.outcomes_of`).
        columns: Scans a line of each gallery.
        rows: Lines a gallery.
    """
    names = outcomes.label_names
    label = ipw.Dropdown(options=names, description="Label")
    order = ipw.Dropdown(options=[(title, name) for name, title in ORDERS.items()], description="Scans")
    threshold = ipw.FloatSlider(
        value=outcomes.threshold(names[0]), min=0, max=1, step=0.001, readout_format=".3f", description="Threshold"
    )
    note = ipw.Label()
    titles, pictures = [ipw.Label() for _ in KINDS], [ipw.Image(format="png") for _ in KINDS]
    blank = png(np.full((8, 8), 255, np.uint8))

    def draw(*_: Any) -> None:
        counted = confusion(outcomes, label.value, threshold.value)
        scores = ", ".join(f"{name} {counted.scores[name]}" for name in ("f1", "recall", "precision"))
        note.value = f"{scores}; the run's own threshold is {outcomes.threshold(label.value):.4f} ({outcomes.rule})"
        for kind, title, picture in zip(KINDS, titles, pictures, strict=True):
            found, count = gallery(outcomes, label.value, threshold.value, kind, order.value, columns * rows)
            low, high = counted.ranges[kind].low, counted.ranges[kind].high
            title.value = f"{count:,} {KINDS[kind].lower()}" + (
                "" if np.isnan(low) else f" ({low:,.0f} to {high:,.0f})"
            )
            images = dataset.images[dataset.rows[outcomes.positions[found]]]
            sheet = contact_sheet(shrink(images, _THUMBNAIL), columns, background=200) if len(found) else None
            picture.value = blank if sheet is None else png(sheet)

    def change_label(*_: Any) -> None:
        before, threshold.value = threshold.value, outcomes.threshold(label.value)
        if threshold.value == before:
            draw()

    label.observe(change_label, names="value")
    for control in (order, threshold):
        control.observe(draw, names="value")
    draw()
    parts = [ipw.VBox([title, picture]) for title, picture in zip(titles, pictures, strict=True)]
    grid = ipw.GridBox(parts, layout=ipw.Layout(grid_template_columns="repeat(2, minmax(0, 1fr))", grid_gap="8px"))
    return ipw.VBox([ipw.HBox([label, threshold, order]), note, grid])
