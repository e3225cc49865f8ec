"""Figures of labels: how often they occur, alone and together."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from medwb.dataset import Dataset
from medwb.plots.style import SEQUENTIAL, SPLIT_COLOURS, empty_figure, percent, plain, shorten, styled


def label_counts(dataset: Dataset) -> pd.DataFrame:
    """How often each label is what in each split.

    Returns:
        One row a label and split: `label`, `split`, `positive`, `negative`, `unknown` (int), and `share` (float):
        positives of those known, NaN where nothing is known.
    """
    rows = []
    counts = dataset.count_labels()
    for split in dataset.splits:
        for label in dataset.label_names:
            positive, negative, unknown = counts[label][split].values()
            share = positive / (positive + negative) if positive + negative else np.nan
            rows.append((label, split, positive, negative, unknown, share))
    return pd.DataFrame(rows, columns=["label", "split", "positive", "negative", "unknown", "share"])


def label_set_counts(dataset: Dataset) -> pd.DataFrame:
    """How often each combination of positive labels occurs.

    Returns:
        One row a combination, the commonest first: `labels` (text: "a + b", "no finding", "nothing known"), an int
        column a split, `total` (int) and `share` (float, of all samples). Unknown labels count as not positive.
    """
    values = dataset.labels
    powers = np.array([1 << bit for bit in range(len(dataset.label_names))], dtype=object)
    code = ((values == 1) * powers).sum(1) if len(powers) > 62 else (values == 1) @ powers.astype(np.int64)
    code = np.where(np.isnan(values).all(1), -1, code)
    table = pd.crosstab(pd.Series(code, name="code"), dataset.samples["split"].reset_index(drop=True))
    table = table[[split for split in dataset.splits if split in table]].assign(total=lambda t: t.sum(axis=1))
    table = table.sort_values("total", ascending=False, kind="stable")
    names = [_label_set(int(number), dataset.label_names) for number in table.index]
    table.insert(0, "labels", names)
    return table.assign(share=table["total"] / max(len(dataset), 1)).reset_index(drop=True).rename_axis(columns=None)


def cooccurrence_counts(dataset: Dataset, *, conditional: bool = False) -> pd.DataFrame:
    """How often labels are positive together.

    Args:
        dataset: What to count.
        conditional: Shares instead of counts: of the samples where the row's label is positive and the column's
            is known, the share where the column's is positive; NaN where there is no such sample.

    Returns:
        Square, label names on both sides. Counts have the label's positives on the diagonal.
    """
    positive = (dataset.labels == 1).astype(np.float64)
    together = positive.T @ positive
    if conditional:
        base = positive.T @ (~np.isnan(dataset.labels)).astype(np.float64)
        together = np.divide(together, base, out=np.full_like(together, np.nan), where=base > 0)
    names = list(dataset.label_names)
    return pd.DataFrame(together if conditional else together.astype(int), index=names, columns=names)


def label_prevalence(counts: pd.DataFrame, *, unit: Literal["share", "count"] = "share") -> go.Figure:
    """Positives, negatives and unknowns of each label, one stacked bar a split.

    Args:
        counts: As `label_counts` gives it.
        unit: Height of a bar: "share" of the split's samples, or "count".
    """
    if counts.empty:
        return empty_figure("The dataset has no labels to count.")
    figure = go.Figure()
    patterns = {"positive": ("", 1.0), "negative": ("", 0.28), "unknown": ("/", 0.12)}
    for split in counts["split"].unique():
        part = counts[counts["split"] == split]
        total = part[["positive", "negative", "unknown"]].sum(axis=1)
        for answer, (pattern, opacity) in patterns.items():
            if not part[answer].any():
                continue
            shown = part[answer] / total * 100 if unit == "share" else part[answer]
            figure.add_bar(
                x=plain(part["label"]),
                y=shown,
                name=split,
                showlegend=answer == "positive",
                offsetgroup=split,
                legendgroup=split,
                marker={"color": SPLIT_COLOURS[split], "opacity": opacity, "pattern_shape": pattern},
                text=[percent(share) for share in part["share"]] if answer == "positive" else None,
                textposition="inside" if len(counts) <= 18 else "none",
                textangle=0,
                insidetextanchor="end",
                customdata=np.stack([part[answer], part["share"] * 100, total], axis=1),
                hovertemplate=f"%{{x}}<br>{split}: %{{customdata[0]:,}} {answer} of %{{customdata[2]:,}} samples"
                "<br>%{customdata[1]:.1f} % positive of those known<extra></extra>",
            )
    key = "solid: positive, pale: negative" + (", hatched: unknown" if counts["unknown"].any() else "")
    title = "Share of samples, %" if unit == "share" else "Samples"
    axis = {"title": f"{title}<br>{key}", "range": _share_range(counts["share"]) if unit == "share" else None}
    return styled(figure, height=380).update_layout(barmode="stack", yaxis=axis, xaxis={"title": "Label"})


def cooccurrence(matrix: pd.DataFrame, *, conditional: bool = False) -> go.Figure:
    """Matrix of labels that are positive together, as `cooccurrence_counts` gives it (same `conditional`)."""
    if matrix.empty:
        return empty_figure("The dataset has no labels to compare.")
    values = matrix.to_numpy(np.float64) * (100 if conditional else 1)
    unit = "%{z:.1f} % of its positives" if conditional else "%{z:,} samples"
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=plain(matrix.columns),
            y=plain(matrix.index),
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=100 if conditional else max(1.0, float(np.nanmax(values))),
            texttemplate="%{z:.0f}" if conditional else "%{z:,}",
            hovertemplate=f"%{{y}} with %{{x}}<br>{unit}<extra></extra>",
            colorbar={"title": "%" if conditional else "samples", "thickness": 12},
            xgap=2,
            ygap=2,
        )
    )
    figure.update_yaxes(autorange="reversed", title="Given this label" if conditional else "Label")
    figure.update_xaxes(title="share with this label" if conditional else "Label")
    return styled(figure, height=max(320, 150 + 26 * len(matrix)))


def label_sets(table: pd.DataFrame, *, top: int = 12) -> go.Figure:
    """The commonest label combinations, stacked by split, as `label_set_counts` gives them."""
    if table.empty:
        return empty_figure("The dataset has no samples.")
    shown = table.head(top).iloc[::-1]
    splits = [split for split in SPLIT_COLOURS if split in shown]
    figure = go.Figure()
    for split in splits:
        figure.add_bar(
            y=plain(shorten(shown["labels"])),
            x=shown[split],
            name=split,
            orientation="h",
            marker_color=SPLIT_COLOURS[split],
            customdata=plain(shown["labels"]),
            hovertemplate=f"%{{customdata}}<br>{split}: %{{x:,}} samples<extra></extra>",
        )
    figure.add_scatter(
        y=plain(shorten(shown["labels"])),
        x=shown["total"],
        mode="text",
        text=[f" {percent(share)}" for share in shown["share"]],
        textposition="middle right",
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
    )
    figure.update_layout(barmode="stack", xaxis={"title": "Samples"}, yaxis={"title": "Positive labels"})
    figure.update_layout(legend_traceorder="normal")
    figure.update_xaxes(range=[0, float(shown["total"].max()) * 1.15])
    return styled(figure, height=max(320, 130 + 24 * len(shown)))


def _share_range(shares: pd.Series) -> list[float]:
    """0 to 100 %, or less where every label is rare and its bar would be a line on the ground."""
    top = float(np.nan_to_num(shares).max())
    return [0, 100] if top >= 0.4 or top == 0 else [0, 130 * top]


def _label_set(code: int, label_names: Sequence[str]) -> str:
    if code < 0:
        return "nothing known"
    return " + ".join(name for bit, name in enumerate(label_names) if code >> bit & 1) or "no finding"
