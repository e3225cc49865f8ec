"""Figures of an audit."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.dataset import SPLITS
from medwb.plots.runs import score_title
from medwb.plots.style import (
    NEUTRAL,
    REFERENCE,
    SPLIT_COLOURS,
    empty_figure,
    escape,
    label_colours,
    plain,
    shorten,
    styled,
)

POSITIVE, NEGATIVE, UNKNOWN = "#994455", "#6699CC", "#DDDDDD"
"""Colours of answers: Paul Tol's "medium-contrast" scheme, told apart in grey too."""

_KINDS = {
    "candidates": ("compared in full", NEUTRAL, "dot"),
    "copies": ("borne out by the pixels", REFERENCE, "solid"),
}
_DIRECTIONS = {"higher": "triangle-up", "lower": "triangle-down"}


def radius_curves(table: pd.DataFrame, *, at: float | None = None, chance: float = np.nan) -> go.Figure:
    """Number of candidate pairs up to each radius, and how often they agree on their labels.

    Args:
        table: As `radius_table` gives it.
        at: A radius to mark.
        chance: Agreement of two samples drawn at random, 0..1; NaN for not known.
    """
    if not len(table) or not table["pairs"].any():
        return empty_figure("No two samples are alike enough to be candidates.")
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.12)
    for kind, (name, colour, dash) in _KINDS.items():
        part = table[table["kind"] == kind]
        line = {"color": colour, "dash": dash, "width": 2.5}
        for column, (values, unit) in enumerate(
            ((part["pairs"], "%{y:,} pairs"), (part["agree"] * 100, "%{y:.1f} % agree")), 1
        ):
            figure.add_scatter(
                x=part["radius"],
                y=values,
                name=name,
                mode="lines",
                line=line,
                legendgroup=kind,
                showlegend=column == 1,
                hovertemplate=f"{name}, up to %{{x:.3f}}: {unit}<extra></extra>",
                row=1,
                col=column,
            )
    if not np.isnan(chance):
        figure.add_hline(
            y=chance * 100, line={"color": NEUTRAL, "dash": "dash", "width": 1}, row=1, col=2,
            annotation={"text": "two samples at random", "font": {"color": NEUTRAL, "size": 11}},
        )  # fmt: skip
    elif table["agree"].isna().all():
        figure.add_annotation(
            text="no label is known", showarrow=False, xref="x2 domain", yref="y2 domain", x=0.5, y=0.5
        )
    if at is not None:
        figure.add_vline(x=at, line={"color": NEUTRAL, "width": 1})
    figure.update_xaxes(title="Radius: distance of signatures", range=[0, float(table["radius"].max())])
    figure.update_yaxes(title="Pairs up to this radius", rangemode="tozero", col=1)
    figure.update_yaxes(title="Same labels, % of pairs", range=[0, 104], col=2)
    return styled(figure, height=320)


def vote_bars(votes: pd.DataFrame, *, top: int = 12) -> go.Figure:
    """What the copies of a picture say about a label: shares of positive and negative answers, with their counts.

    The edge between the two is the expected label of the picture.

    Args:
        votes: As `contradiction_table` gives them (or `vote_table`).
        top: At most so many rows are drawn, the first on top.
    """
    if votes.empty:
        return empty_figure("No copies contradict one another.")
    shown = votes.head(top).iloc[::-1]
    names = plain(shorten(shown["set"] + " · " + shown["label"]))
    known = (shown["positive"] + shown["negative"]).to_numpy(np.float64)
    figure = go.Figure()
    for answer, colour in (("positive", POSITIVE), ("negative", NEGATIVE)):
        counts = shown[answer].to_numpy()
        figure.add_bar(
            y=names,
            x=np.divide(counts * 100.0, known, out=np.zeros(len(counts)), where=known > 0),
            name=answer,
            orientation="h",
            marker_color=colour,
            text=[f"{count:,}" for count in counts],
            textposition="inside",
            insidetextanchor="start" if answer == "positive" else "end",
            textangle=0,
            textfont={"color": "white"},
            customdata=np.stack([counts, known], axis=1),
            hovertemplate=f"%{{y}}<br>%{{customdata[0]:,}} of %{{customdata[1]:,}} {answer} (%{{x:.1f}} %)"
            "<extra></extra>",
        )
    figure.add_vline(x=50, line={"color": "white", "width": 1.5, "dash": "dot"})
    figure.update_layout(barmode="stack", bargap=0.25, legend_traceorder="normal")
    figure.update_xaxes(title="Share of the known answers, %: where the colours meet lies the expected label")
    figure.update_yaxes(title="Set of copies and label")
    return styled(figure.update_xaxes(range=[0, 100]), height=max(240, 110 + 26 * len(shown)))


