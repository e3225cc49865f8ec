"""The per-architecture F1 table: recomputed from saved predictions, every score with its interval and its ceiling."""

from medwb.replicates import AGREEING, aligned_predictions
from medwb.table.build import certificate_notes, f1_table, runs_by_setting, what_is_drawn
from medwb.table.columns import (
    FACTS,
    SCORE_TITLES,
    SCORES,
    all_columns,
    better,
    bounds,
    choose_columns,
    column_title,
    score_title,
    sort_column,
)
from medwb.table.score_table import ScoreTable

__all__ = [
    "AGREEING", "FACTS", "SCORES", "SCORE_TITLES", "ScoreTable", "aligned_predictions", "all_columns", "better",
    "bounds", "certificate_notes", "choose_columns", "column_title", "f1_table", "runs_by_setting", "score_title",
    "sort_column", "what_is_drawn",
]  # fmt: skip
