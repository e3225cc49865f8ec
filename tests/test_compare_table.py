import pytest
from conftest import finish_run

pytest.importorskip("streamlit")

from streamlit.testing.v1 import AppTest

pytestmark = pytest.mark.slow


def script():
    import sys
    from pathlib import Path

    import medwb

    sys.path.insert(0, str(Path(medwb.__file__).parent.parent / "dashboard"))
    import compare_table

    from medwb.dataset import open_dataset
    from medwb.table import f1_table

    data = open_dataset("tiny")
    compare_table.panel(data, f1_table(data, draws=100))


@pytest.fixture
def app(tiny, finished):
    page = AppTest.from_function(script, default_timeout=30).run()
    assert not page.exception
    return page


def test_the_panel_shows_the_table(app):
    shown = app.dataframe[0].value
    assert shown["Architecture"].tolist() == ["RNN-1", "FCNN-1", "k-NN"]
    assert shown["Macro F1"][0].startswith("0.9")
    assert shown["Reference F1"][0] == 0.89
    assert {button.label for button in app.get("download_button")} == {"CSV", "Markdown", "LaTeX", "JSON", "HTML"}
    assert app.get("plotly_chart")


def test_columns_are_chosen(app):
    app.multiselect[0].set_value(["mcc", "roc_auc:edema", "flops", "runs"]).run()
    assert not app.exception
    assert list(app.dataframe[0].value) == ["Architecture", "Settings", "Runs", "MCC", "ROC AUC edema", "FLOPs"]


@pytest.mark.parametrize("columns", [[], ["flops"], ["runs"]])
def test_without_a_score_there_is_no_chart_but_a_table(app, columns):
    app.multiselect[0].set_value(columns).run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 3


def test_the_ceiling_is_a_row(tiny):
    from test_table import VAL, copies

    data = copies(tiny, VAL, [1, 0, 0, 1, 0])
    finish_run(data, 0.2)
    page = AppTest.from_function(script, default_timeout=30).run()
    assert not page.exception
    last = page.dataframe[0].value.iloc[-1]
    assert last["Architecture"] == "Ceiling"
    assert 0 < float(last["Macro F1"]) < 1
    assert any("Ceiling" in caption.value for caption in page.caption)
    assert any("identical images whose labels contradict" in note.value for note in page.warning)
