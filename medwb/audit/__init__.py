"""The audit: what is wrong with a dataset, what it costs, and what to do about it.

`run_audit` asks every check and keeps the answers in `audits/<dataset>/`; `open_audit` reads them back. A check is
one decorated function in `checks/`; it sees a `Survey`, in which each measurement is made once.
"""

from medwb.audit.check import AREAS, CHECKS, ISSUE_COLUMNS, Check
from medwb.audit.results import Audit, open_audit, run_audit

__all__ = ["AREAS", "CHECKS", "ISSUE_COLUMNS", "Audit", "Check", "open_audit", "run_audit"]
