import re
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from medwb import plots
from medwb.dataset import Dataset
from medwb.plots.style import shorten
from medwb.table import SCORES, ScoreTable

NAN = float("nan")


def dataset(labels: list[list[float]], splits: list[str], names: tuple[str, ...] = ("a", "b")) -> Dataset:
    values = np.array(labels, np.float32).reshape(len(labels), len(names))
    samples = pd.DataFrame({"id": [f"{row}.png" for row in range(len(values))], "split": splits, "group": ""})
    samples = samples.assign(**{name: values[:, index] for index, name in enumerate(names)})
    return Dataset("tiny", names, samples, np.zeros((len(values), 4, 4, 1), np.uint8), "0" * 16, "test", "test")


@pytest.fixture
def data() -> Dataset:
    return dataset([[1, 1], [1, 0], [0, NAN], [0, 0], [NAN, 1]], ["train", "train", "train", "val", "val"])


def score_table(columns: dict[str, list[float]], settings: tuple[str, ...] = ("", "epochs=2")) -> ScoreTable:
    rows = pd.DataFrame({"title": ["One", "Two"], "settings": settings, "runs": 1, "reference_score": [0.9, NAN]})
    for name in ("f1:a", "f1:b", *SCORES):
        value = columns.get(name, [0.5, 0.6])
        low, high = [v - 0.1 for v in value], [v + 0.2 for v in value]
        rows = rows.assign(**{name: value, f"{name}_low": low, f"{name}_high": high})
    return ScoreTable("tiny", "val", ("a", "b"), rows, [])


def history(epochs: int, heads: tuple[str, ...] = ("shared",)) -> pd.DataFrame:
    rows = [(head, epoch) for head in heads for epoch in range(1, epochs + 1)]
    table = pd.DataFrame(rows, columns=["head", "epoch"])
    names = [f"{side}_{quantity}" for side in ("train", "val") for quantity in ("loss", "f1", "accuracy")]
    return table.assign(**dict.fromkeys(names, 0.5))


def texts(figure: go.Figure) -> str:
    return " ".join(annotation.text for annotation in figure.layout.annotations)


def test_no_colour_stands_for_two_things():
    colours = [
        *plots.SPLIT_COLOURS.values(),
        *plots.LABEL_PALETTE,
        *plots.RUN_PALETTE,
        plots.NEUTRAL,
        plots.REFERENCE,
    ]
    assert len(set(colours)) == len(colours)


def test_a_label_keeps_its_colour_whatever_comes_after_it():
    few, many = plots.label_colours(["a", "b"]), plots.label_colours([*"abcdefghijklmnopqrst"])
    assert few["b"] == many["b"]
    assert len(many) == 20


def test_label_counts(data):
    counts = plots.label_counts(data).set_index(["label", "split"])
    assert counts.loc[("a", "train"), ["positive", "negative", "unknown"]].tolist() == [2, 1, 0]
    assert counts.loc[("b", "train"), ["positive", "negative", "unknown"]].tolist() == [1, 1, 1]
    assert counts.loc[("b", "train"), "share"] == 0.5
    assert counts.loc[("a", "val"), "share"] == 0


def test_the_share_of_a_label_that_nobody_knows_is_undefined():
    counts = plots.label_counts(dataset([[NAN, 1]], ["test"]))
    assert np.isnan(counts["share"][0])


def test_label_set_counts(data):
    table = plots.label_set_counts(data).set_index("labels")
    assert table.loc["no finding", ["train", "val", "total"]].tolist() == [1, 1, 2]
    assert table.loc["a + b", "total"] == 1
    assert table.loc["b", "val"] == 1  # the other label is unknown
    assert table["share"].sum() == pytest.approx(1)
    assert plots.label_set_counts(dataset([[NAN, NAN]], ["test"]))["labels"].tolist() == ["nothing known"]


def test_label_sets_of_more_labels_than_a_word_has_bits():
    names = tuple(f"l{index}" for index in range(70))
    values = np.zeros((2, 70))
    values[0, [0, 69]] = 1
    assert set(plots.label_set_counts(dataset(values.tolist(), ["train"] * 2, names))["labels"]) == {
        "l0 + l69",
        "no finding",
    }


def test_cooccurrence(data):
    counts = plots.cooccurrence_counts(data)
    assert counts.loc["a", "a"] == 2
    assert counts.loc["a", "b"] == counts.loc["b", "a"] == 1
    shares = plots.cooccurrence_counts(data, conditional=True)
    assert shares.loc["a", "b"] == 0.5
    assert shares.loc["b", "a"] == 1  # of two samples positive for b, a is known in one


def test_a_label_without_a_positive_has_no_conditional_share():
    shares = plots.cooccurrence_counts(dataset([[0, 1]], ["train"]), conditional=True)
    assert shares.loc["a"].isna().all()
    plots.cooccurrence(shares, conditional=True).to_json()


@pytest.mark.parametrize("unit", ["share", "count"])
def test_prevalence_bars(data, unit):
    figure = plots.label_prevalence(plots.label_counts(data), unit=unit)
    positive = next(bar for bar in figure.data if bar.name == "train" and bar.showlegend)
    assert positive.marker.color == plots.SPLIT_COLOURS["train"]
    assert list(positive.y) == ([pytest.approx(200 / 3), pytest.approx(100 / 3)] if unit == "share" else [2, 1])
    assert list(positive.text) == ["67 %", "50 %"]
    heights = {}
    for bar in figure.data:
        heights[bar.offsetgroup] = heights.get(bar.offsetgroup, 0) + np.asarray(bar.y)
    assert heights["train"] == pytest.approx(100 if unit == "share" else 3)
    assert "hatched" in figure.layout.yaxis.title.text


