"""Saliency maps are what their definitions say, are kept, and are judged by what they owe to learning."""

import dataclasses
import json
import os
import time

import numpy as np
import psutil
import pytest
from conftest import finish_run, write_dataset
from scipy.stats import spearmanr
from test_predict import save_mean

import medwb.cli.explain  # noqa: F401  registers the command
from medwb import saliency
from medwb.config import input_shape
from medwb.errors import RequestError
from medwb.inspection import ask_child, check_inspectable, network_digest
from medwb.paths import datasets_dir
from medwb.runs import Predictions, open_run
from medwb.saliency import Saliency, explain, hardest, open_saliency, overlay, save_saliency
from medwb.saliency_methods import SALIENCY_METHODS, STAGES, patches, rank_correlations

METHODS = SALIENCY_METHODS.names()


class Linear:
    """A network whose log odds are a weighted sum of pixels; its "maps" are the pixels' channels."""

    def __init__(self, weights):
        self.weights = weights

    def log_odds(self, images):
        return (images * self.weights).sum(axis=(1, 2, 3)) + np.float32(0.5)

    def gradients(self, images):
        return np.broadcast_to(self.weights, images.shape)

    def maps(self, images):
        return images, np.broadcast_to(self.weights, images.shape)


@pytest.fixture
def scans():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 20, 2)).astype(np.float32)


@pytest.fixture
def linear():
    return Linear(np.random.default_rng(1).normal(size=(16, 20, 2)).astype(np.float32))


@pytest.mark.parametrize("name", METHODS)
def test_each_method_gives_a_finite_map_a_scan_and_changes_no_scan(name, scans, linear):
    before, method = scans.copy(), SALIENCY_METHODS.get(name)
    found = method.compute(linear, scans)
    assert (found.shape, found.dtype) == ((3, 16, 20), np.float32)
    assert np.isfinite(found).all()
    assert np.array_equal(scans, before)
    assert np.abs(found).max() > 0
    assert method.signed == bool((found < 0).any())
    assert method.summary.endswith(".")
    assert np.allclose(
        found[1:2], method.compute(linear, scans[1:2]), rtol=1e-4, atol=1e-2
    )  # whatever stands beside it


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel(scans, linear):
    found = SALIENCY_METHODS.get("integrated-gradients").compute(linear, scans)
    assert np.allclose(found, (scans * linear.weights).sum(axis=3), rtol=1e-5, atol=1e-3)
    promised = linear.log_odds(scans) - linear.log_odds(np.zeros_like(scans[:1]))
    assert np.allclose(found.sum(axis=(1, 2)), promised, rtol=1e-4, atol=1e-2)


def test_occlusion_of_a_linear_network_is_what_its_patch_adds_over_the_mean(scans, linear):
    square, weights = scans[:, :, :16], linear.weights[:, :16]
    found = SALIENCY_METHODS.get("occlusion").compute(Linear(weights), square)
    added = ((square - square.mean(axis=(1, 2), keepdims=True)) * weights).sum(axis=3)
    expected = added.reshape(3, 8, 2, 8, 2).sum(axis=(2, 4)).repeat(2, axis=1).repeat(2, axis=2)
    assert np.allclose(found, expected, rtol=1e-4, atol=0.05)


