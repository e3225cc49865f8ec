"""Submissions: what is handed in, checked against the sample it must fit, kept, and compared with earlier ones."""

from medwb.submission.desk import (
    CHECKS,
    CheckResult,
    Draft,
    Submission,
    check_out,
    draft_submission,
    finish_submission,
    write_submission,
)
from medwb.submission.expected import EXPECTED_TITLES, Expected, expected_score
from medwb.submission.kept import Changes, KeptSubmission, changes, list_submissions, open_submission, submissions_dir

__all__ = [
    "CHECKS",
    "EXPECTED_TITLES",
    "Changes",
    "CheckResult",
    "Draft",
    "Expected",
    "KeptSubmission",
    "Submission",
    "changes",
    "check_out",
    "draft_submission",
    "expected_score",
    "finish_submission",
    "list_submissions",
    "open_submission",
    "submissions_dir",
    "write_submission",
]
