"""A model leaves the workbench only when it answers as the run did, and with what its user must know."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from conftest import finish_run, write_dataset
from test_predict import save_mean

from medwb.config import input_shape
from medwb.decisions import decide
from medwb.errors import RequestError
from medwb.export import CHECKED, MOST_DIFFERENCE, checked_scans, export_model, onnx_scores
from medwb.images import to_shape
from medwb.paths import datasets_dir
from medwb.runs import Predictions, open_run
from medwb.scoring import Scorer, weights_files


@pytest.fixture
def run(tiny):
    """A finished run with an ONNX file that gives its answers, and a file in the place of its weights."""
    run = finish_run(tiny, 0.3)
    save_mean(run.path / "model.onnx", input_shape(run.config, tiny), outputs=3)
    (run.path / "model.weights.h5").write_bytes(b"weights")
    scorer, answers = Scorer(run), {}
    for split in tiny.splits:
        part = tiny.split(split)
        scores = scorer.scores(to_shape(tiny.images[part.rows], scorer.shape))
        answers[split] = Predictions(part.samples["id"].to_numpy(str), part.labels, scores)
    run.save_predictions(answers)
    return open_run(run.id)


def test_an_onnx_file_answers_as_the_run_did(run, tiny, tmp_path):
    exported = export_model(run, "onnx", tmp_path / "m.onnx")
    images, scores = checked_scans(run, tiny)
    assert np.abs(onnx_scores(exported.path, images, run.id) - scores).max() <= 1e-6
    facts = json.loads((tmp_path / "m.onnx.json").read_text())
    assert facts == json.loads(json.dumps(exported.metadata))
    assert facts["sha256"] == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert facts["labels"] == list(tiny.label_names)
    assert facts["thresholds"] == decide(run).thresholds
    assert facts["input"] == {"dtype": "uint8", "shape": [None, 16, 16, 1], "range": [0, 255]}
    assert facts["dataset"] == {"name": "tiny", "fingerprint": tiny.fingerprint}
    assert facts["preprocessing"]["imported_shape"] == [16, 16, 1]
    assert "divided by 255" in facts["preprocessing"]["scaling"]
    assert facts["check"]["scans"] == 48
    assert facts["check"]["max_difference"] <= 1e-6
    assert facts["weights"] == {"model.weights.h5": hashlib.sha256(b"weights").hexdigest()}
    assert sorted(path.name for path in tmp_path.glob("m*")) == ["m.onnx", "m.onnx.json"]


def test_a_file_that_disagrees_is_refused_and_nothing_is_left(run, tmp_path):
    answer = run.predictions("val")
    scores = answer.y_score.copy()
    scores[7, 1] += 2e-4
    run.save_predictions({"val": Predictions(answer.ids, answer.y_true, scores)})
    with pytest.raises(RequestError, match=r"disagrees with the run: a score differs by 0\.0002, over 0\.0001"):
        export_model(run, "onnx", tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(RequestError):
        export_model(run, "onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if "m.onnx" in path.name] == ["m.onnx"]


@pytest.mark.parametrize("content", [b"", b"no network", b"\x08\x08" * 100])
def test_a_damaged_file_is_one_line(run, tmp_path, content):
    (run.path / "model.onnx").write_bytes(content)
    with pytest.raises(RequestError, match=rf"run {run.id}: its ONNX file is damaged"):
        export_model(run, "onnx", tmp_path / "m.onnx")
    assert not list(tmp_path.glob("*onnx*"))


@pytest.mark.parametrize(
    ("format", "out", "message"),
    [
        ("onxx", None, "unknown format 'onxx'; did you mean onnx"),
        ("onnx", "m.keras", r"must end in \.onnx"),
        ("onnx", "none/m.onnx", "no such folder to write to"),
        ("onnx", f"{'x' * 300}.onnx", "cannot be written"),
    ],
)
def test_wrong_requests(run, tmp_path, format, out, message):
    with pytest.raises(RequestError, match=message):
        export_model(run, format, out and tmp_path / out)


def test_the_runs_own_folder_is_left_alone(run, tmp_path):
    with pytest.raises(RequestError, match="lies in the run's own folder"):
        export_model(run, "onnx", run.path / "model.onnx")
    (tmp_path / "link").symlink_to(run.path)
    with pytest.raises(RequestError, match="lies in the run's own folder"):
        export_model(run, "onnx", tmp_path / "link" / "model.onnx")


def test_a_run_that_cannot_be_exported_says_why(tiny, run, tmp_path):
    with pytest.raises(RequestError, match="k-nn is a baseline"):
        export_model(finish_run(tiny, architecture="k-nn"), "onnx", tmp_path / "m.onnx")
    with pytest.raises(RequestError, match=r"it has no model\.weights\.h5"):
        export_model(finish_run(tiny), "keras", tmp_path / "m.keras")
    record = datasets_dir() / "tiny" / "dataset.json"
    record.write_text(record.read_text().replace(run.fingerprint, "f" * 16))
    with pytest.raises(RequestError, match=rf"run {run.id} is stale"):
        export_model(run, "onnx", tmp_path / "m.onnx")


def test_scans_are_spread_over_validation(home):
    data = write_dataset("many", samples=2000)
    images, scores = checked_scans(run := finish_run(data), data)
    assert len(images) == len(scores) == CHECKED
    assert np.array_equal(images[-1], data.images[data.split("val").rows[-1]])
    assert np.array_equal(scores[0], run.predictions("val").y_score[0])


def test_the_command(medwb, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = medwb("export", run.id, "--format", "onnx")
    assert (status, out) == (0, "")
    assert (tmp_path / f"{run.id}.onnx").is_file()
    assert "the run's answers on 48 scans of val, within " in err
    assert json.loads(medwb("export", run.id, "--format", "onnx", "--json")[1])["run"] == run.id
    status, _, err = medwb("export", run.id, "--format", "pickle")
    assert status == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "cnn-2", "image_size": 24, "channels": 3, "scale": False},
        {"architecture": "fcnn-2", "heads": "per-label", "loss": "categorical"},
        {"architecture": "rnn-1", "heads": "per-label"},
    ],
    ids=lambda settings: settings["architecture"],
)
def test_every_format_answers_as_the_run_did(tiny, tmp_path, settings):
    from test_scoring import trained

    run = trained(tiny, **settings)
    (run.path / "model.onnx").unlink(missing_ok=True)  # it is made from the weights
    formats = dict(MOST_DIFFERENCE)
    if settings["architecture"] == "rnn-1":
        with pytest.raises(
            RequestError, match=r"tflite cannot hold rnn-1 \(the loop of its LSTM .* use --format onnx"
        ):
            export_model(run, "tflite", tmp_path / "m.tflite")
        assert not list(tmp_path.glob("*tflite*"))
        formats = {"onnx": MOST_DIFFERENCE["onnx"]}
    for format, limit in formats.items():
        exported = export_model(run, format, tmp_path / f"m.{format}")
        assert exported.metadata["check"]["max_difference"] <= limit
        assert set(exported.metadata["weights"]) == set(weights_files(run))


@pytest.mark.slow
def test_weights_of_another_training_are_refused(tiny, tmp_path):
    from test_scoring import trained

    run, other = trained(tiny), trained(tiny, seed=1)
    shutil.copy(other.path / "model.weights.h5", run.path / "model.weights.h5")
    with pytest.raises(RequestError, match="the keras file disagrees with the run"):
        export_model(run, "keras", tmp_path / "m.keras")
    (run.path / "model.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n no more")
    with pytest.raises(RequestError, match=r"model\.weights\.h5 is damaged"):
        export_model(run, "keras", tmp_path / "m.keras")
    assert not list(tmp_path.glob("*keras*"))
