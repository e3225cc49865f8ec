"""Scores without TensorFlow are those of the network."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from medwb.architectures import ARCHITECTURES
from medwb.config import input_shape, make_config
from medwb.errors import RequestError
from medwb.images import to_shape
from medwb.runs import create_run, open_run
from medwb.scoring import Scorer, onnx_name


def queued(dataset, **settings):
    return create_run(make_config({"dataset": dataset.name, "architecture": "fcnn-1", **settings}), dataset)


def trained(dataset, **settings):
    """A run that was trained in this process."""
    from medwb.training.__main__ import train

    run = queued(dataset, epochs=1, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *arguments: None)
        train(run)
    return open_run(run.id)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "fcnn-2", "heads": "per-label", "loss": "categorical"},
        {"architecture": "rnn-1", "loss": "categorical"},
        {"architecture": "cnn-2", "image_size": 24, "channels": 3, "scale": False},
    ],
    ids=lambda settings: settings["architecture"],
)
def test_scores_are_the_networks(tiny, settings):
    run = trained(tiny, **settings)
    scorer = Scorer(run)
    assert scorer.shape == input_shape(run.config, tiny)
    for split in tiny.splits:
        images = to_shape(tiny.images[tiny.split(split).rows], scorer.shape)
        found = scorer.scores(images)
        assert found.dtype == np.float32
        assert np.abs(found - run.predictions(split).y_score).max() <= 1e-4
    assert np.abs(found - found.mean(axis=0)).max() > 1e-4  # not one answer for all
    assert 0 < run.status()["onnx_difference"] <= 1e-4
    assert scorer.scores(images[:0]).shape == (0, 3)
    code = (
        f"import sys, numpy; from medwb.scoring import Scorer; from medwb.runs import open_run\n"
        f"scores = Scorer(open_run({run.id!r})).scores(numpy.zeros((3, *{scorer.shape}), numpy.uint8))\n"
        "assert scores.shape == (3, 3) and not {'tensorflow', 'keras', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_dropped_and_the_run_goes_on(tiny, monkeypatch, caplog):
    class Session:
        def __init__(self, path):
            pass

        def get_inputs(self):
            return [type("Input", (), {"name": "images"})]

        def run(self, outputs, inputs):
            return [np.full((len(inputs["images"]), 3), 0.5, np.float32)]

    monkeypatch.setattr("medwb.training.onnx_model.onnx_session", Session)
    with caplog.at_level(logging.WARNING):
        run = trained(tiny)
    status = run.status()
    assert status["state"] == "finished"
    assert not list(run.path.glob("*onnx*"))
    assert "model.onnx: its scores differ by" in status["onnx_error"]
    assert "onnx_difference" not in status
    assert "model.onnx is not written: its scores differ by" in caplog.text
    with pytest.raises(RequestError, match=r"is not there as ONNX \(model\.onnx: its scores differ"):
        Scorer(run)


def test_a_run_without_a_file_says_why_and_the_way_out(tiny):
    run = queued(tiny)
    with pytest.raises(RequestError, match="it is queued; its network is written when the training ends"):
        Scorer(run)
    run.update_status(state="finished")
    with pytest.raises(RequestError, match=r"cannot score scans: it has no model\.onnx; launch a new one"):
        Scorer(run)
    baseline = queued(tiny, architecture="svc")
    baseline.update_status(state="finished")
    with pytest.raises(RequestError, match="svc is a baseline"):
        Scorer(baseline)


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x08" * 100])
def test_a_damaged_file_is_one_line(tiny, content):
    run = queued(tiny)
    (run.path / onnx_name(run.config, 0)).write_bytes(content)
    with pytest.raises(RequestError, match=rf"run {run.id}: model\.onnx is damaged \(.+\); train again"):
        Scorer(run)


def save_sum(path, side=4, outputs=3):
    """Write a network whose scores are the mean brightness, without Keras."""
    import onnx
    from onnx import TensorProto, helper

    shape = [side, side, 1]
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Expand", ["mean", "size"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", outputs])],
        [helper.make_tensor("size", TensorProto.INT64, [2], [1, outputs])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


def test_scores_come_in_order_over_batches_and_heads(tiny):
    run = queued(tiny, heads="per-label")
    for head in range(3):
        save_sum(run.path / onnx_name(run.config, head), outputs=1)
    images = np.arange(600, dtype=np.int64)[:, None, None, None] % 256 * np.ones((1, 4, 4, 1), np.int64)
    scores = Scorer(run).scores(images.astype(np.uint8))
    assert scores.shape == (600, 3)
    assert np.array_equal(scores, np.repeat(np.arange(600)[:, None] % 256, 3, axis=1))
    (run.path / onnx_name(run.config, 2)).unlink()
    with pytest.raises(RequestError, match="cannot score scans"):
        Scorer(run)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 5, 1), np.uint8), np.zeros((2, 4, 4, 1), np.float32), np.zeros((4, 4, 1), np.uint8)]
)
def test_scans_of_another_shape_are_refused(tiny, images):
    run = queued(tiny)
    save_sum(run.path / "model.onnx")
    with pytest.raises(RequestError, match=r"scores uint8 scans of \(4, 4, 1\), not"):
        Scorer(run).scores(images)


def test_a_network_for_other_labels_is_refused(tiny):
    run = queued(tiny)
    save_sum(run.path / "model.onnx", outputs=2)
    with pytest.raises(RequestError, match=r"model\.onnx is damaged"):
        Scorer(run)


@pytest.mark.slow
@pytest.mark.parametrize("name", [entry.name for entry in ARCHITECTURES if entry.is_network])
def test_every_network_can_be_written(tmp_path, name):
    from medwb.training.network import build_network, make_predictor
    from medwb.training.onnx_model import write_onnx

    config = make_config({"dataset": "any", "architecture": name})
    network = build_network(ARCHITECTURES.get(name), (64, 64, 1), 2, config)
    images = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 1), dtype=np.uint8)

    class Data:
        def pictures(self, split):
            return np.arange(10), np.arange(10)

        def images(self, split, positions):
            return images[positions]

    scores = make_predictor(network, config)(Data(), "val")
    assert write_onnx(network, config, tmp_path / "model.onnx", images, scores) <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