def test_the_axis_of_rare_labels_is_shorter():
    rare = dataset([[1, 0], *[[0, 0]] * 99], ["train"] * 100)
    assert plots.label_prevalence(plots.label_counts(rare)).layout.yaxis.range[1] < 5


def test_label_set_bars(data):
    figure = plots.label_sets(plots.label_set_counts(data), top=2)
    assert [len(bar.y) for bar in figure.data if bar.type == "bar"] == [2, 2]
    assert figure.data[0].y[-1] == "no finding"  # the commonest on top


def test_long_label_sets_stay_apart():
    names = pd.Series(["x" * 40 + "a" + "y" * 12, "x" * 40 + "b" + "y" * 12, "short"])
    assert len(set(shorten(names))) == 3


def test_intensity_lines():
    table = pd.DataFrame({"group": ["a", "a", "other"], "intensity": [1, 2, 1], "share": [0.4, 0.6, 1]})
    figure = plots.intensity_histograms(table, {"a": "#123456"})
    assert [line.line.color for line in figure.data] == ["#123456", plots.NEUTRAL]
    assert list(figure.data[0].y) == [40, 60]


def test_training_curves_show_train_and_validation_of_every_head():
    figure = plots.training_curves({"one": history(3), "two": history(2, ("a", "b")), "none": pd.DataFrame()})
    assert len(figure.data) == 3 * 4
    assert {trace.name for trace in figure.data if trace.showlegend} == {"one", "two · a", "two · b"}
    assert {trace.line.dash for trace in figure.data} == {"dot", "solid"}
    assert figure.layout.yaxis2.title.text == "Macro F1 at 0.5"


@pytest.mark.parametrize(("monitor", "title"), [("loss", "Macro F1 at 0.5"), ("accuracy", "Accuracy at 0.5")])
def test_training_curves_show_what_is_monitored(monitor, title):
    assert plots.training_curves({"one": history(1)}, metric=monitor).layout.yaxis2.title.text == title


def test_score_bars_have_intervals_and_the_reference_score():
    figure = plots.score_bars(score_table({"macro_f1": [0.7, 0.4]}))
    assert [trace.name for trace in figure.data] == ["F1 a", "F1 b", "Macro F1", "Reference study's F1"]
    macro, reference = figure.data[2], figure.data[3]
    assert list(macro.y) == [0.7, 0.4]
    assert list(macro.error_y.array) == pytest.approx([0.2, 0.2])
    assert list(macro.error_y.arrayminus) == pytest.approx([0.1, 0.1])
    assert reference.y[0] == 0.9
    assert list(macro.x) == ["One", "Two<br>epochs=2"]
    assert figure.data[0].marker.color == plots.label_colours(["a", "b"])["a"]


def test_score_bars_hatch_what_lies_above_the_ceiling():
    table = replace(
        score_table({}), ceiling={"f1:a": 0.8, "f1:b": 1.0, "macro_f1": 0.9, "roc_auc": 0.95}, contradictory=7
    )
    figure = plots.score_bars(table)
    hatched = [trace for trace in figure.data if trace.name.startswith("Out of reach")]
    assert [trace.offsetgroup for trace in hatched] == ["f1:a", "macro_f1"]
    assert [trace.showlegend for trace in hatched] == [True, False]
    assert hatched[0].base == 0.8
    assert list(hatched[0].y) == pytest.approx([0.2, 0.2])
    assert {trace.offsetgroup for trace in figure.data if trace.name == "F1 a"} == {"f1:a"}
    assert "Ceiling of F1 a: 0.800" in hatched[0].hovertemplate
    assert "7 scans of val are identical images" in hatched[0].hovertemplate
    assert len(figure.data) == len(plots.score_bars(score_table({})).data) + 2


def test_score_bars_of_chosen_columns():
    assert next(t.name for t in plots.score_bars(score_table({}), ["roc_auc"]).data) == "ROC AUC"


@pytest.mark.parametrize(
    "figure",
    [
        plots.label_prevalence(pd.DataFrame(columns=["label", "split", "positive"])),
        plots.cooccurrence(pd.DataFrame()),
        plots.label_sets(pd.DataFrame()),
        plots.intensity_histograms(pd.DataFrame(columns=["group", "intensity", "share"]), {}),
        plots.training_curves({}),
        plots.score_bars(ScoreTable("tiny", "val", ("a",), pd.DataFrame(), [])),
    ],
)
def test_without_data_a_figure_says_why(figure):
    assert not figure.data
    assert len(texts(figure)) > 10


def test_every_figure_has_axis_titles(data):
    table = pd.DataFrame({"group": ["a"], "intensity": [1], "share": [1.0]})
    for figure in (
        plots.label_prevalence(plots.label_counts(data)),
        plots.cooccurrence(plots.cooccurrence_counts(data)),
        plots.label_sets(plots.label_set_counts(data)),
        plots.intensity_histograms(table, {}),
        plots.training_curves({"one": history(1)}),
    ):
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text


def test_text_from_a_dataset_is_escaped():
    names = ("<b>a</b>", "<a href='javascript:1'>b</a>")
    hostile = dataset([[1, 1], [0, 1]], ["train", "val"], names)
    matrix = plots.cooccurrence_counts(hostile)
    figures = [
        plots.label_prevalence(plots.label_counts(hostile)),
        plots.cooccurrence(matrix),
        plots.label_sets(plots.label_set_counts(hostile)),
        plots.training_curves({names[0]: history(1)}),
        plots.score_bars(score_table({}, settings=names)),
    ]
    for figure in figures:
        for trace in figure.data:  # group names are keys that are never drawn
            drawn = trace.to_plotly_json()
            drawn.pop("legendgroup", None)
            found = set(re.findall(r"</?\w+", str(drawn)))
            assert found <= {"<br", "<extra", "</extra"}, found