def test_grad_cam_weighs_maps_by_their_mean_gradient(scans, linear):
    found = SALIENCY_METHODS.get("grad-cam").compute(linear, scans)
    expected = np.zeros((3, 16, 20))
    for channel in range(2):
        expected += linear.weights[..., channel].mean() * scans[..., channel]
    assert np.allclose(found, np.maximum(expected, 0), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("side", [1, 7, 8, 9, 16, 20, 64, 100])
def test_patches_cover_a_side(side):
    covered = np.zeros(side, int)
    for patch in patches(side):
        assert patch.stop - patch.start == max(1, side // 8)
        covered[patch] += 1
    assert covered.min() == 1
    assert covered.max() <= 2


def test_rank_correlations_are_spearmans_of_absolute_values():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    a[3], b[4] = 2, 0
    found = rank_correlations(a, b)
    for number in range(3):
        assert found[number] == pytest.approx(
            spearmanr(np.abs(a[number]).ravel(), np.abs(b[number]).ravel())[0], abs=1e-6
        )
    assert np.isnan(found[3])  # the map itself says nothing
    assert found[4] == 0  # nothing is left of it
    assert np.allclose(rank_correlations(a[:3], -3 * a[:3]), 1)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.1, 0.2, 0.0, 0.1], "rest on what was learned"),
        ([1.0, 1.0, 0.99, 1.0], "what any such network would"),
        ([0.1, 0.9, 0.2, 0.9], "is open"),
        ([0.1], "on one scan"),
        ([np.nan, np.nan], "could not be checked"),
    ],
)
def test_the_sentence_follows_the_last_stage(values, text):
    correlations = np.stack([np.full(len(values), 0.5), np.full(len(values), 0.5), values], axis=1).astype(np.float32)
    ids = np.array([str(n) for n in range(len(values))])
    maps = np.eye(4, dtype=np.float32)[None].repeat(len(values), axis=0)
    found = Saliency("occlusion", "mass", ids, maps, correlations, np.full(len(values), np.nan, np.float32))
    assert text in found.sentence()
    even = dataclasses.replace(found, maps=maps * 0)
    assert "nothing in these scans speaks for the label" in even.sentence()
    if len(values) == 4:
        score = found.correlation()
        assert score.low <= score.value <= score.high


@pytest.fixture
def run(tiny):
    """A finished run with a file in the place of its weights."""
    run = finish_run(tiny, 0.3)
    (run.path / "model.weights.h5").write_bytes(b"weights")
    return open_run(run.id)


def made(method, label, ids, side=16, seed=0):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(len(ids), side, side)).astype(np.float32)
    correlations = rng.random((len(ids), len(STAGES))).astype(np.float32)
    return Saliency(method, label, np.array(ids, str), maps, correlations, maps[:, 0, 0])


@pytest.fixture
def child(monkeypatch):
    """In the place of the process: it makes maps, and lists what it was asked for."""
    asked = []

    def work(run, request, progress):
        for task in request["maps"]:
            asked.append((task["label"], task["method"], task["ids"]))
            save_saliency(run, made(task["method"], task["label"], task["ids"]))

    monkeypatch.setattr(saliency, "ask_child", work)
    return asked


def test_what_is_kept_is_not_computed_again(run, child):
    ids = ["0001.png", "0003.png"]
    (first,) = explain(run, {"mass": ids}, ["occlusion"])
    path = saliency.saliency_path(run, "occlusion", "mass")
    assert path.name == "occlusion-1-mass.npz"
    stamp = path.stat().st_mtime_ns
    (again,) = explain(run, {"mass": ids[::-1]}, ["occlusion"])
    assert path.stat().st_mtime_ns == stamp
    assert len(child) == 1
    assert again.ids.tolist() == ids[::-1]
    assert np.array_equal(again.maps[::-1], first.maps)
    assert np.array_equal(again.correlations[::-1], first.correlations)
    explain(run, {"mass": [*ids, "0005.png"], "edema": ids}, ["occlusion"])
    assert child[1:] == [("mass", "occlusion", ["0005.png"]), ("edema", "occlusion", ids)]


