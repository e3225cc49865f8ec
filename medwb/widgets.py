"""Views for notebooks: browse images, look at mean images and at copies, watch trainings. Imported by notebooks only.

Each view is an ipywidgets container that a cell shows by ending with it. Without a front end, as under nbclient,
they are built and drawn all the same.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import display
from tqdm.auto import tqdm

from medwb import plots
from medwb.architectures import ARCHITECTURES
from medwb.dataset import Dataset
from medwb.estimate import progress_text
from medwb.gallery import contact_sheet, diverging, enlarge, mean_images, png, shrink
from medwb.launch import watch
from medwb.runs import Run

if TYPE_CHECKING:
    from medwb.audit import Audit

_THUMBNAIL = 72  # pixels a side in a grid
_LARGE = 256  # pixels a side of a picture that stands alone


def image_grid(dataset: Dataset, *, columns: int = 10, rows: int = 6) -> ipw.VBox:
    """Images of a dataset, page by page, with filters by split and label combination."""
    split = ipw.Dropdown(options=["all", *dataset.splits], description="Split")
    answers = [("any", None), ("positive", 1), ("negative", 0)]
    labels = [ipw.Dropdown(options=answers, description=name, value=None) for name in dataset.label_names]
    page = ipw.BoundedIntText(value=1, min=1, max=1, description="Page")
    picture, note = ipw.Image(format="png"), ipw.Label()

    def draw(*_: Any) -> None:
        mask = np.ones(len(dataset), bool) if split.value == "all" else dataset.samples["split"] == split.value
        for name, choice in zip(dataset.label_names, labels, strict=True):
            if choice.value is not None:
                mask = mask & (dataset.samples[name] == choice.value)
        found = dataset.subset(mask)
        pages = max(1, -(-len(found) // (columns * rows)))
        page.max = pages
        start = (page.value - 1) * columns * rows
        shown = found.rows[start : start + columns * rows]
        note.value = f"{len(found):,} of {len(dataset):,} samples; page {page.value} of {pages}"
        blank = np.full((1, 8, 8, 1), 255, np.uint8)
        images = shrink(dataset.images[shown], _THUMBNAIL) if len(shown) else blank
        picture.value = png(contact_sheet(images, columns, background=200))

    _observe([split, *labels, page], draw)
    filters = ipw.Box([split, *labels, page], layout=ipw.Layout(flex_flow="row wrap"))
    return ipw.VBox([filters, picture, note])


def mean_image_view(dataset: Dataset) -> ipw.VBox:
    """Mean image of a label's positives and negatives, and their difference; each split is averaged once."""
    label = ipw.Dropdown(options=dataset.label_names, description="Label")
    split = ipw.Dropdown(options=[*dataset.splits, "all"], description="Split")
    pictures, captions = [ipw.Image(format="png") for _ in range(3)], [ipw.Label() for _ in range(3)]
    averaged: dict[str, Any] = {}
    scale = max(1, _LARGE // max(dataset.image_shape[:2]))

    def draw(*_: Any) -> None:
        if split.value not in averaged:
            averaged[split.value] = mean_images(dataset if split.value == "all" else dataset.split(split.value))
        means = averaged[split.value]
        index, white = dataset.label_names.index(label.value), means.brightest(label.value)
        difference = means.difference(label.value)
        limit = max(1.0, float(np.abs(np.nan_to_num(difference)).max()))
        drawn = [means.picture(label.value, answer, white) for answer in ("positive", "negative")]
        for picture, pixels in zip(pictures, [*drawn, diverging(difference, limit)], strict=True):
            picture.value = png(enlarge(pixels, scale))
        captions[0].value = f"{means.positives[index]:,} positives (white: {white:.0f} of 255)"
        captions[1].value = f"{means.negatives[index]:,} negatives"
        captions[2].value = f"difference (orange: positives brighter; full colour at {limit:.0f})"

    _observe([label, split], draw)
    views = [ipw.VBox([picture, caption]) for picture, caption in zip(pictures, captions, strict=True)]
    return ipw.VBox([ipw.HBox([label, split]), ipw.HBox(views)])


def copies_view(audit: "Audit", *, rows: int = 4, columns: int = 8) -> ipw.VBox:
    """Sets of copies as strips of pictures with their labels, page by page; each different answer first."""
    table = plots.set_table(audit)
    kinds = {
        "all": np.ones(len(table), bool),
        "exact": (table["pictures"] < table["samples"]).to_numpy(),
        "near": (table["pictures"] > 1).to_numpy(),
        "contradictory": table["contradicts"].to_numpy(bool),
        "leaking": table["leaks"].to_numpy(bool),
    }
    options = [(f"{kind} ({mask.sum():,})", kind) for kind, mask in kinds.items()]
    kind = ipw.Dropdown(options=options, value="all", description="Sets")
    page = ipw.BoundedIntText(value=1, min=1, max=1, description="Page")
    strips = ipw.VBox()

    def draw(*_: Any) -> None:
        chosen = table[kinds[kind.value]].sort_values(["contradicts", "samples"], ascending=False, kind="stable")
        page.max = max(1, -(-len(chosen) // rows))
        shown = chosen.iloc[(page.value - 1) * rows : page.value * rows]
        parts: list[ipw.Widget] = []
        for index in shown.index:
            row = shown.loc[index]
            members = plots.set_members(audit, int(row["number"]), columns)
            notes = [f"{row['set']}: {row['samples']:,} samples, {row['pictures']:,} different pictures"]
            notes += [f"contradict on {row['disputed']}"] if row["contradicts"] else []
            notes += ["in several splits"] if row["leaks"] or row["constant"] else []
            parts += [ipw.Label("; ".join(notes)), _captioned(audit.dataset, members)]
        strips.children = parts or [ipw.Label("No set is of this kind.")]

    _observe([kind, page], draw)
    return ipw.VBox([ipw.HBox([kind, page]), strips])


def radius_view(audit: "Audit", *, pairs: int = 12) -> ipw.VBox:
    """A slider for the radius of near copies; below it the pairs that it lets in last, with what the pixels say."""
    table, widest = plots.candidate_table(audit), float(audit.summary["near"]["radius"])
    radius = ipw.FloatSlider(
        value=widest,
        min=0,
        max=widest,
        step=0.005,
        readout_format=".3f",
        description="Radius",
        continuous_update=False,
    )
    note, box = ipw.Label(), ipw.Box(layout=ipw.Layout(flex_flow="row wrap"))

    def draw(*_: Any) -> None:
        within = table[table["distance"] <= radius.value + 1e-6]
        agree = within["agree"].dropna()
        known = f"; {agree.mean():.1%} agree on their labels" if len(agree) else ""
        copies = int(within["copy"].sum())
        note.value = f"{len(within):,} pairs within the radius, {copies:,} borne out by the pixels{known}"
        children = []
        for _, row in within.iloc[::-1].head(pairs).iterrows():
            places = np.array([row["position_a"], row["position_b"]], np.int64)
            images = shrink(audit.dataset.images[audit.dataset.rows[places]], _THUMBNAIL)
            picture = ipw.Image(value=png(contact_sheet(images, 2, background=255)), format="png")
            verdict = "copy" if row["copy"] else "look-alike"
            text = f"{row['distance']:.3f}, similarity {row['similarity']:.3f}"
            children.append(ipw.VBox([picture, ipw.Label(f"{verdict}: {text}")]))
        box.children = children

    _observe([radius], draw)
    return ipw.VBox([radius, note, box])


def _captioned(dataset: Dataset, positions: npt.NDArray[np.int64]) -> ipw.Box:
    """Pictures of samples with split and positive labels beneath."""
    parts = []
    for position in positions.tolist():
        image = shrink(dataset.images[dataset.rows[[position]]], _THUMBNAIL)[0]
        answers = dataset.labels[position]
        positive = [name for name, answer in zip(dataset.label_names, answers, strict=True) if answer == 1]
        nothing = "nothing known" if np.isnan(answers).all() else "no finding"
        lines = [dataset.samples["split"].iloc[position], ", ".join(positive) or nothing]
        picture = ipw.Image(value=png(image), format="png")
        parts.append(ipw.VBox([picture, *map(ipw.Label, lines)], layout=ipw.Layout(margin="0 8px 0 0")))
    return ipw.Box(parts, layout=ipw.Layout(flex_flow="row wrap"))


def watch_runs(runs: Sequence[Run], seconds: float = 1.0) -> pd.DataFrame:
    """Show progress and curves of runs until all are over; interrupting the cell leaves them running.

    Args:
        runs: What `launch` returned.
        seconds: Time between two looks.

    Returns:
        One row a run: `run`, `architecture`, `seed`, `state`, `epoch`, `train_seconds`, `collapsed`, `error`.
    """
    bars = {run.id: tqdm(total=1.0, desc=_name(run), bar_format="{desc} {bar} {postfix}") for run in runs}
    networks = [run for run in runs if ARCHITECTURES.get(run.config.architecture).is_network]
    curves = (
        display(_bundle(plots.empty_figure("No epoch is done yet.")), raw=True, display_id=True) if networks else None
    )
    drawn = 0
    statuses: list[dict[str, Any]] = []
    try:
        for statuses in watch(runs, seconds):
            for run, status in zip(runs, statuses, strict=True):
                _advance(bars[run.id], run, status)
            histories = {_name(run): run.history() for run in networks}
            epochs = sum(map(len, histories.values()))
            if curves is not None and epochs != drawn:
                drawn = epochs
                figure = plots.training_curves(histories, metric=networks[0].config.monitor)
                curves.update(_bundle(figure), raw=True)
    finally:
        for bar in bars.values():
            bar.close()
    return pd.DataFrame([_outcome(run, status) for run, status in zip(runs, statuses, strict=True)])


def _observe(controls: Sequence[ipw.Widget], draw: Callable[..., None]) -> None:
    for control in controls:
        control.observe(draw, names="value")
    draw()


def _name(run: Run) -> str:
    return f"{ARCHITECTURES.get(run.config.architecture).title}, seed {run.config.seed} ({run.id[-4:]})"


def _bundle(figure: Any) -> dict[str, Any]:
    """What a notebook draws a figure from; displaying the figure itself would add one each time."""
    return figure._repr_mimebundle_() or {"text/plain": "training curves"}


def _advance(bar: Any, run: Run, status: dict[str, Any]) -> None:
    total = status.get("total") or 0
    over = status["state"] in ("finished", "stopped")
    done = 1.0 if over else min(status.get("done", 0) / total, 1) if total else 0
    bar.set_postfix_str(progress_text(run, status), refresh=False)
    bar.update(done - bar.n)
    bar.refresh()


def _outcome(run: Run, status: dict[str, Any]) -> dict[str, Any]:
    keys = ("state", "epoch", "train_seconds", "collapsed", "error")
    facts = {"run": run.id, "architecture": run.config.architecture, "seed": run.config.seed}
    return facts | {key: status.get(key) for key in keys}
