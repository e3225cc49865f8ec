"""The panel of paired comparisons in a page of its own, and its figure."""

import pytest
import streamlit as st
from conftest import answer_with_noise, finish_run
from streamlit.testing.v1 import AppTest
from test_dashboard import DASHBOARD

from medwb.comparison import compare_table
from medwb.dataset import Dataset
from medwb.plots.comparison import tie_chart

pytestmark = pytest.mark.slow

PAGE = """
import compare_pairs
import controls
from medwb.runs import finished_runs

controls.dataset_picker()
data = controls.current_dataset()
compare_pairs.panel(data, finished_runs(data)[0], "val")
"""


@pytest.fixture
def rows(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Two good rows and a poor one."""
    monkeypatch.syspath_prepend(str(DASHBOARD))
    st.cache_data.clear()
    st.cache_resource.clear()
    for name, noise in (("fcnn-1", 0.25), ("fcnn-2", 0.25), ("rnn-1", 1.5)):
        for seed in range(2):
            answer_with_noise(
                finish_run(tiny, architecture=name, seed=seed), tiny, noise, [len(name + name[0]), seed]
            )
    return tiny


def shown() -> AppTest:
    app = AppTest.from_string(PAGE, default_timeout=60).run()
    assert not app.exception, app.exception[0].stack_trace
    assert not app.error
    return app


def test_all_rows_then_two_of_them(rows: Dataset) -> None:
    app = shown()
    assert "cannot be told apart; both beat RNN\\-1 by" in app.success[0].value
    assert len(app.dataframe[0].value) == 3
    assert "6 " not in app.expander[0].label
    app.multiselect(key="compared-rows").set_value(["FCNN-1", "RNN-1"]).run()
    assert not app.exception, app.exception[0].stack_trace
    assert app.success[0].value.startswith("FCNN\\-1 beats RNN\\-1 by")
    assert app.dataframe[0].value["Label"].tolist() == list(rows.label_names)
    app.selectbox(key="compared-by").select("f1:mass").run()
    assert not app.exception, app.exception[0].stack_trace
    assert "F1 mass" in app.success[0].value


def test_one_row_is_nothing_to_compare(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DASHBOARD))
    finish_run(tiny)
    assert shown().info[0].value.startswith("One row is nothing to compare")


def test_the_chart_joins_ties(rows: Dataset) -> None:
    found = compare_table(rows, draws=200, permutations=200)
    figure = tie_chart(found)
    bars = [trace for trace in figure.data if trace.xaxis == "x3"]
    assert [set(bar.y) for bar in bars] == [{"FCNN-1", "FCNN-2"}]
    assert list(figure.layout.yaxis.categoryarray)[::-1] == found.rows["name"].tolist()
    assert {trace.name for trace in figure.data if trace.xaxis == "x"} == {
        "best", "not told apart from the best", "worse than the best",
    }  # fmt: skip
    ahead = {
        name: x for trace in figure.data if trace.xaxis == "x2" for name, x in zip(trace.y, trace.x, strict=True)
    }
    assert ahead["RNN-1"] == found.best["difference"].iloc[-1]
    found.rows["name"] = ["<b>one</b>", "two", "three"]
    assert "<b>one" not in tie_chart(found).to_json()
    assert "nothing to compare" in tie_chart(type(found)(**{**vars(found), "rows": found.rows[:0]})).to_json()
