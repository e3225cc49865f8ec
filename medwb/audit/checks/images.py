"""Checks of single images: those without content, spoilt ones, and those unlike the others of their dataset."""

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.check import check, issues
from medwb.audit.frames import MARGIN, MIN_FRAMES
from medwb.audit.survey import Survey

NEAR_EMPTY = 0.01
"""Share of pixels off the ground below which a frame is near empty: 41 pixels of 64 x 64, no organ is smaller."""

CLIPPED = 0.15
"""Share of pixels at 0 or 255 below which no frame is called clipped, however unusual: markers are white too."""

INVERTED = 0.5 + MARGIN / 2
"""Of the column `inverted`: the model's doubt must be as large as `MARGIN`."""

OUTLYING = 3.5
"""Of the column `outlyingness`: a normal tail has 2 in 10,000 beyond. It is a rule, not a share: it may flag none."""

FAR_OUT = 3.0
"""Interquartile ranges beyond the quartiles: the "far out" of Tukey, "Exploratory Data Analysis" (1977)."""

USUAL = 0.9
"""Share of samples from which a size is the dataset's own; a mode is odd when no more than the rest have it."""

Flags = npt.NDArray[np.bool_]


@check("constant", title="Constant frames", area="images")
def constant(survey: Survey) -> pd.DataFrame:
    """One value everywhere; black frames are among them."""
    found = _is_constant(survey)
    values = survey.frames.loc[found, ["minimum", "maximum"]].to_numpy()
    return _report(
        survey,
        found,
        [f"{low} everywhere" if low == high else f"one colour everywhere, {low} to {high}" for low, high in values],
    )


@check("black", title="Black frames", area="images")
def black(survey: Survey) -> pd.DataFrame:
    """Zero everywhere."""
    return _report(survey, survey.frames["maximum"].to_numpy() == 0, "0 everywhere")


@check("inverted", title="Inverted frames", area="images")
def inverted(survey: Survey) -> pd.DataFrame:
    """Black and white are exchanged, to judge by the other frames of the dataset."""
    found = _is_inverted(survey)
    likeness = survey.frames["inverted"].to_numpy()[found]
    return _report(
        survey,
        found,
        [f"looks like a negative: {value:.2f} on a scale from 0 to 1" for value in likeness],
        likeness,
    )


@check("clipped", title="Clipped frames", area="images")
def clipped(survey: Survey) -> pd.DataFrame:
    """Unusually many pixels are at an end of the range, 0 or 255, where detail is lost; the ground does not count."""
    content = ~_is_constant(survey)
    judged = content & ~_is_inverted(survey)  # of a negative the ground is white; it is reported as a negative
    shares = survey.frames[["dark", "bright"]].to_numpy(np.float64, copy=True)
    full = np.flatnonzero(judged & (shares[:, 0] > CLIPPED))
    shares[full, 0] = [_enclosed(survey, position) for position in full.tolist()]
    limits = np.array([max(CLIPPED, _fence(side)[1]) for side in shares[content].T])
    excess = shares - limits
    found = judged & (excess > 0).any(axis=1)
    side = excess[found].argmax(axis=1)
    share, limit = shares[found, side], limits[side]
    return _report(
        survey,
        found,
        [
            f"{100 * value:.0f} % of the pixels are {255 * which}; up to {100 * most:.0f} % is usual here"
            for value, which, most in zip(share, side, limit, strict=True)
        ],
        0.5 + 0.5 * (share - limit) / np.maximum(1 - limit, 1e-6),
    )


@check("near_empty", title="Near-empty frames", area="images")
def near_empty(survey: Survey) -> pd.DataFrame:
    """Hardly anything stands out from the ground."""
    filled = survey.frames["filled"].to_numpy()
    found = ~_is_constant(survey) & (filled < NEAR_EMPTY)
    return _report(
        survey,
        found,
        [f"{100 * value:.2g} % of the pixels stand out from the ground" for value in filled[found]],
        1 - 0.5 * filled[found] / NEAR_EMPTY,
    )


