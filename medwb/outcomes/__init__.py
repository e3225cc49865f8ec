"""Outcomes: where a run is right and wrong, scan by scan.

A label of a scan is called where its score is at least the label's threshold. Against a known truth that is a true or
false positive or negative; where the truth is unknown it is none of these, and counts nowhere.
"""

from medwb.outcomes.answers import (
    KINDS,
    ORDERS,
    UNKNOWN,
    Confusion,
    Outcomes,
    confusion,
    gallery,
    outcome_table,
    outcomes_of,
    scan_table,
    share_interval,
)
from medwb.outcomes.by_hand import keep_threshold
from medwb.outcomes.causes import errors_by_group, errors_by_property, scan_properties
from medwb.outcomes.scans import disagreements, flip_counts, hardest_scans, suspects
from medwb.outcomes.sets import OTHERS, SetMatrix, missed_while_answering, set_matrix

__all__ = [
    "KINDS", "ORDERS", "OTHERS", "UNKNOWN", "Confusion", "Outcomes", "SetMatrix", "confusion", "disagreements",
    "errors_by_group", "errors_by_property", "flip_counts", "gallery", "hardest_scans", "keep_threshold",
    "missed_while_answering", "outcome_table", "outcomes_of", "scan_properties", "scan_table", "set_matrix",
    "share_interval", "suspects",
]  # fmt: skip
