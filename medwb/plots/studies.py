"""The figures of studies and searches."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medwb.plots.style import NEUTRAL, REFERENCE, RUN_PALETTE, empty_figure, escape, plain, styled

if TYPE_CHECKING:
    from medwb.studies.table import StudyTable

VERDICT_COLOURS = {
    "reference": NEUTRAL,
    "better": "#009988",
    "worse": "#CC3311",
    "tie": "#0077BB",
    "unknown": NEUTRAL,
}
"""The colour of each verdict of a study, told apart by colour-blind readers."""
_ROW_PIXELS = 44


def study_intervals(table: "StudyTable") -> go.Figure:
    """Macro F1 of each variant, and beside it the difference to the first, both with 95 % intervals.

    Args:
        table: The answer of a study; variants without a finished run are left out.
    """
    rows = table.rows[table.rows["runs"] > 0]
    if rows.empty:
        return empty_figure("No run of the study has finished yet.")
    names, first = plain(rows["variant"]), escape(table.rows["variant"].iloc[0])
    titles = ["Macro F1", f"Difference to {first}"]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04, subplot_titles=titles)
    for verdict, colour in VERDICT_COLOURS.items():
        chosen = (rows["verdict"] == verdict).to_numpy()
        if not chosen.any():
            continue
        mine = rows[chosen]
        texts = [name for name, here in zip(names, chosen, strict=True) if here]
        for column, score in enumerate(("macro_f1", "difference"), start=1):
            spec = ".3f" if column == 1 else "+.3f"
            figure.add_scatter(
                x=mine[score],
                y=texts,
                mode="markers",
                name=verdict,
                legendgroup=verdict,
                showlegend=column == 1,
                marker={"color": colour, "size": 10, "symbol": "diamond" if verdict == "reference" else "circle"},
                error_x={
                    "type": "data",
                    "array": mine[f"{score}_high"] - mine[score],
                    "arrayminus": mine[score] - mine[f"{score}_low"],
                    "color": colour,
                    "thickness": 2,
                    "width": 4,
                },
                customdata=mine[[f"{score}_low", f"{score}_high", "runs"]].to_numpy(np.float64),
                hovertemplate=f"%{{y}}: %{{x:{spec}}}<br>95 % interval %{{customdata[0]:{spec}}} to "
                f"%{{customdata[1]:{spec}}}<br>runs: %{{customdata[2]}}<extra>{verdict}</extra>",
                row=1,
                col=column,
            )
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row=1, col=2)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    styled(figure, height=130 + _ROW_PIXELS * len(rows))
    return figure.update_layout(margin_t=60, legend_y=-0.12, legend_yanchor="top")


def search_trials(trials: pd.DataFrame) -> go.Figure:
    """The score of each trial of a search, in order, and the best so far.

    Args:
        trials: `Search.trials`: `number`, `settings`, `state`, `macro_f1`; trials without a score are left out.
    """
    done = trials[trials["macro_f1"].notna()] if len(trials) else trials
    if not len(done):
        return empty_figure("No trial has finished yet.")
    figure = go.Figure()
    figure.add_scatter(
        x=done["number"],
        y=done["macro_f1"],
        mode="markers",
        name="Trial",
        marker={"color": RUN_PALETTE[0], "size": 9},
        customdata=plain(done["settings"]),
        hovertemplate="trial %{x}: %{y:.3f}<br>%{customdata}<extra></extra>",
    )
    figure.add_scatter(
        x=done["number"],
        y=done["macro_f1"].cummax(),
        mode="lines",
        name="Best so far: optimistic, since it is the best of many",
        line={"color": REFERENCE, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    whole = max(1, math.ceil(int(done["number"].max()) / 12))
    figure.update_xaxes(title="Trial", dtick=whole)
    figure.update_yaxes(title="Macro F1 on validation")
    return styled(figure, height=320)
