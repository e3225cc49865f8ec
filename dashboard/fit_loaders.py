"""What is fitted on a run's validation answers, cached as everything in `loaders`: by names and fingerprints."""

import pandas as pd
import streamlit as st
from loaders import AnswersKey, answered, or_message

from medwb.calibration import Calibration, cross_calibrated, cross_fit_calibration, reliability
from medwb.operating import OperatingCurve, operating_curve
from medwb.thresholds import Thresholds, cross_fit_thresholds


@st.cache_resource(max_entries=32, show_spinner="Tuning and cross-fitting …")
def thresholds(key: AnswersKey, rule: str, target: float | None, otherwise: str | None) -> Thresholds | str:
    """Thresholds of a run by a rule, or why there are none."""
    return or_message(lambda: cross_fit_thresholds(answered(key), rule, target, otherwise))


@st.cache_resource(max_entries=8, show_spinner=False)
def operating_curves(key: AnswersKey) -> dict[str, OperatingCurve]:
    """The operating points of each label on validation. Raises RequestError."""
    found = answered(key)
    columns = zip(found.label_names, found.y_true.T, found.y_score.T, strict=True)
    return {name: operating_curve(truth, score) for name, truth, score in columns}


@st.cache_resource(max_entries=16, show_spinner="Calibrating and cross-fitting …")
def calibration(key: AnswersKey, method: str) -> Calibration | str:
    """A calibration of a run, or why there is none."""
    return or_message(lambda: cross_fit_calibration(answered(key), method))


@st.cache_resource(max_entries=16, show_spinner=False)
def reliabilities(key: AnswersKey, method: str | None) -> dict[str, pd.DataFrame]:
    """`reliability` of each label, of scores as they are (None) or cross-calibrated. Raises RequestError."""
    found = answered(key)
    scores = found.y_score if method is None else cross_calibrated(found, method)
    columns = zip(found.label_names, found.y_true.T, scores.T, strict=True)
    return {name: reliability(truth, score, found.units) for name, truth, score in columns}
