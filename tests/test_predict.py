"""Files are answered as they were when they were imported."""

import json
import os

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import finish_run, write_csv, write_scan, zip_folder

from medwb.calibration import cross_fit_calibration, open_calibration, save_calibration
from medwb.decisions import decide
from medwb.errors import RequestError
from medwb.formats import import_dataset
from medwb.images import to_shape
from medwb.predict import imported_shape, predict
from medwb.runs import Predictions, Run, open_run
from medwb.scoring import Scorer, onnx_name
from medwb.validation import validation_of

SIDE = 12


def save_mean(path, shape, outputs=2):
    """Write a network that answers a mean brightness in 0..1 for each label, of another part of the scan each."""
    import onnx
    from onnx import TensorProto, helper

    weights = np.random.default_rng(0).random((int(np.prod(shape)), outputs)).astype(np.float32)
    weights /= 255 * weights.sum(axis=0)
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", outputs])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))


@pytest.fixture
def folder(tmp_path):
    """Scans of every kind and of several sizes, with a table."""
    rows = [["id", "edema", "mass"]]
    for number in range(48):
        name = f"{number:03d}.{('png', 'jpg', 'bmp', 'tif')[number % 4]}"
        channels = 3 if number % 3 == 0 else 1
        path = tmp_path / "scans" / "deep" / name
        write_scan(path, number, (16, 16) if number % 5 else (31, 20), channels)
        if number % 8 == 0:  # 16 bits
            pixels = np.random.default_rng(number).integers(0, 4000, (16, 16), dtype=np.uint16)
            assert cv2.imwrite(str(path), pixels)
        rows.append([f"deep/{name}", number % 2, int(number % 3 == 0)])
    write_csv(tmp_path / "scans" / "labels.csv", rows)
    return tmp_path / "scans"


def answered(dataset, **settings) -> Run:
    """A run whose network answers mean brightness, with the answers that it gives to the dataset's own scans."""
    run = finish_run(dataset, 0.3, **settings)
    height, width, channels = dataset.image_shape
    side = run.config.image_size
    shape = (side or height, side or width, run.config.channels or channels)
    save_mean(run.path / onnx_name(run.config, 0), shape)
    scorer, answers = Scorer(run), {}
    for split in dataset.splits:
        part = dataset.split(split)
        scores = scorer.scores(to_shape(dataset.images[part.rows], scorer.shape))
        answers[split] = Predictions(part.samples["id"].to_numpy(str), part.labels, scores)
    run.save_predictions(answers)
    return open_run(run.id)


@pytest.fixture
def run(home, folder):
    return answered(import_dataset(folder, "kinds", size=SIDE))


@pytest.mark.parametrize(
    "settings", [{}, {"image_size": 24}, {"channels": 1}, {"channels": 3, "image_size": 10}], ids=str
)
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_the_files_of_a_dataset_get_the_runs_own_answers(home, folder, channels, settings):
    dataset = import_dataset(folder, "kinds", size=SIDE, channels=channels)
    run = answered(dataset, **settings)
    found = predict(run, [folder])
    assert found.problems == []
    assert len(found.paths) == len(dataset) == 48
    scores = dict(zip(found.paths, found.scores, strict=True))
    for split in dataset.splits:
        answer = run.predictions(split)
        paths = dataset.split(split).samples["path"]
        own = np.stack([scores[str(folder / path)] for path in paths])
        assert np.abs(own - answer.y_score).max() <= 1e-4
    assert np.ptp(found.scores, axis=0).min() > 0.01  # they tell scans apart
    assert found.called.tolist() == (found.scores >= decide(run).values).tolist()


def test_a_zip_a_folder_and_files_say_the_same(run, folder, tmp_path):
    in_folder = predict(run, [folder])
    in_zip = predict(run, [zip_folder(folder, tmp_path / "scans.zip")])
    one_by_one = predict(run, in_folder.paths)
    assert one_by_one.paths == in_folder.paths
    assert np.array_equal(in_zip.scores, in_folder.scores)
    assert np.array_equal(one_by_one.scores, in_folder.scores)
    twice = predict(run, [folder, *in_folder.paths[:3]])
    assert twice.paths == in_folder.paths


def test_broken_files_are_listed_and_the_others_answered(run, folder, tmp_path):
    broken = {"text.png": b"no image", "empty.jpg": b"", "cut.png": (folder / "deep" / "012.png").read_bytes()[:90]}
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    write_scan(tmp_path / "secret.png")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop").symlink_to(folder)
    seen = []
    found = predict(
        run, [folder, tmp_path / "none.png", tmp_path / "secret.png"], progress=lambda *at: seen.append(at)
    )
    assert len(found.paths) == 49
    assert str(tmp_path / "secret.png") in found.paths
    assert str(folder / "out.png") not in found.paths
    reasons = {problem.path: problem.reason for problem in found.problems}
    assert {str(folder / name) for name in broken} < set(reasons)
    assert "link out of the folder" in reasons[str(folder / "out.png")]
    assert "no such file or folder" in reasons[str(tmp_path / "none.png")]
    assert seen[-1] == (52, 52)
    assert all("\n" not in reason for reason in reasons.values())


