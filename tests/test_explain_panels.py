"""The panels of saliency maps and of the embedding map show what is kept, ask for the rest, and stop when told."""

import time

import numpy as np
import pytest
import streamlit as st
from conftest import finish_run
from streamlit.testing.v1 import AppTest
from test_dashboard import DASHBOARD
from test_embedding import made as made_features
from test_saliency import made as made_maps

from medwb import embedding, saliency
from medwb.embedding import features_path, save_features
from medwb.errors import RequestError
from medwb.runs import open_run
from medwb.saliency import hardest, save_saliency

pytestmark = pytest.mark.slow

PAGE = """
import controls
import errors_map, errors_saliency
from medwb.runs import open_run
controls.dataset_picker()
data = controls.current_dataset()
run = open_run({run!r})
{call}
"""
SALIENCY = "errors_saliency.saliency_panel(data, run, 'val', {sample!r}, 'mass')"
MAP = "errors_map.map_panel(data, run, 'val', 'mass', 0.4)"


@pytest.fixture
def run(tiny, monkeypatch):
    monkeypatch.syspath_prepend(str(DASHBOARD))
    st.cache_data.clear()
    st.cache_resource.clear()
    run = finish_run(tiny, 0.3)
    (run.path / "model.weights.h5").write_bytes(b"weights")
    return open_run(run.id)


def shown(run, call: str) -> AppTest:
    app = AppTest.from_string(PAGE.format(run=run.id, call=call), default_timeout=60).run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def keys(app: AppTest) -> list[str]:
    return [button.key for button in app.button]


def finish(app: AppTest, until) -> AppTest:
    for _ in range(50):
        app.run()
        assert not app.exception, app.exception[0].stack_trace
        if until(app):
            return app
        time.sleep(0.1)
    raise AssertionError(captions(app))


def test_maps_that_are_kept_are_shown_at_once(run):
    ids = hardest(run, "val", "mass", 4)
    save_saliency(run, made_maps("integrated-gradients", "mass", ids))
    app = shown(run, SALIENCY.format(sample=None))
    assert not app.error
    assert "explain" not in keys(app)
    assert "Integrated gradients" in captions(app)
    assert "has no convolution" in captions(app)


def test_maps_that_are_missing_are_asked_for_and_come(run, monkeypatch):
    def work(run, request, progress):
        for task in request["maps"]:
            progress(1, 2)
            save_saliency(run, made_maps(task["method"], task["label"], task["ids"]))

    monkeypatch.setattr(saliency, "ask_child", work)
    app = shown(run, SALIENCY.format(sample="0003.png"))
    app.button(key="explain").click().run()
    app = finish(app, lambda app: "explain" not in keys(app) and "on one scan" in captions(app))
    assert not app.error


def test_stopping_ends_the_work_and_leaves_the_button(run, monkeypatch):
    ended = []

    def work(run, request, progress):
        try:
            while True:
                progress(1, 100)
                time.sleep(0.02)
        finally:
            ended.append(True)

    monkeypatch.setattr(saliency, "ask_child", work)
    app = shown(run, SALIENCY.format(sample="0003.png"))
    app.button(key="explain").click().run()
    app.button(key="stop-saliency-job").click().run()
    finish(app, lambda app: "explain" in keys(app))
    assert ended


@pytest.mark.slow
def test_what_went_wrong_is_said(run, monkeypatch):
    def work(run, request, progress):
        raise RequestError("model.weights.h5 is damaged")

    monkeypatch.setattr(saliency, "ask_child", work)
    app = shown(run, SALIENCY.format(sample="0003.png"))
    app.button(key="explain").click().run()
    finish(app, lambda app: any("is damaged" in error.value for error in app.error))


@pytest.mark.parametrize("call", [SALIENCY.format(sample=None), MAP])
def test_a_baseline_has_neither(run, tiny, call):
    app = shown(finish_run(tiny, architecture="k-nn"), call)
    assert "is a baseline" in app.info[0].value
    assert not app.error


def test_the_map_is_drawn_from_what_is_kept_in_every_colour(run, tiny):
    for split in tiny.splits:
        save_features(run, made_features(tiny, split), "mass")
    app = shown(run, MAP)
    assert not app.error
    assert "Circle points" in app.info[0].value
    for colour, text in (("truth", "positive ("), ("score", "Viridis"), ("split", "test ("), ("outcome", "true pos")):
        app.segmented_control(key="map-colour").set_value(colour).run()
        assert not app.exception, app.exception[0].stack_trace
        spec = app.get("plotly_chart")[0].proto.spec
        assert text in spec or (colour == "score" and '"cmax":1' in spec), colour


@pytest.mark.slow
def test_features_that_are_missing_are_asked_for_and_come(run, tiny, monkeypatch):
    def work(run, request, progress):
        for task in request["features"]:
            save_features(run, made_features(tiny, task["split"]), task["label"])

    monkeypatch.setattr(embedding, "ask_child", work)
    app = shown(run, MAP)
    app.button(key="map").click().run()
    finish(app, lambda app: "map" not in keys(app) and app.info)
    assert features_path(run, "val", "mass").is_file()


def test_selected_points_open_their_scans(run, tiny, monkeypatch):
    save_features(run, made_features(tiny, "val"), "mass")
    ids = tiny.split("val").samples["id"].tolist()[:3]
    wrapped = [{"customdata": [ids[0]]}, {"customdata": ids[1]}, {"customdata": {"0": ids[2]}}, {}]
    monkeypatch.setattr(st, "plotly_chart", lambda *a, **k: {"selection": {"points": wrapped}})
    app = shown(run, MAP)
    assert any("3 scans" in markdown.value for markdown in app.markdown)
    assert np.all([key != "map" for key in keys(app)])