def leak_matrix(matrix: pd.DataFrame, totals: pd.Series, *, what: str = "copies") -> go.Figure:
    """Split by split: which share of the row's samples meets the column's split.

    Args:
        matrix: As `Leaks.matrix` gives it.
        totals: Samples of each split.
        what: What they meet there, in the plural: "copies", "groups".
    """
    splits = [split for split in SPLITS if totals.get(split, 0)]
    if len(splits) < 2:
        return empty_figure("There is one split only: nothing can leak into another.")
    counts = matrix.loc[splits, splits].to_numpy(np.float64)
    shares = counts / np.array([totals[split] for split in splits], np.float64)[:, None] * 100
    apart = ~np.eye(len(splits), dtype=bool)
    pairs = zip(counts.ravel(), shares.ravel(), strict=True)
    text = np.array([f"{count:,.0f}<br>{share:.1f} %" for count, share in pairs], object).reshape(counts.shape)
    figure = go.Figure(
        go.Heatmap(
            z=np.where(apart, shares, np.nan),
            x=splits,
            y=[f"{split} ({totals[split]:,})" for split in splits],
            text=np.where(apart, text, ""),
            texttemplate="%{text}",
            colorscale="Oranges",
            zmin=0,
            zmax=max(5.0, float(shares.max())),
            showscale=False,
            xgap=3,
            ygap=3,
            hovertemplate=f"%{{y}} samples with {escape(what)} in %{{x}}: %{{text}}<extra></extra>",
            hoverongaps=False,
        )
    )
    figure.update_yaxes(autorange="reversed", title="Samples of", showgrid=False)
    figure.update_xaxes(title=f"with {escape(what)} in", side="bottom", showgrid=False)
    return styled(figure, height=300)


def ceiling_bars(table: pd.DataFrame, *, black: bool = False) -> go.Figure:
    """The best F1 of each label and split that any function of the image can reach.

    Args:
        table: As `ceiling_table` gives it.
        black: Draw as lines what it would be if black frames alone contradicted.
    """
    table = table[table["score"].str.startswith("f1:") | (table["score"] == "macro_f1")]
    if table.empty:
        return empty_figure("No label is known in any split, so nothing can be scored.")
    figure = go.Figure()
    for split in table["split"].unique():
        part = table[table["split"] == split]
        names = plain(shorten(part["score"].map(score_title)))
        colour = SPLIT_COLOURS[split]
        few = len(table) <= 24
        figure.add_bar(
            x=names,
            y=part["ceiling"],
            name=split,
            marker_color=colour,
            offsetgroup=split,
            text=[f"{value:.3f}" if few and not np.isnan(value) else "" for value in part["ceiling"]],
            textposition="inside",
            textangle=0,
            hovertemplate=f"%{{x}} on {split}: at most %{{y:.4f}}<extra></extra>",
        )
        figure.add_bar(
            x=names,
            y=1 - part["ceiling"],
            base=part["ceiling"],
            offsetgroup=split,
            showlegend=False,
            marker={
                "color": "rgba(0,0,0,0)",
                "pattern": {"shape": "/", "size": 5, "solidity": 0.2, "fgcolor": colour},
                "line": {"color": colour, "width": 1},
            },
            hovertemplate="out of reach: %{y:.4f}<extra></extra>",
        )
    for place, split in enumerate(table["split"].unique() if black else ()):
        part = table[table["split"] == split]
        figure.add_bar(
            x=plain(shorten(part["score"].map(score_title))),
            y=[0.008] * len(part),
            base=part["black"] - 0.004,
            offsetgroup=split,
            name="if black frames alone contradicted",
            legendgroup="black",
            showlegend=place == 0,
            marker_color="black",
            customdata=part["black"],
            hovertemplate=f"%{{x}} on {split}, black frames alone: %{{customdata:.4f}}<extra></extra>",
        )
    figure.update_yaxes(title="Ceiling of F1 (hatched: out of reach)", range=[0, 1])
    figure.update_xaxes(title="Score")
    return styled(figure.update_layout(barmode="group", bargap=0.25), height=400)


def prevalence_dots(table: pd.DataFrame) -> go.Figure:
    """How often each label is positive in each split, with 95 % intervals, as `prevalence_table` gives it."""
    table = table[(table["split"] != "all") & table["prevalence"].notna()]
    if table.empty:
        return empty_figure("No label is known.")
    labels = list(dict.fromkeys(table["label"]))
    splits = [split for split in SPLITS if split in set(table["split"])]
    figure = go.Figure()
    for place, split in enumerate(splits):
        part = table[table["split"] == split]
        share = part["prevalence"] * 100
        figure.add_scatter(
            x=share,
            y=[labels.index(label) + 0.22 * (place - (len(splits) - 1) / 2) for label in part["label"]],
            name=split,
            mode="markers",
            marker={"color": SPLIT_COLOURS[split], "size": 9},
            error_x={
                "type": "data",
                "array": part["high"] * 100 - share,
                "arrayminus": share - part["low"] * 100,
                "thickness": 1.5,
                "width": 3,
            },
            customdata=np.stack(
                [plain(part["label"]), part["positive"], part["positive"] + part["negative"]], axis=1
            ),
            hovertemplate=f"%{{customdata[0]}}, {split}: %{{x:.1f}} %<br>"
            "%{customdata[1]} of %{customdata[2]} known<extra></extra>",
        )
    figure.update_yaxes(
        title="Label", tickvals=list(range(len(labels))), ticktext=plain(shorten(pd.Series(labels))),
        range=[len(labels) - 0.4, -0.6], zeroline=False,
    )  # fmt: skip
    figure.update_xaxes(title="Positives, % of those known (95 % interval)", rangemode="tozero")
    return styled(figure, height=max(260, 120 + 38 * len(labels)))