@check("out_of_distribution", title="Unlike the rest", area="images")
def out_of_distribution(survey: Survey) -> pd.DataFrame:
    """Much farther from its nearest neighbours than frames of this dataset are."""
    outlying = survey.frames["outlyingness"].to_numpy()
    found = (outlying > OUTLYING) & ~_is_inverted(survey)
    return _report(
        survey,
        found,
        [f"{value:.1f} standard deviations farther from its neighbours than usual" for value in outlying[found]],
        1 - 0.5 * OUTLYING / np.maximum(outlying[found], OUTLYING),
    )


@check("odd_size", title="Odd sizes", area="images")
def odd_size(survey: Survey) -> pd.DataFrame:
    """The source file had a height and width that are unusual in the dataset."""
    height, width = (survey.dataset.samples[side].to_numpy(np.int64) for side in ("height", "width"))
    sizes = pd.Series([f"{high} x {wide}" for high, wide in zip(height, width, strict=True)])
    share = sizes.map(sizes.value_counts(normalize=True)).to_numpy(np.float64)
    if share.max() >= USUAL:
        found = share < share.max()
        usual = f"{100 * share.max():.1f} % are {sizes[share.argmax()]}"
    else:
        high, wide = np.log(np.maximum(height, 1)), np.log(np.maximum(width, 1))
        found = _far_out(high + wide) | _far_out(high - wide)
        usual = f"in the middle are {np.median(height):.0f} x {np.median(width):.0f}"
    return _report(survey, found, [f"{size} pixels; {usual}" for size in sizes[found]], 1 - share[found])


@check("odd_mode", title="Odd channel modes", area="images")
def odd_mode(survey: Survey) -> pd.DataFrame:
    """The source file had another channel mode (grey, colour, alpha, depth) than most of the dataset."""
    modes = survey.dataset.samples["mode"].astype(str).reset_index(drop=True)
    share = modes.map(modes.value_counts(normalize=True)).to_numpy(np.float64)
    found = share <= 1 - USUAL + 1e-9
    usual = f"{100 * share.max():.1f} % are {modes[share.argmax()]}"
    return _report(survey, found, [f"{mode}; {usual}" for mode in modes[found]], 1 - share[found])


def _is_constant(survey: Survey) -> Flags:
    flags: Flags = survey.frames["constant"].to_numpy() == 1
    return flags


def _is_inverted(survey: Survey) -> Flags:
    flags: Flags = survey.frames["inverted"].to_numpy() > INVERTED
    return flags


def _enclosed(survey: Survey, position: int) -> float:
    """Share of a frame's pixels that are black without being joined to its edge, as the ground around a body is.

    The outer sixteenth counts as edge, so that a bright rim around the ground does not enclose it.
    """
    dataset = survey.dataset
    frame = dataset.images[dataset.rows[position]].max(axis=2)
    black = np.ones(frame.shape, np.uint8)
    inside = tuple(slice(max(1, side // 16), -max(1, side // 16)) for side in frame.shape)
    black[inside] = frame[inside] == 0
    cv2.floodFill(black, None, (0, 0), (0,), flags=8)
    return float(black.mean())


def _report(
    survey: Survey, found: Flags, evidence: str | list[str], score: float | npt.ArrayLike = 1.0
) -> pd.DataFrame:
    """An issue for each sample where `found` (N,) is true; evidence and score are of these."""
    return issues(
        survey.dataset.samples["id"].to_numpy(object)[found], score=score, evidence=evidence if found.any() else ""
    )


def _fence(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    """What is usual: the quartiles widened by `FAR_OUT` interquartile ranges. All is usual among a few values."""
    if len(values) < MIN_FRAMES:
        return -np.inf, np.inf
    low, high = np.quantile(values, [0.25, 0.75])
    width = FAR_OUT * (high - low)
    return float(low - width), float(high + width)


def _far_out(values: npt.NDArray[np.floating]) -> Flags:
    low, high = _fence(values)
    return (values < low) | (values > high)
