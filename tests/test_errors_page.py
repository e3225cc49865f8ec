"""The page of errors: every tab with real answers, the threshold in the address, what is kept, empty states."""

import json

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from conftest import finish_run
from streamlit.testing.v1 import AppTest
from test_dashboard import DASHBOARD, markdown

from medwb.dataset import open_dataset
from medwb.looks import list_looks
from medwb.outcomes import KINDS, confusion, outcomes_of
from medwb.thresholds import open_thresholds

pytestmark = pytest.mark.slow

PAGE = "app_pages/06_errors.py"
TABS = ["Threshold", "Label sets", "Hardest scans", "Two runs", "Where errors gather", "Suspected labels"]


@pytest.fixture(autouse=True)
def served(home, monkeypatch):
    monkeypatch.syspath_prepend(str(DASHBOARD))
    st.cache_data.clear()
    st.cache_resource.clear()


def shown(**query: str) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key.replace("_", "-")] = value
    app.run()
    app.switch_page(PAGE).run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def galleries(app: AppTest) -> dict:
    """What the browser is told to draw."""
    return json.loads(app.get("bidi_component")[0].proto.json)


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_with_two_runs(tiny, tab):
    for seed in range(2):
        finish_run(tiny, 0.6, seed=seed)
    app = shown(errors=tab)
    assert not app.error
    if tab == "Suspected labels":
        assert "has not been audited" in app.info[0].value
    elif tab != "Where errors gather":
        assert galleries(app)["groups"][0]["cells"]


def test_the_threshold_moves_counts_and_galleries(tiny):
    run = finish_run(tiny, 0.6)
    app = shown(errors_label="mass", threshold="0.4")
    found = outcomes_of(run, tiny)
    for value in (0.4, 0.8):
        if value != 0.4:
            app.number_input(key="threshold").set_value(value).run()
            assert not app.exception, app.exception[0].stack_trace
        counted = confusion(found, "mass", value)
        drawn = galleries(app)
        assert drawn["slider"]["threshold"] == value
        assert [group["count"] for group in drawn["groups"]] == [
            f"{counted.ranges[kind].value:.0f}" for kind in KINDS
        ]
        scores = app.dataframe[0].value.set_index("Score")
        assert scores.loc["Recall", "Value"] == pytest.approx(counted.scores["recall"].value)
    app.selectbox(key="errors-label").select("edema").run()
    assert app.number_input(key="threshold").value is None
    assert galleries(app)["slider"]["threshold"] == found.threshold("edema")


def test_a_threshold_is_kept_and_dropped(tiny):
    run = finish_run(tiny, 0.6)
    app = shown(errors_label="mass", threshold="0.4")
    app.button(key="errors-keep").click().run()
    assert not app.exception, app.exception[0].stack_trace
    assert open_thresholds(run).by_label["mass"] == 0.4
    assert galleries(app)["slider"]["own"] == 0.4
    assert app.number_input(key="threshold").value is None
    app.button(key="errors-best").click().run()
    assert open_thresholds(run) is None


def test_the_test_split_is_counted_and_chooses_nothing(tiny):
    run = finish_run(tiny, 0.6)
    app = shown(errors_split="test", threshold="0.4")
    assert "recorded" in app.warning[0].value
    assert app.button(key="errors-keep").disabled
    assert [look["what"] for look in list_looks(run)] == ["errors"]


def test_a_scans_card_tells_what_is_known(tiny):
    finish_run(tiny, 0.6)
    name = tiny.split("val").samples["id"].iloc[3]
    app = shown(scan=name)
    tables = [table.value for table in app.dataframe]
    facts = next(table for table in tables if "Field" in table)
    assert facts.set_index("Field").loc["id", "Value"] == name
    answers = next(table for table in tables if "Truth" in table)
    assert answers["Label"].tolist() == list(tiny.label_names)
    assert "There is no scan" in shown(scan="nobody.png").warning[0].value


def test_unknown_truth_is_shown_as_unknown(home):
    from conftest import write_dataset

    data = write_dataset()
    path = data.path / "samples.parquet"
    samples = pd.read_parquet(path)
    samples.loc[samples["split"] == "val", "mass"] = np.nan
    samples.to_parquet(path, index=False)
    finish_run(open_dataset("tiny"), 0.6)
    app = shown(errors_label="mass", scan=data.split("val").samples["id"].iloc[0])
    assert [group["count"] for group in galleries(app)["groups"]] == ["0"] * 4
    assert "48 scans of unknown truth count nowhere" in markdown(app)
    answers = next(table.value for table in app.dataframe if "Truth" in table.value)
    assert answers.set_index("Label").loc["mass", ["Truth", "Outcome"]].tolist() == ["unknown", "unknown"]


def test_a_damaged_run_is_refused_in_words(tiny):
    run = finish_run(tiny)
    (run.path / "predictions.npz").write_bytes(b"PK\x03\x04 half a file")
    app = shown()
    assert "damaged" in app.error[0].value


def test_without_a_run_the_way_leads_to_train(tiny):
    app = shown()
    assert "Train one first" in app.info[0].value


def test_ids_of_a_dataset_are_data_and_no_markup(tiny):
    import errors_pictures

    samples = tiny.samples.copy()
    samples.loc[0, "id"] = "<img src=x onerror=alert(1)>"
    data = type(tiny)(**{**vars(tiny), "samples": samples})
    shelf = errors_pictures.Shelf("t", "1", "", "#000", np.array([0]), ["score"])
    drawn = errors_pictures.frame(data, [shelf])
    assert drawn["groups"][0]["cells"][0]["id"] == samples.loc[0, "id"]
    script = (DASHBOARD / "errors.js").read_text()
    assert "innerHTML" not in script
    assert "textContent" in script
