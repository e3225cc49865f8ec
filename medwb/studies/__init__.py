"""Studies: grids of runs that each answer one question, with paired intervals on the same validation samples.

A study is one decorated function in a module of this package, from a dataset to a `Plan`; the first variant of the
plan is the one that the others are compared with. `search` looks for good settings instead.
"""

from medwb.studies.start import (
    StudyGrid,
    StudyRuns,
    find_runs,
    plan_grid,
    start_runs,
    start_study,
    study_grid,
)
from medwb.studies.study import SPLIT, STUDIES, Plan, Study, Variant, study
from medwb.studies.table import StudyTable, study_table

__all__ = [
    "SPLIT",
    "STUDIES",
    "Plan",
    "Study",
    "StudyGrid",
    "StudyRuns",
    "StudyTable",
    "Variant",
    "find_runs",
    "plan_grid",
    "start_runs",
    "start_study",
    "study",
    "study_grid",
    "study_table",
]
