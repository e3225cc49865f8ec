"""The panels of thresholds and of calibration, in a page of their own, and their figures."""

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from conftest import LABELS, finish_run
from streamlit.testing.v1 import AppTest
from test_calibration import overconfident
from test_dashboard import DASHBOARD

from medwb.calibration import CALIBRATIONS, open_calibration, reliability
from medwb.operating import operating_curve
from medwb.plots.calibration import reliability_diagram
from medwb.plots.thresholds import optimism_dots, threshold_curves
from medwb.threshold_rules import THRESHOLD_RULES
from medwb.thresholds import cross_fit_thresholds, open_thresholds

pytestmark = pytest.mark.slow

METHODS = CALIBRATIONS.names()
PAGE = """
import compare_{name}
import controls
from medwb.runs import finished_runs

controls.dataset_picker()
data = controls.current_dataset()
compare_{name}.panel(data, finished_runs(data)[0])
"""


@pytest.fixture
def run(tiny, monkeypatch):
    monkeypatch.syspath_prepend(str(DASHBOARD))
    st.cache_data.clear()
    st.cache_resource.clear()
    return finish_run(tiny, 0.8)


def shown(name: str) -> AppTest:
    app = AppTest.from_string(PAGE.format(name=name), default_timeout=60).run()
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error
    return app


def in_use(app: AppTest) -> str:
    return next(caption.value for caption in app.caption if caption.value.startswith("In use"))


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def test_thresholds_are_shown_kept_and_dropped(run):
    app = shown("thresholds")
    assert app.metric[2].label == "Optimism"
    assert app.dataframe[0].value["Label"].tolist() == list(LABELS)
    assert in_use(app) == "In use\\: best F1 on validation\\."
    app.selectbox(key="rule").select("sensitivity").run()
    app.slider(key="target-sensitivity").set_value(0.75).run()
    assert not app.exception
    press(app, "keep-thresholds")
    saved = open_thresholds(run)
    assert (saved.rule, saved.target) == ("sensitivity", 0.75)
    assert "as saved" in in_use(app)
    press(app, "drop-thresholds")
    assert open_thresholds(run) is None


@pytest.mark.slow
@pytest.mark.parametrize("rule", THRESHOLD_RULES.names())
def test_every_rule_is_shown(run, rule):
    app = shown("thresholds")
    app.selectbox(key="rule").select(rule).run()
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error


@pytest.mark.slow
def test_precision_that_is_not_reached_is_said_and_can_be_filled(run):
    app = shown("thresholds")
    app.selectbox(key="rule").select("precision").run()
    app.slider(key="target-precision").set_value(1.0).run()
    if not app.toggle:  # the best scored sample of each label is a positive
        pytest.skip("precision 1 is reached")
    press(app, "keep-thresholds")
    assert "gives no threshold for" in app.error[0].value
    app.toggle(key="otherwise").set_value(True).run()
    press(app, "keep-thresholds")
    assert open_thresholds(run).otherwise == "best-f1"


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] if number else []) for number, name in enumerate(METHODS)]
)
def test_calibrations_are_shown_kept_and_dropped(run, method):
    app = shown("calibration")
    app.selectbox(key="calibration").select(method).run()
    press(app, "keep-calibration")
    assert open_calibration(run).method == method
    assert in_use(app) == f"In use\\: {CALIBRATIONS.get(method).title}\\."
    press(app, "drop-calibration")
    assert open_calibration(run) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thresholds", "calibration"])
def test_a_damaged_run_is_refused_in_words(run, name):
    (run.path / "predictions.npz").write_bytes(b"PK")
    app = AppTest.from_string(PAGE.format(name=name), default_timeout=60).run()
    assert not app.exception
    assert "is damaged" in app.error[0].value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thresholds", "calibration"])
def test_a_damaged_record_is_refused_in_words(run, name):
    (run.path / f"{name}.json").write_text("{}")
    app = AppTest.from_string(PAGE.format(name=name), default_timeout=60).run()
    assert not app.exception
    assert "changed by hand" in app.error[0].value


def test_figures_hold_what_they_are_given():
    data = overconfident(300)
    curve = operating_curve(data.y_true[:, 0], data.y_score[:, 0])
    lines = threshold_curves(curve, 0.4, name="<b>a</b>")
    assert len(lines.data) == 4
    assert "<b>" not in lines.data[0].hovertemplate
    assert lines.layout.shapes[0].x0 == 0.4
    assert not threshold_curves(curve, float("nan")).layout.shapes
    found = cross_fit_thresholds(data, deals=1, draws=20)
    dots = optimism_dots(found)
    assert dots.data[0].y == ("Mean", "b", "a")
    assert np.allclose(dots.data[1].x, [found.score("tuned", label=label).value for label in ("", "b", "a")])
    bins = reliability(data.y_true[:, 0], data.y_score[:, 0])
    drawn = reliability_diagram(bins, bins)
    assert len(drawn.data) == 5
    assert list(drawn.data[1].x) == bins["score"].tolist()


def test_figures_without_data_say_so():
    nothing = operating_curve([float("nan")], [0.5])
    empty = [threshold_curves(nothing), reliability_diagram(reliability([], []))]
    data = overconfident(30)
    found = cross_fit_thresholds(data, deals=1, draws=5)
    empty.append(optimism_dots(found, "nothing"))
    assert all(len(figure.layout.annotations) == 1 and not figure.data for figure in empty)
    assert isinstance(found.scores, pd.DataFrame)