@pytest.mark.parametrize("damage", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_damaged_file_and_other_weights_are_computed_again(run, child, damage):
    ids = ["0001.png"]
    explain(run, {"mass": ids}, ["occlusion"])
    saliency.saliency_path(run, "occlusion", "mass").write_bytes(damage)
    assert len(explain(run, {"mass": ids}, ["occlusion"])[0].ids) == 1
    assert len(child) == 2
    (run.path / "model.weights.h5").write_bytes(b"learned more")
    assert len(explain(run, {"mass": ids}, ["occlusion"])[0].ids) == 1
    assert len(child) == 3


def test_a_file_stays_small_and_keeps_the_newest(run, monkeypatch):
    monkeypatch.setattr(saliency, "MOST_BYTES", 0)
    for start in range(0, 40, 10):
        save_saliency(run, made("occlusion", "mass", [f"{n:04d}.png" for n in range(start, start + 10)]))
    kept = open_saliency(run, "occlusion", "mass")
    assert kept.ids.tolist() == [f"{n:04d}.png" for n in range(24, 40)]
    assert len(list((run.path / "saliency").iterdir())) == 1


def test_labels_of_any_name_have_a_file_of_their_own(run, monkeypatch):
    names = ("a/b", "a b", "../../x", "é" * 300)
    monkeypatch.setattr(type(run), "label_names", names)
    paths = {saliency.saliency_path(run, "occlusion", name) for name in names}
    assert len(paths) == len(names)
    assert {path.parent for path in paths} == {run.path / "saliency"}
    assert all(len(path.name) < 80 for path in paths)


def test_hardest_scans_are_the_farthest_from_the_truth(run, tiny):
    part = tiny.split("val")
    truth, score = part.labels.copy(), np.full(part.labels.shape, 0.5, np.float32)
    score[7, 1] = 1 - truth[7, 1]
    truth[9, 1], score[9, 1] = np.nan, 1
    ids = part.samples["id"].to_numpy(str)
    run.save_predictions({"val": Predictions(ids, truth, score)})
    assert hardest(run, "val", "mass", 2)[0] == ids[7]
    assert ids[9] not in hardest(run, "val", "mass", 100)
    truth[:, 1] = np.nan
    run.save_predictions({"val": Predictions(ids, truth, score)})
    with pytest.raises(RequestError, match="'mass' is known of no scan of val"):
        hardest(run, "val", "mass", 2)
    with pytest.raises(RequestError, match="no predictions for the split 'test'"):
        hardest(run, "test", "mass", 2)


@pytest.mark.parametrize(
    ("wanted", "methods", "message"),
    [
        ({"mass": ["none.png"]}, ["occlusion"], "unknown sample of dataset 'tiny' 'none.png'"),
        ({"masss": ["0001.png"]}, ["occlusion"], "did you mean mass"),
        ({"mass": ["0001.png"]}, ["ocllusion"], "unknown saliency method 'ocllusion'; did you mean occlusion"),
        ({"mass": ["0001.png"]}, ["grad-cam"], "fcnn-1 has no convolution, so there is no Grad-CAM"),
    ],
)
def test_wrong_requests_start_nothing(run, child, wanted, methods, message):
    with pytest.raises(RequestError, match=message):
        explain(run, wanted, methods)
    assert not child


def test_runs_that_cannot_be_looked_into_say_why(tiny, run):
    with pytest.raises(RequestError, match="k-nn is a baseline"):
        check_inspectable(finish_run(tiny, architecture="k-nn"))
    bare = finish_run(tiny)
    with pytest.raises(RequestError, match=r"has no model\.weights\.h5; train again"):
        check_inspectable(bare)
    bare.update_status(state="stopped")
    with pytest.raises(RequestError, match=r"it was stopped before its network was written; resume it"):
        check_inspectable(bare)
    bare.update_status(state="queued")
    with pytest.raises(RequestError, match="it is queued"):
        check_inspectable(bare)
    record = datasets_dir() / "tiny" / "dataset.json"
    record.write_text(record.read_text().replace(run.fingerprint, "f" * 16))
    with pytest.raises(RequestError, match=rf"run {run.id} is stale"):
        check_inspectable(run)


def test_without_weights_an_onnx_file_answers_occlusion(tiny):
    run = finish_run(tiny, 0.3)
    save_mean(run.path / "model.onnx", input_shape(run.config, tiny), outputs=3)
    told = []
    ids = ["0001.png", "0002.png"]
    (found,) = explain(run, {"mass": ids}, ["occlusion"], progress=lambda *done: told.append(done))
    assert found.maps.shape == (2, 16, 16)
    assert np.abs(found.maps).max() > 0
    assert told == [(1, 2), (2, 2)]
    assert "could not be checked" in found.sentence()
    assert len(open_saliency(run, "occlusion", "mass").ids) == 2
    with pytest.raises(RequestError, match=r"has no model\.weights\.h5"):
        explain(run, {"mass": ids}, ["integrated-gradients"])


def test_stopping_kills_the_child(run):
    class StopError(Exception):
        pass

    def stop(done, total):
        raise StopError

    before = set(psutil.Process(os.getpid()).children(recursive=True))
    begun = time.monotonic()
    with pytest.raises(StopError):
        ask_child(run, {"maps": []}, stop)
    assert time.monotonic() - begun < 5
    assert set(psutil.Process(os.getpid()).children(recursive=True)) <= before


def test_overlays_are_orange_for_and_blue_against():
    images = np.full((2, 8, 8, 1), 100, np.uint8)
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, :4], maps[0, 4:6] = 5, -5
    found = overlay(images, maps)
    assert (found.shape, found.dtype) == ((2, 8, 8, 3), np.uint8)
    red, _, blue = found[0].astype(int).transpose(2, 0, 1)
    assert (red[:4] > blue[:4]).all()
    assert (red[4:6] < blue[4:6]).all()
    assert (found[0, 6:] == 100).all()
    assert (found[1] == 100).all()  # a map of nothing


