"""Cleaning: a list of samples that leave and labels that change, each with its reason, made by named policies.

Nothing is deleted: the dataset stays as it is, and a run names the cleaning that it learns under.
"""

from medwb.audit.cleaning.changes import CLEANING_COLUMNS, Cleaning
from medwb.audit.cleaning.make import make_cleaning, read_policies
from medwb.audit.cleaning.policy import POLICIES, Policy, policy
from medwb.audit.cleaning.preview import preview_cleaning
from medwb.audit.cleaning.store import cleaning_names, open_cleaning, remove_cleaning, save_cleaning

__all__ = [
    "CLEANING_COLUMNS",
    "POLICIES",
    "Cleaning",
    "Policy",
    "cleaning_names",
    "make_cleaning",
    "open_cleaning",
    "policy",
    "preview_cleaning",
    "read_policies",
    "remove_cleaning",
    "save_cleaning",
]
