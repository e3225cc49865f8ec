"""The embedding map shows a run's features as they are, keeps them, and says how much of them it shows."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from conftest import finish_run

from medwb import embedding
from medwb.embedding import (
    EMBEDDINGS,
    OUTCOMES,
    Features,
    features_path,
    find_features,
    lay_out,
    map_table,
    open_features,
    outcomes,
    save_features,
)
from medwb.errors import RequestError
from medwb.plots.embedding import COLOURS, embedding_map
from medwb.runs import open_run


@pytest.fixture
def run(tiny):
    """A finished run with a file in the place of its weights."""
    run = finish_run(tiny, 0.3)
    (run.path / "model.weights.h5").write_bytes(b"weights")
    return open_run(run.id)


def made(data, split, width=6):
    part = data.split(split)
    values = np.random.default_rng(len(part)).normal(size=(len(part), width)).astype(np.float32)
    values[:, 0] *= 10
    values[:, 1] *= 5
    return Features(split, part.samples["id"].to_numpy(str), values)


@pytest.fixture
def child(monkeypatch, tiny):
    """In the place of the process: it makes features, and lists the splits that it was asked for."""
    asked = []

    def work(run, request, progress):
        for task in request["features"]:
            asked.append(task["split"])
            save_features(run, made(tiny, task["split"]), task["label"])

    monkeypatch.setattr(embedding, "ask_child", work)
    return asked


def test_pca_shows_the_directions_of_most_variance_and_says_how_much(tiny):
    features = made(tiny, "train")
    layout = lay_out(features)
    centred = features.values.astype(np.float64) - features.values.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    for axis in range(2):
        mine, theirs = layout.xy[:, axis], centred @ directions[axis]
        assert min(np.abs(mine - theirs).max(), np.abs(mine + theirs).max()) < 1e-3
        share = singular[axis] ** 2 / (singular**2).sum()
        assert layout.axes[axis] == f"Component {axis + 1}: {share:.0%} of the variance"
    assert np.array_equal(lay_out(features).xy, layout.xy)


@pytest.mark.parametrize("values", [np.ones((5, 3)), np.ones((1, 3)), np.random.default_rng(0).random((5, 1))])
def test_features_that_make_no_map_are_one_line(values):
    features = Features("val", np.arange(len(values)).astype(str), values.astype(np.float32))
    with pytest.raises(RequestError, match="make no map"):
        lay_out(features)


def test_umap_is_an_extra(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(RequestError, match=r"pip install 'medwb\[umap\]'; or use pca"):
        lay_out(made(tiny, "val"), "umap")
    with pytest.raises(RequestError, match="unknown embedding 'tsne'"):
        lay_out(made(tiny, "val"), "tsne")
    seen = {}

    class UMAP:
        def __init__(self, **settings):
            seen.update(settings)

        def fit_transform(self, values):
            return values[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    assert lay_out(made(tiny, "val"), "umap").xy.shape == (48, 2)
    assert seen["random_state"] == 0


def test_features_are_computed_once_a_split(run, tiny, child):
    first = find_features(run, ["val"], "mass")
    stamp = features_path(run, "val", "mass").stat().st_mtime_ns
    again = find_features(run, ["train", "val"], "edema")
    assert child == ["val", "train"]
    assert features_path(run, "val", "mass").name == "features-val.npz"
    assert features_path(run, "val", "mass").stat().st_mtime_ns == stamp
    assert again.ids[-48:].tolist() == first.ids.tolist() == tiny.split("val").samples["id"].tolist()
    assert np.allclose(first.values, made(tiny, "val").values, rtol=1e-3)  # float16
    features_path(run, "val", "mass").write_bytes(b"damaged")
    find_features(run, ["val"], "mass")
    (run.path / "model.weights.h5").write_bytes(b"learned more")
    find_features(run, ["val"], "mass")
    assert child == ["val", "train", "val", "val"]
    for split, label, message in (("vall", "mass", "split of tiny"), ("val", "masss", "did you mean mass")):
        with pytest.raises(RequestError, match=message):
            find_features(run, [split], label)
    with pytest.raises(RequestError, match="is a baseline"):
        find_features(finish_run(tiny, architecture="k-nn"), ["val"], "mass")


def test_large_features_stay_as_they_are_and_broken_ones_are_refused(run, tiny):
    features = made(tiny, "val")
    save_features(run, Features("val", features.ids, features.values * 1e6), "mass")
    assert np.array_equal(open_features(run, "val", "mass").values, features.values * np.float32(1e6))
    features.values[3, 1] = np.nan
    with pytest.raises(RequestError, match="what is no number"):
        save_features(run, features, "mass")


def test_each_network_a_label_has_features_of_its_own(tiny):
    run = finish_run(tiny, heads="per-label")
    assert features_path(run, "val", "mass").name == "features-val-1.npz"


def test_outcomes_never_call_an_unknown_label_negative():
    truth = np.array([1, 0, 1, 0, np.nan, 1])
    score = np.array([0.5, 0.9, 0.4, 0.1, 0.9, np.nan])
    assert outcomes(truth, score, 0.5).tolist() == [*OUTCOMES, "unknown"]


def test_the_table_and_every_colour_of_it(run, tiny):
    splits = [made(tiny, split) for split in ("val", "test")]
    ids = np.concatenate([one.ids for one in splits])
    features = Features("val+test", ids, np.concatenate([one.values for one in splits]))
    layout = lay_out(features)
    table = map_table(run, tiny, features, layout, "mass", 0.5)
    truth = tiny.samples.set_index("id")["mass"].loc[ids]
    assert (table["truth"] == np.where(truth == 1, "positive", "negative")).all()
    answer = run.predictions("test")
    assert np.allclose(table["score"][-len(answer.ids) :], answer.y_score[:, 1])
    assert set(table["split"]) == {"val", "test"}
    for colour in COLOURS:
        figure = embedding_map(table, layout.axes, colour, label="<b>mass")
        shown = [name for trace in figure.data for name in trace.customdata]
        assert sorted(shown) == sorted(ids)
        assert "of the variance" in figure.layout.xaxis.title.text
        assert figure.layout.title.text == "&lt;b&gt;mass"
    with pytest.raises(RequestError, match="did you mean score"):
        embedding_map(table, layout.axes, "scores")
    assert not embedding_map(table.head(0), layout.axes).data


def test_many_points_are_drawn_by_webgl():
    count = 22_000
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.random((count, 3)), columns=["x", "y", "score"])
    table["id"], table["split"], table["truth"] = [f"{n}.png" for n in range(count)], "val", "positive"
    table["outcome"] = np.where(table["score"] >= 0.5, "true positive", "false negative")
    figure = embedding_map(table, ("a", "b"))
    assert {trace.type for trace in figure.data} == {"scattergl"}
    assert sum(len(trace.x) for trace in figure.data) == count
    assert embedding_map(table.head(50), ("a", "b")).data[0].type == "scatter"


@pytest.mark.parametrize("name", EMBEDDINGS.names())
def test_every_embedding_says_what_it_is(name):
    assert EMBEDDINGS.get(name).summary.endswith(".")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"heads": "per-label", "loss": "categorical"}])
def test_features_are_those_from_which_the_outputs_follow(tiny, settings):
    from scipy.special import expit
    from test_scoring import trained

    import medwb.training.explain as training

    run = trained(tiny, **settings)
    training.write_features(run, tiny, {"split": "val", "label": "mass"}, lambda passes: None)
    features = open_features(run, "val", "mass")
    head, output = (1, 0) if settings else (0, 1)
    network = training.load_head(run, (16, 16, 1), head)
    dense, offset = network.layers[-2 if settings else -1].get_weights()
    logits = features.values @ dense + offset
    logits = logits[:, 1] - logits[:, 0] if settings else logits[:, output]
    assert np.abs(expit(logits) - run.predictions("val").y_score[:, 1]).max() < 5e-3  # float16 is kept