def shortcut_dots(table: pd.DataFrame, label_names: Sequence[str], *, top: int = 20) -> go.Figure:
    """How well properties of the image alone predict labels: AUC with 95 % intervals, the strongest on top.

    Args:
        table: As `shortcut_table` gives it.
        label_names: The dataset's labels, in order, which have a colour each.
        top: At most so many rows are drawn.
    """
    if table.empty:
        return empty_figure("No property of the images varies among samples with a known label.")
    shown, colours = table.head(top), label_colours(label_names)
    order = [f"{row.property} → {row.label}" for row in shown.itertuples()]
    names = dict(zip(order, plain(shorten(pd.Series(order), width=42)), strict=True))
    figure = go.Figure()
    for label in dict.fromkeys(shown["label"]):
        part = shown[shown["label"] == label]
        figure.add_scatter(
            x=part["auc"],
            y=[names[f"{row.property} → {row.label}"] for row in part.itertuples()],
            name=escape(label),
            mode="markers",
            marker={
                "color": colours.get(label, NEUTRAL),
                "size": 11,
                "symbol": [_DIRECTIONS.get(direction, "circle") for direction in part["direction"]],
            },
            error_x={
                "type": "data",
                "array": part["high"] - part["auc"],
                "arrayminus": part["auc"] - part["low"],
                "thickness": 1.5,
                "width": 3,
            },
            customdata=np.stack([part["direction"], part["low"], part["high"]], axis=1),
            hovertemplate="%{y}: AUC %{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}]<br>positives have "
            "%{customdata[0]} values<extra></extra>",
        )
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot", "width": 1})
    figure.update_yaxes(
        title="Property → label", categoryorder="array", categoryarray=[names[name] for name in order][::-1]
    )
    figure.update_xaxes(title="AUC of the property alone (▲ positives have higher values, ▼ lower)")
    return styled(figure, height=max(260, 120 + 24 * len(shown)))


def before_after(table: pd.DataFrame, name: str, *, unit: str, scale: float = 1.0) -> go.Figure:
    """What a cleaning does to one quantity: an open mark before, a full one after, for each split.

    Args:
        table: Columns `split`, `before`, `after` and the one called `name`.
        name: Column with what is measured (labels, scores).
        unit: Title of the axis.
        scale: Factor on the values.
    """
    table = table[table[["before", "after"]].notna().any(axis=1)]
    if table.empty:
        return empty_figure("There is nothing to compare: no label is known.")
    items = list(dict.fromkeys(table[name]))
    splits = [split for split in SPLITS if split in set(table["split"])]
    figure = go.Figure()
    for place, split in enumerate(splits):
        part = table[table["split"] == split]
        y = np.array([items.index(item) for item in part[name]]) + 0.22 * (place - (len(splits) - 1) / 2)
        before, after = part["before"].to_numpy(np.float64) * scale, part["after"].to_numpy(np.float64) * scale
        gap = np.full(len(part), None)
        figure.add_scatter(
            x=np.stack([before, after, gap], axis=1).ravel(), y=np.repeat(y, 3), mode="lines", hoverinfo="skip",
            showlegend=False, line={"color": SPLIT_COLOURS[split], "width": 2},
        )  # fmt: skip
        for when, values, symbol in (("before", before, "circle-open"), ("after", after, "circle")):
            figure.add_scatter(
                x=values,
                y=y,
                name=split,
                mode="markers",
                legendgroup=split,
                showlegend=when == "after",
                marker={
                    "color": SPLIT_COLOURS[split],
                    "size": 10,
                    "symbol": symbol,
                    "line": {"width": 2, "color": SPLIT_COLOURS[split]},
                },
                customdata=plain(part[name]),
                hovertemplate=f"%{{customdata}}, {split} {when}: %{{x:.4g}}<extra></extra>",
            )
    figure.update_yaxes(
        tickvals=list(range(len(items))), ticktext=plain(shorten(pd.Series(items))), title=name.capitalize(),
        range=[len(items) - 0.4, -0.6], zeroline=False,
    )  # fmt: skip
    figure.update_xaxes(title=f"{unit} (open: before, full: after)")
    return styled(figure, height=max(240, 110 + 38 * len(items)))
