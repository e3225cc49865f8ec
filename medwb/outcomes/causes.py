"""Where errors gather: by a property of the image, and by group (patient)."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset
from medwb.errors import RequestError, unknown_name
from medwb.gallery import image_blocks
from medwb.outcomes.answers import Outcomes, share_interval

Errors = Literal["all", "missed", "false"]
ERRORS: dict[Errors, str] = {
    "all": "Wrong, of all known",
    "missed": "Missed, of the positives",
    "false": "Called falsely, of the negatives",
}

BINS = 6
"""Quantile bins of a property."""

_NOT_PROPERTIES = ("id", "minimum", "maximum", "constant")


def scan_properties(dataset: Dataset, outcomes: Outcomes, frames: pd.DataFrame | None = None) -> pd.DataFrame:
    """Properties of the images that were answered, a row a sample and a float64 column a property.

    Args:
        dataset: Of the outcomes.
        outcomes: A run's answers, N samples.
        frames: What an audit measured of the dataset, a row a sample in its order with `id`
            (`medwb.audit.Audit.frames`); None measures `mean` and `contrast` (0..255) here.

    Returns:
        N rows; `height` and `width` are as found, before resizing, in pixels. Properties that are the same for all
        samples are left out.
    """
    samples = dataset.samples.iloc[outcomes.positions]
    if frames is None:
        table = _measured(dataset, outcomes)
    else:
        if len(frames) != len(dataset):
            raise RequestError(f"the audit of {dataset.name!r} is of another number of samples; audit it again")
        numeric = frames.drop(columns=list(_NOT_PROPERTIES), errors="ignore").select_dtypes("number")
        table = numeric.iloc[outcomes.positions].reset_index(drop=True).astype(np.float64)
    for name in ("height", "width"):
        table[name] = samples[name].to_numpy(np.float64)
    table["labels"] = np.nansum(outcomes.y_true, axis=1)
    return table.loc[:, [name for name in table if table[name].nunique() > 1]]


def errors_by_property(
    outcomes: Outcomes,
    values: npt.ArrayLike,
    label: str | None = None,
    kind: Errors = "all",
    *,
    thresholds: npt.ArrayLike | None = None,
    bins: int = BINS,
) -> pd.DataFrame:
    """Share of wrong calls in quantile bins of a property, with 95 % intervals over units (`share_interval`).

    Args:
        outcomes: A run's answers.
        values: (N,): the property; NaN leaves a sample out.
        label: One label, or None for the calls of all labels together.
        kind: Which calls: "all" known ones, the positives ("missed"), or the negatives ("false").
        thresholds: (L,); None takes the run's own.
        bins: At most so many; equal values are never parted.

    Returns:
        One row a bin with a call, ascending: `low`, `high` (ends of the bin as they occur), `samples`, `calls`,
        `wrong`, `rate`, `rate_low`, `rate_high`.
    """
    base, wrong, units, rows = _calls(outcomes, label, kind, thresholds)
    property_values = np.asarray(values, np.float64)[rows]
    finite = np.isfinite(property_values)
    base, wrong, units, rows = base[finite], wrong[finite], units[finite], rows[finite]
    property_values = property_values[finite]
    if not len(property_values):
        return pd.DataFrame(columns=["low", "high", "samples", "calls", "wrong", "rate", "rate_low", "rate_high"])
    edges = np.unique(np.quantile(property_values, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of = np.searchsorted(edges, property_values, side="right")
    found = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        score = share_interval(wrong & inside, base & inside, units)
        some = property_values[inside]
        calls, bad = int((base & inside).sum()), int((wrong & inside).sum())
        found.append((some.min(), some.max(), len(np.unique(rows[inside])), calls, bad, *score))
    names = ["low", "high", "samples", "calls", "wrong", "rate", "rate_low", "rate_high"]
    return pd.DataFrame(found, columns=names)


def errors_by_group(
    outcomes: Outcomes, label: str | None = None, kind: Errors = "all", *, thresholds: npt.ArrayLike | None = None
) -> pd.DataFrame:
    """Share of wrong calls of each group (patient), those that are wrong most surely first.

    Args:
        outcomes: A run's answers; samples without a group are left out.
        label: One label, or None for the calls of all labels together.
        kind: As for `errors_by_property`.
        thresholds: (L,); None takes the run's own.

    Returns:
        One row a group: `group`, `samples`, `calls`, `wrong`, `rate`, `rate_low`, `rate_high` (95 %: Wilson's, which
        takes the calls of a group for independent). Sorted by `rate_low`.
    """
    base, wrong, _, rows = _calls(outcomes, label, kind, thresholds)
    groups = outcomes.groups[rows]
    member = base & (groups != "")
    names = ["group", "samples", "calls", "wrong", "rate", "rate_low", "rate_high"]
    if not member.any():
        return pd.DataFrame(columns=names)
    codes, unique = pd.factorize(groups[member])
    calls = np.bincount(codes)
    bad = np.bincount(codes, weights=wrong[member]).astype(np.int64)
    samples = pd.Series(rows[member]).groupby(codes).nunique().to_numpy()
    found = []
    for number, name in enumerate(unique):
        every = np.arange(calls[number])
        score = share_interval(every < bad[number], every >= 0, every)
        found.append((name, int(samples[number]), int(calls[number]), int(bad[number]), *score))
    table = pd.DataFrame(found, columns=names)
    return table.sort_values(["rate_low", "wrong"], ascending=False, kind="stable", ignore_index=True)


def _calls(
    outcomes: Outcomes, label: str | None, kind: str, thresholds: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Calls, flat: which count, which of these are wrong, the unit and the row of each."""
    if kind not in ERRORS:
        raise unknown_name("kind of error", kind, ERRORS)
    places = list(range(len(outcomes.label_names))) if label is None else [outcomes.place(label)]
    truth = outcomes.y_true[:, places]
    base = {"all": ~np.isnan(truth), "missed": truth == 1, "false": truth == 0}[kind]
    wrong = outcomes.wrong(thresholds)[:, places] & base
    rows = np.repeat(np.arange(len(outcomes), dtype=np.int64), len(places))
    return base.ravel(), wrong.ravel(), outcomes.units[rows], rows


def _measured(dataset: Dataset, outcomes: Outcomes) -> pd.DataFrame:
    mean, contrast = np.empty(len(outcomes)), np.empty(len(outcomes))
    for part, block in image_blocks(dataset.images, dataset.rows[outcomes.positions]):
        flat = block.reshape(len(block), -1).astype(np.float32)
        mean[part], contrast[part] = flat.mean(axis=1), flat.std(axis=1)
    return pd.DataFrame({"mean": mean, "contrast": contrast})