def test_the_command(medwb, run, child, tmp_path):
    out = tmp_path / "maps.png"
    asked = ("explain", run.id, "--label", "mass", "--methods", "occlusion,integrated-gradients")
    status, _, err = medwb(*asked, "--hardest", 3, "--out", out)
    assert status == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "Occlusion: " in err
    facts = json.loads(medwb(*asked, "--hardest", 3, "--json")[1])
    assert facts["run"] == run.id
    assert [row["method"] for row in facts["maps"]] == ["occlusion", "integrated-gradients"]
    assert set(facts["maps"][0]["rank_correlation"]) == set(STAGES)
    assert facts["maps"][0]["rank_correlation"]["all layers"]["value"] is not None
    assert len(facts["maps"][0]["ids"]) == 3
    for wrong, message in (
        (("--samples", "x.png"), "unknown sample"),
        (("--samples", "0001.png", "--hardest", 2), "exclude one another"),
        (("--out", tmp_path / "maps.jpg"), "must be a .png"),
        (("--split", "vall"), "no predictions for the split 'vall'"),
    ):
        status, _, err = medwb(*asked, *wrong)
        assert status == 2
        assert message in err


def test_digests_tell_networks_apart(tiny, run):
    first = network_digest(run, 0)
    (run.path / "model.weights.h5").write_bytes(b"weighty")
    assert network_digest(run, 0) != first


def small_network(shape=(6, 6, 1), outputs=2, categorical=False):
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    head = [layers.Dense(2 * outputs), layers.Reshape((outputs, 2))] if categorical else [layers.Dense(outputs)]
    hidden = [layers.Conv2D(3, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input(shape, dtype="uint8"), layers.Rescaling(1 / 255), *hidden, *head])


@pytest.mark.slow
@pytest.mark.parametrize("categorical", [False, True])
def test_a_made_network_against_numpy(categorical):
    from scipy.signal import correlate2d

    from medwb.training.explain import KerasView

    network = small_network(categorical=categorical)
    (kernel, bias), (dense, offset) = network.layers[1].get_weights(), network.layers[3].get_weights()
    if categorical:
        dense, offset = dense[:, 3] - dense[:, 2], offset[3] - offset[2]
    else:
        dense, offset = dense[:, 1], offset[1]
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1)).astype(np.float32)
    view = KerasView(network, categorical, 1)
    for number, image in enumerate(images[..., 0] / 255):
        maps = np.stack(
            [np.maximum(correlate2d(image, kernel[:, :, 0, k], "valid") + bias[k], 0) for k in range(3)], axis=2
        )
        found, gradients = view.maps(images[number : number + 1])
        assert np.allclose(found[0], maps, atol=1e-5)
        assert np.allclose(gradients[0], dense / 16, atol=1e-6)
        assert view.log_odds(images[number : number + 1])[0] == pytest.approx(
            maps.mean(axis=(0, 1)) @ dense + offset, abs=1e-5
        )
        coarse = np.maximum((maps * dense / 16).sum(axis=2), 0)
        cam = SALIENCY_METHODS.get("grad-cam").compute(view, images[number : number + 1])[0]
        import cv2

        assert np.allclose(cam, cv2.resize(coarse, (6, 6)), atol=1e-6)
    answers = np.asarray(network(images.astype(np.uint8), training=False))[:, 1]
    expected = answers[:, 1] - answers[:, 0] if categorical else answers
    assert np.allclose(view.log_odds(images), expected, atol=1e-5)
    step = np.float32(0.5)
    up, down = images.copy(), images.copy()
    up[:, 2, 3], down[:, 2, 3] = up[:, 2, 3] + step, down[:, 2, 3] - step
    numeric = view.log_odds(up) - view.log_odds(down)
    assert np.allclose(view.gradients(images)[:, 2, 3, 0], numeric, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medwb-small", "cnn-2", "resnet-18", "mobilenet-v3-s", "convnext-tiny", "vit-tiny"])
def test_networks_of_every_family_show_maps_or_say_why_not(name):
    from medwb.architectures import ARCHITECTURES
    from medwb.config import make_config
    from medwb.training.explain import KerasView
    from medwb.training.network import build_network

    config = make_config({"dataset": "none", "architecture": name})
    network = build_network(ARCHITECTURES.get(name), (64, 64, 1), 2, config)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.float32)
    view = KerasView(network, False, 1)
    assert np.allclose(
        view.log_odds(images), np.asarray(network(images.astype(np.uint8), training=False))[:, 1], atol=1e-3
    )
    assert np.isfinite(view.gradients(images)).all()
    if name == "vit-tiny":
        with pytest.raises(RequestError, match="by attention"):
            view.maps(images)
        return
    maps, gradients = view.maps(images)
    assert maps.shape == gradients.shape
    assert max(maps.shape[1:3]) > 1
    assert np.abs(gradients).max() > 0