def test_nothing_to_answer_is_an_error(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"no image could be read: .*empty: no image in it"):
        predict(run, [tmp_path / "empty"])
    with pytest.raises(RequestError, match="no file is named"):
        predict(run, [])
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(RequestError, match="no such file or folder"):
        predict(run, [pipe])


def test_colour_for_a_grey_run_is_said(home, folder):
    run = answered(import_dataset(folder, "grey", size=SIDE, channels=1))
    assert "have colour, but the run learned from grey ones" in predict(run, [folder]).notes[0]


def test_calibrated_scores_change_and_what_is_called_does_not(run, folder):
    with pytest.raises(RequestError, match=f"has no calibration; fit one: `medwb calibrate {run.id}`"):
        predict(run, [folder], calibrated=True)
    save_calibration(run, cross_fit_calibration(validation_of(run), "temperature", deals=1, draws=10))
    plain, found = predict(run, [folder]), predict(run, [folder], calibrated=True)
    assert np.array_equal(found.called, plain.called)
    assert np.allclose(found.scores, open_calibration(run).apply(plain.scores))
    assert found.to_json()["calibrated"]


def test_a_run_without_a_network_says_why(run, folder):
    (run.path / "model.onnx").unlink()
    with pytest.raises(RequestError, match=r"cannot score scans: it has no model\.onnx"):
        predict(run, [folder])


def test_a_run_from_before_shapes_were_recorded_asks_its_dataset(run):
    path = run.path / "config.json"
    record = json.loads(path.read_text())
    shape = record["dataset"].pop("image_shape")
    path.write_text(json.dumps(record))
    assert imported_shape(open_run(run.id)) == tuple(shape)


def test_dicom(run, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    pixels[0, :2] = 0, 255  # so that stretching changes nothing
    record = pydicom.Dataset()
    record.file_meta = FileMetaDataset()
    record.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    record.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    record.Rows, record.Columns, record.SamplesPerPixel, record.PixelRepresentation = 16, 16, 1, 0
    record.BitsAllocated, record.BitsStored, record.HighBit = 8, 8, 7
    record.PhotometricInterpretation, record.PixelData = "MONOCHROME2", pixels.tobytes()
    record.save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    assert cv2.imwrite(str(tmp_path / "scan.png"), pixels)
    dicom, png = predict(run, [tmp_path / "scan.dcm", tmp_path / "scan.png"]).scores
    assert np.array_equal(dicom, png)


class TestCommand:
    def test_csv(self, medwb, run, folder, tmp_path):
        status, out, err = medwb("predict", run.id, folder, "--scores")
        assert status == 0, err
        assert "48 scans answered;" in err
        assert "a second; thresholds: best F1 on validation" in err
        (tmp_path / "printed.csv").write_text(out)
        medwb("predict", run.id, folder, "--csv", tmp_path / "answers.csv", "--scores")
        table = pd.read_csv(tmp_path / "answers.csv")
        assert table.equals(pd.read_csv(tmp_path / "printed.csv"))
        assert list(table.columns) == ["path", "edema", "mass", "score:edema", "score:mass"]
        assert set(table["edema"]) <= {0, 1}
        values = decide(run).values
        assert (table["edema"] == (table["score:edema"] >= values[0] - 1e-6)).mean() > 0.95

    def test_json_and_thresholds(self, medwb, run, folder):
        status, out, _ = medwb("predict", run.id, folder, "--threshold", "0", "--threshold", "mass=1", "--json")
        facts = json.loads(out)
        assert status == 0
        assert facts["thresholds"] == {"edema": 0.0, "mass": 1.0}
        assert all(row["called"] == ["edema"] for row in facts["answers"])
        assert set(facts["answers"][0]["scores"]) == {"edema", "mass"}

    def test_some_broken_is_0_and_all_broken_is_2(self, medwb, run, folder, tmp_path):
        (tmp_path / "bad.png").write_bytes(b"x")
        status, out, err = medwb("predict", run.id, tmp_path / "bad.png", folder / "deep" / "001.jpg")
        assert status == 0
        assert len(out.splitlines()) == 2
        assert f"no answer: {tmp_path / 'bad.png'}: not a PNG" in err
        status, out, err = medwb("predict", run.id, tmp_path / "bad.png")
        assert (status, out) == (2, "")
        assert "no image could be read" in err

    @pytest.mark.parametrize("out", ["", "none/answers.csv", "x" * 300])
    def test_a_place_that_cannot_be_written_to(self, medwb, run, folder, tmp_path, out):
        status, _, err = medwb("predict", run.id, folder, "--csv", tmp_path / out)
        assert status == 2
        assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_trained_networks_files(home, folder, medwb):
    from test_scoring import trained

    dataset = import_dataset(folder, "kinds", size=SIDE)
    run = trained(dataset, architecture="cnn-2", channels=1, image_size=24)
    found = predict(run, [folder])
    scores = dict(zip(found.paths, found.scores, strict=True))
    for split in dataset.splits:
        own = np.stack([scores[str(folder / path)] for path in dataset.split(split).samples["path"]])
        assert np.abs(own - run.predictions(split).y_score).max() <= 1e-4
