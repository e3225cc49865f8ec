"""The ways to calibrate scores, one decorated function each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medwb.registry import Registry

CLIP = 1e-6
"""Scores are kept so far from 0 and 1 before their logit is taken."""

WIDEST = 20.0
"""A temperature lies between 1 / this and this."""

Floats = npt.NDArray[np.float64]
Parameters = dict[str, Any]
Fit = Callable[[Floats, Floats], list[Parameters]]


@dataclass(frozen=True)
class CalibrationMethod:
    """A way to fit calibrated scores.

    Attributes:
        name: Key on the command line and in files.
        title: How a menu writes it.
        summary: One sentence.
        fit: From y_true (N, L) and y_score (N, L) to the parameters of each label; {} leaves its scores as they are.
    """

    name: str
    title: str
    summary: str
    fit: Fit


CALIBRATIONS: Registry[CalibrationMethod] = Registry("calibration method")


def calibration_method(name: str, *, title: str) -> Callable[[Fit], Fit]:
    """Register the decorated function as a method; the first line of its docstring is the summary."""

    def register(fit: Fit) -> Fit:
        summary = (fit.__doc__ or "").strip().splitlines()[0]
        CALIBRATIONS.add(name, CalibrationMethod(name, title, summary, fit))
        return fit

    return register


@calibration_method("temperature", title="One temperature for all labels")
def temperature(y_true: Floats, y_score: Floats) -> list[Parameters]:
    """Divides every logit by one number, fitted by likelihood (Guo et al., ICML 2017)."""
    found = _temperature(y_true.ravel(), y_score.ravel())
    return [dict(found) for _ in range(y_true.shape[1])]


@calibration_method("temperature-per-label", title="A temperature for each label")
def temperature_per_label(y_true: Floats, y_score: Floats) -> list[Parameters]:
    """Divides the logits of each label by a number of its own, fitted by likelihood."""
    return [_temperature(*columns) for columns in zip(y_true.T, y_score.T, strict=True)]


@calibration_method("isotonic", title="Isotonic regression")
def isotonic(y_true: Floats, y_score: Floats) -> list[Parameters]:
    """The rising steps that fit each label best (Zadrozny and Elkan, KDD 2002); wants a few hundred positives."""
    from sklearn.isotonic import IsotonicRegression

    found: list[Parameters] = []
    for truth, score in zip(y_true.T, y_score.T, strict=True):
        known = known_samples(truth)
        if not _both(truth[known]):
            found.append({})
            continue
        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score[known], truth[known])
        found.append({"scores": steps.X_thresholds_.tolist(), "calibrated": steps.y_thresholds_.tolist()})
    return found


def calibrated(parameters: tuple[Parameters, ...], scores: Floats) -> Floats:
    """Scores (N, L) under the parameters of each label."""
    values = scores.copy()
    for label, fitted in enumerate(parameters):
        if "temperature" in fitted:
            values[:, label] = _sigmoid(_logit(scores[:, label]) / fitted["temperature"])
        elif fitted:
            values[:, label] = np.interp(scores[:, label], fitted["scores"], fitted["calibrated"])
    return values


def known_samples(truth: Floats) -> npt.NDArray[np.bool_]:
    """Where truth is 1 or 0, and not unknown."""
    return (truth == 1) | (truth == 0)


def _both(truth: Floats) -> bool:
    return bool((truth == 1).any() and (truth == 0).any())


def _logit(score: Floats) -> Floats:
    clipped = np.clip(score, CLIP, 1 - CLIP)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(logit: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(logit))


def _temperature(y_true: Floats, y_score: Floats) -> Parameters:
    """The temperature of the greatest likelihood; {} where only one answer is known."""
    from scipy.optimize import brentq

    known = known_samples(y_true)
    truth, logit = y_true[known], _logit(y_score[known])
    if not _both(truth):
        return {}

    def slope(log_temperature: float) -> float:
        """Of the mean log loss, by 1 / temperature, in which it is convex: this falls as the temperature rises."""
        return float((_sigmoid(logit / np.exp(log_temperature)) - truth) @ logit) / len(truth)

    widest = float(np.log(WIDEST))
    if slope(-widest) <= 0:
        return {"temperature": 1 / WIDEST}
    if slope(widest) >= 0:
        return {"temperature": WIDEST}
    return {"temperature": float(np.exp(brentq(slope, -widest, widest, xtol=1e-7)))}
