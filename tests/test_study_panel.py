import re
from pathlib import Path

import pytest
import streamlit as st
from conftest import finish_run
from streamlit.testing.v1 import AppTest

from medwb.dataset import Dataset
from medwb.runs import list_runs
from medwb.studies import STUDIES, study_grid

pytestmark = pytest.mark.slow  # draws pages

DASHBOARD = Path(__file__).parent.parent / "dashboard"

SCRIPT = """
import controls
import study_panel

study_panel.panel(controls.current_dataset())
"""


@pytest.fixture(autouse=True)
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's folder on the path, as `streamlit run` puts it there, with empty caches and no worker."""
    monkeypatch.syspath_prepend(str(DASHBOARD))
    monkeypatch.setattr("medwb.launch.start_worker", lambda: None)
    monkeypatch.setattr("medwb.launch.look_after", lambda: None)
    st.cache_data.clear()
    st.cache_resource.clear()


def open_panel(**query: str) -> AppTest:
    app = AppTest.from_string(SCRIPT, default_timeout=60)
    for key, value in query.items():
        app.query_params[key.replace("_", "-")] = value
    app.run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def text(app: AppTest) -> str:
    kinds = ("markdown", "caption", "error", "warning", "info", "success")
    written = "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))
    return re.sub(r"\\(.)", r"\1", written)


def finish(data: Dataset, noises: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    grid = study_grid("epochs", data, "fcnn-1", {}, seeds)
    for variant, configs in zip(grid.variants, grid.configs, strict=True):
        for config in configs:
            if variant.title in noises:
                finish_run(data, noises[variant.title], seed=config.seed, epochs=config.epochs)


@pytest.mark.parametrize("name", STUDIES.names())
def test_every_study_is_shown_or_says_why_not(name, tiny):
    app = open_panel(study=name, study_architecture="usual" if name == "depth" else "fcnn-1")
    assert app.selectbox(key="study").value == name
    assert STUDIES.get(name).summary in text(app)
    assert STUDIES.get(name).finding in text(app)
    if name == "cleaning":
        assert "has not been audited yet" in text(app)
    else:
        assert not app.error
        assert "Nothing of this study has been trained yet." in text(app)
    assert list_runs() == []


def test_start_queues_what_is_missing_and_shows_the_arms(tiny):
    app = open_panel(study="epochs", study_architecture="fcnn-1")
    assert "3 variants, 9 runs: 9 runs to train." in text(app)
    app.text_input(key="study-seeds").set_value("0,4").run()
    app.button(key="study-start").click().run()
    assert not app.exception
    assert len(list_runs()) == 6
    assert {(run.config.architecture, run.config.seed) for run in list_runs()} == {("fcnn-1", 0), ("fcnn-1", 4)}
    arms = app.dataframe[0].value
    assert arms.columns.tolist() == ["Variant", "Seed 0", "Seed 4"]
    assert set(arms["Seed 4"]) == {"queued"}
    assert app.button(key="study-start").disabled
    app.button(key="study-stop").click().run()
    assert {run.state for run in list_runs()} == {"stopped"}
    assert "6 to go on with" in text(app)
    app.button(key="study-start").click().run()
    assert [run.state for run in list_runs()] == ["queued"] * 6


def test_a_finished_study_shows_sentence_chart_table_and_csv(tiny):
    finish(tiny, {"10 epochs": 0.1, "5 epochs": 2.0, "15 epochs": 0.1})
    app = open_panel(study="epochs", study_architecture="fcnn-1")
    assert not app.error
    assert "10 epochs beat 5 epochs by 0." in text(app)
    assert "The reference study found 10 epochs best" in text(app)
    assert "all are there" in text(app)
    table = app.dataframe[0].value
    assert table["Verdict"].tolist() == ["reference", "worse", "tie"]
    assert table["Runs"].tolist() == [3, 3, 3]
    assert len(app.get("plotly_chart")) == 1
    assert len(app.get("download_button")) == 1


def test_a_study_under_way_shows_both_progress_and_what_is_known(tiny):
    finish(tiny, {"10 epochs": 0.1, "5 epochs": 2.0})
    app = open_panel(study="epochs", study_architecture="fcnn-1")
    assert "15 epochs could not be compared. Preliminary: 6 of 9 runs are finished." in text(app)
    assert app.dataframe[0].value["Seed 0"].tolist() == ["finished", "finished", "not started"]


def test_shared_settings_are_inputs_and_what_the_study_varies_is_refused(tiny):
    app = open_panel(study="epochs", study_architecture="fcnn-1")
    app.multiselect(key="study-settings").set_value(["batch_size", "image_size"]).run()
    app.number_input(key="study-batch_size").set_value(64).run()
    app.button(key="study-start").click().run()
    assert not app.exception
    assert {(run.config.batch_size, run.config.image_size) for run in list_runs()} == {(64, None)}
    app.multiselect(key="study-settings").set_value(["epochs"]).run()
    assert "epochs is what the study 'epochs' varies" in text(app)
    app.multiselect(key="study-settings").set_value([]).run()
    app.text_input(key="study-seeds").set_value("0,x").run()
    assert "are not whole numbers" in text(app)


@pytest.mark.parametrize(
    "name", ["batch_size", "cleaning", "augmentation", "scale", "optimizer", "weights", "recipe"]
)
def test_every_kind_of_setting_has_an_input(name, tiny):
    app = open_panel(study="epochs", study_architecture="fcnn-1")
    app.multiselect(key="study-settings").set_value([name]).run()
    assert not app.exception
    assert not app.error