@pytest.mark.slow
def test_a_trained_run_is_explained_checked_and_kept(home):
    from test_scoring import trained

    import medwb.training.explain as child

    tiny = write_dataset(samples=600, side=32)
    run = trained(tiny, architecture="medwb-small", min_updates=300)
    part = tiny.split("val")
    ids = part.samples["id"][part.samples["mass"] == 1].tolist()[:6]
    for name in METHODS:
        child.write_maps(run, tiny, {"label": "mass", "method": name, "ids": ids}, lambda passes: None)
    found = explain(run, {"mass": ids}, METHODS)
    stamps = [saliency.saliency_path(run, name, "mass").stat().st_mtime_ns for name in METHODS]
    assert [one.method for one in found] == METHODS
    for one in found:
        assert (one.maps >= 0).all() or SALIENCY_METHODS.get(one.method).signed
        assert abs(one.correlation().value) < 0.6, one.method
    complete = next(one for one in found if SALIENCY_METHODS.get(one.method).complete)
    assert np.abs(complete.gaps).max() <= 0.05 * np.abs(complete.maps).sum(axis=(1, 2)).max()
    explain(run, {"mass": ids}, METHODS)
    assert [saliency.saliency_path(run, name, "mass").stat().st_mtime_ns for name in METHODS] == stamps


@pytest.mark.slow
def test_a_map_of_edges_fails_the_check_and_a_gradient_passes(tiny, monkeypatch):
    """A method that never asks the network gives the same map whatever was learned."""
    from test_scoring import trained

    import medwb.training.explain as child

    run, ids = trained(tiny), ["0001.png", "0002.png", "0003.png"]
    gradients = SALIENCY_METHODS.get("integrated-gradients")
    child.write_maps(run, tiny, {"label": "mass", "method": gradients.name, "ids": ids}, lambda passes: None)
    honest = open_saliency(run, gradients.name, "mass")

    def edges(view, images):
        return np.abs(np.gradient(images[..., 0], axis=1)).astype(np.float32)

    fake = dataclasses.replace(gradients, compute=edges, complete=False)
    monkeypatch.setitem(SALIENCY_METHODS._entries, gradients.name, fake)
    child.write_maps(run, tiny, {"label": "mass", "method": gradients.name, "ids": ids}, lambda passes: None)
    blind = open_saliency(run, gradients.name, "mass")
    assert np.allclose(blind.correlations, 1)
    assert "what any such network would" in blind.sentence()
    assert honest.correlation().high < 0.9


@pytest.mark.slow
def test_the_child_says_in_one_line_what_is_wrong(tiny):
    from test_scoring import trained

    run = trained(tiny, heads="per-label", loss="categorical")
    told = []
    (found,) = explain(
        run, {"effusion": ["0001.png"]}, ["integrated-gradients"], progress=lambda *at: told.append(at)
    )
    assert np.isfinite(found.maps).all()
    assert told[-1] == (1, 1)
    assert max(total for _, total in told) > 1
    (run.path / "model.1.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n no more")
    with pytest.raises(RequestError, match=r"model\.1\.weights\.h5 is damaged") as raised:
        explain(run, {"mass": ["0001.png"]}, ["integrated-gradients"])
    assert "\n" not in str(raised.value)
