"""One function a figure: data in, plotly Figure out.

A split and a label have the same colour in every figure. The colours are told apart by colour-blind readers:
Okabe and Ito's for splits, Paul Tol's "bright" and "light" schemes for labels and his "vibrant" one for runs. Text
from a dataset is escaped, because plotly reads a subset of HTML. A figure without data says so instead of showing
empty axes.
"""

from medwb.plots.audit import (
    before_after,
    ceiling_bars,
    leak_matrix,
    prevalence_dots,
    radius_curves,
    shortcut_dots,
    vote_bars,
)
from medwb.plots.audit_tables import (
    candidate_table,
    ceiling_table,
    chance_agreement,
    check_table,
    contradiction_table,
    radius_table,
    set_members,
    set_table,
    suspect_table,
)
from medwb.plots.augment import BEFORE_AFTER, kept_histogram, preservation_lines, taken_bars
from medwb.plots.images import intensity_histograms
from medwb.plots.labels import (
    cooccurrence,
    cooccurrence_counts,
    label_counts,
    label_prevalence,
    label_set_counts,
    label_sets,
)
from medwb.plots.runs import row_names, score_bars, score_title, training_curves
from medwb.plots.studies import VERDICT_COLOURS, search_trials, study_intervals
from medwb.plots.style import (
    LABEL_PALETTE,
    NEUTRAL,
    REFERENCE,
    RUN_PALETTE,
    SEQUENTIAL,
    SPLIT_COLOURS,
    empty_figure,
    label_colours,
)

__all__ = [
    "BEFORE_AFTER",
    "LABEL_PALETTE",
    "NEUTRAL",
    "REFERENCE",
    "RUN_PALETTE",
    "SEQUENTIAL",
    "SPLIT_COLOURS",
    "VERDICT_COLOURS",
    "before_after",
    "candidate_table",
    "ceiling_bars",
    "ceiling_table",
    "chance_agreement",
    "check_table",
    "contradiction_table",
    "cooccurrence",
    "cooccurrence_counts",
    "empty_figure",
    "intensity_histograms",
    "kept_histogram",
    "label_colours",
    "label_counts",
    "label_prevalence",
    "label_set_counts",
    "label_sets",
    "leak_matrix",
    "preservation_lines",
    "prevalence_dots",
    "radius_curves",
    "radius_table",
    "row_names",
    "score_bars",
    "score_title",
    "search_trials",
    "set_members",
    "set_table",
    "shortcut_dots",
    "study_intervals",
    "suspect_table",
    "taken_bars",
    "training_curves",
    "vote_bars",
]
