"""What a cleaning would do, before and after."""

from dataclasses import replace

import numpy as np
import pandas as pd

from medwb.audit.ceiling import split_ceilings
from medwb.audit.cleaning.changes import Cleaning
from medwb.audit.leaks import Leaks, find_leaks
from medwb.audit.results import Audit
from medwb.dataset import Dataset


def preview_cleaning(cleaning: Cleaning, audit: Audit) -> dict[str, pd.DataFrame]:
    """Compare a dataset before and after a cleaning.

    Args:
        cleaning: What would leave and change.
        audit: The audit of the dataset.

    Returns:
        Four tables, each with `before` and `after`:

        samples      one row a split: `before`, `after` (samples), `excluded`, `labels` (that change)
        prevalence   one row a label and split: shares of positives among known labels (0..1, NaN where none is),
                     a share of votes counted as such; `known_before`, `known_after`
        ceiling      one row a split and score (macro F1, and F1 of each label): the best that any function of the
                     image can reach on that split. Labels that are shares of votes do not count in it
        leaks        one row a count: groups and sets in several splits, samples of val and test that these touch

    Raises:
        RequestError: The cleaning was made for other data.
    """
    dataset, keep = audit.dataset, cleaning.keep(audit.dataset)
    cleaned = cleaning.apply(dataset)
    kept_copies, kept_exact = audit.copies.restricted(keep), audit.exact.restricted(keep)
    ceilings = [split_ceilings(dataset, audit.exact), split_ceilings(_decided(cleaned), kept_exact)]
    leaks = [find_leaks(dataset, audit.copies), find_leaks(cleaned, kept_copies)]
    return {
        "samples": _samples(dataset, cleaned, cleaning),
        "prevalence": _prevalence(dataset, cleaned),
        "ceiling": _before_after(["split", "score"], [_flat_ceiling(ceiling) for ceiling in ceilings]),
        "leaks": _before_after(["what", "split"], [_flat_leaks(found) for found in leaks]),
    }


def _decided(dataset: Dataset) -> Dataset:
    """The dataset with labels that are shares of votes made unknown."""
    labels = dataset.samples[list(dataset.label_names)]
    return replace(dataset, samples=dataset.samples.assign(**labels.where((labels == 0) | (labels == 1))))


def _samples(dataset: Dataset, cleaned: Dataset, cleaning: Cleaning) -> pd.DataFrame:
    before, after = (data.samples["split"].value_counts() for data in (dataset, cleaned))
    rows = [
        (split, int(before[split]), int(after.get(split, 0)), cleaning.excluded[split], cleaning.relabelled[split])
        for split in dataset.splits
    ]
    return pd.DataFrame(rows, columns=["split", "before", "after", "excluded", "labels"])


def _prevalence(dataset: Dataset, cleaned: Dataset) -> pd.DataFrame:
    rows = []
    for split in dataset.splits:
        before, after = (
            data.labels[(data.samples["split"] == split).to_numpy()].astype(np.float64) for data in (dataset, cleaned)
        )
        for label, old, new in zip(dataset.label_names, before.T, after.T, strict=True):
            old, new = old[~np.isnan(old)], new[~np.isnan(new)]
            shares = [float(part.mean()) if len(part) else np.nan for part in (old, new)]
            rows.append((label, split, *shares, len(old), len(new)))
    return pd.DataFrame(rows, columns=["label", "split", "before", "after", "known_before", "known_after"])


def _flat_ceiling(ceiling: dict[str, dict[str, object]]) -> dict[tuple[str, str], float]:
    flat: dict[tuple[str, str], float] = {}
    for split, scores in ceiling.items():
        flat[split, "macro F1"] = _number(scores["macro_f1"])
        each = scores["f1"]
        assert isinstance(each, dict)
        flat |= {(split, f"F1 {label}"): _number(value) for label, value in each.items()}
    return flat


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _flat_leaks(leaks: Leaks) -> dict[tuple[str, str], float]:
    summary = leaks.summary()
    flat: dict[tuple[str, str], float] = {
        ("sets of copies", ""): summary["sets"] - summary["constant_sets"],
        ("sets of constant frames", ""): summary["constant_sets"],
        ("groups", ""): summary["groups"],
    }
    for split in ("val", "test"):
        flat["samples touched", split] = summary[split]["touched"]
    return flat


def _before_after(keys: list[str], flat: list[dict[tuple[str, str], float]]) -> pd.DataFrame:
    before, after = flat
    rows = [(*key, before.get(key, np.nan), after.get(key, np.nan)) for key in before | after]
    return pd.DataFrame(rows, columns=[*keys, "before", "after"])
