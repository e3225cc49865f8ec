import hashlib
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from medwb.architectures import (
    ARCHITECTURES,
    describe_layers,
    facts,
    select_architectures,
    total_multiply_adds,
    total_parameters,
)
from medwb.architectures.applications import APPLICATIONS
from medwb.architectures.facts import SHIPPED_SHAPES, find_facts, known_facts
from medwb.architectures.inputs import enlarged
from medwb.architectures.transformer import patch_size
from medwb.architectures.weights import check_weights, weights_digest
from medwb.config import make_config
from medwb.diagram import network_svg
from medwb.errors import RequestError

BACKBONES = [entry for entry in ARCHITECTURES if entry.backbone]
NAMES = [entry.name for entry in BACKBONES]
STANDARDISED_BY = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNUSUAL = (48, 36, 1)  # a shape whose facts are not shipped


@pytest.mark.parametrize("shape", SHIPPED_SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_facts_of_usual_shapes_are_shipped(name, shape):
    rows = describe_layers(ARCHITECTURES.get(name), shape, 3)
    assert rows[0].input_shape == shape
    assert 4 <= len(rows) <= 20
    assert rows[-1].output_shape == (3,)
    assert rows[-1].parameters == 3 * (rows[-2].output_shape[0] + 1)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [  # of 224 x 224 pixels in three channels with 1000 outputs, as their papers and ports give them
        ("alexnet", 61_100_840, 0.71e9),
        ("resnet-18", 11_689_512, 1.81e9),
        ("resnet-50", 25_557_032, 3.86e9),
        ("densenet-121", 7_978_856, 2.83e9),
        ("efficientnet-b0", 5_288_548, 0.39e9),
        ("convnext-tiny", 28_589_128, 4.46e9),
        ("vit-tiny", 5_679_400, 1.25e9),  # without its class token, and with fixed positions
    ],
)
def test_sizes_are_those_that_are_published(name, parameters, multiply_adds):
    rows = describe_layers(ARCHITECTURES.get(name), (224, 224, 3), 1000)
    assert total_parameters(rows) == pytest.approx(parameters, rel=0.015)  # running statistics are counted here
    assert total_multiply_adds(rows) == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_too_small_scans_and_odd_channels_are_refused(name):
    with pytest.raises(RequestError, match=f"{name} cannot take 27 x 64 pixels: it needs 28"):
        describe_layers(ARCHITECTURES.get(name), (27, 64, 1), 3)
    with pytest.raises(RequestError, match="takes 1 or 3 channels, not 2"):
        describe_layers(ARCHITECTURES.get(name), (64, 64, 2), 3)


def test_enlarging_keeps_proportions():
    assert enlarged((28, 28, 1), 32) == (32, 32)
    assert enlarged((28, 56, 1), 32) == (32, 64)
    assert enlarged((64, 32, 3), 32) == (64, 32)


def test_patches_are_small_on_small_scans():
    assert [patch_size(side) for side in (28, 64, 65, 96, 97, 224)] == [4, 4, 8, 8, 16, 16]


def test_families_select_them():
    assert {entry.name for entry in select_architectures(["classic", "residual", "mobile", "transformer"])} == set(
        NAMES
    )


def test_describing_loads_no_tensorflow():
    code = (
        "import sys; from medwb.architectures import ARCHITECTURES, describe_layers\n"
        "assert all(describe_layers(e, (64, 64, 1), 3) for e in ARCHITECTURES if e.backbone)\n"
        "assert not set(sys.modules) & {'tensorflow', 'keras', 'h5py', 'numpy'}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def child(monkeypatch):
    """Stands for the process with Keras; counts how often it is asked."""
    rows = [["Stem: conv", [48, 36, 1], [24, 18, 8], 80, 34560], ["Features", [24, 18, 8], [8], 0, 0]]
    answer = SimpleNamespace(stdout=f"noise\n{json.dumps(rows)}\n", stderr="", returncode=0, asked=0)

    def run(command, **options):
        answer.asked += 1
        return answer

    monkeypatch.setattr(facts.subprocess, "run", run)
    return answer


def test_unusual_facts_are_asked_for_once(home, child):
    entry = ARCHITECTURES.get("resnet-18")
    assert describe_layers(entry, UNUSUAL, 3) == []
    assert "not known yet for 48 × 36 × 1 pixels" in network_svg(entry, UNUSUAL, 3)
    found = find_facts(entry, UNUSUAL)
    assert [row.label for row in found] == ["Stem: conv", "Features"]
    assert find_facts(entry, UNUSUAL) == found
    assert child.asked == 1
    assert [row.label for row in describe_layers(entry, UNUSUAL, 3)] == ["Stem: conv", "Features", "Dense 3, linear"]
    assert "Stem: conv" in network_svg(entry, UNUSUAL, 3)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"source": "x"}', '{"source": "x", "layers": [[1]]}', "null"])
def test_kept_facts_that_are_damaged_are_found_anew(home, child, damage):
    entry = ARCHITECTURES.get("resnet-18")
    found = find_facts(entry, UNUSUAL)
    (kept,) = (home / "cache" / "architectures").glob("resnet-18-48x36x1-*.json")
    kept.write_text(damage)
    assert known_facts(entry, UNUSUAL) == []
    assert find_facts(entry, UNUSUAL) == found
    assert child.asked == 2
    assert known_facts(entry, UNUSUAL) == found


def test_facts_that_cannot_be_kept_are_found_all_the_same(home, child):
    home.mkdir()
    (home / "cache").write_text("in the way")
    assert len(find_facts(ARCHITECTURES.get("resnet-18"), UNUSUAL)) == 2


def test_a_network_that_cannot_be_built_is_one_line(home, child):
    child.stdout, child.stderr, child.returncode = "", "Traceback\nMemoryError: too large\n", 1
    with pytest.raises(RequestError, match=r"resnet-18 could not be built for 48x36x1: .*too large"):
        find_facts(ARCHITECTURES.get("resnet-18"), UNUSUAL)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("fcnn-1", "imagenet", "fcnn-1 starts from none"),
        ("k-nn", "x.h5", "k-nn starts from none"),
        ("resnet-18", "imagenet", "Keras has none for resnet-18; .* vgg-16, resnet-50"),
        ("vgg-16", "Imagenet", "'Imagenet' is no file of weights; give none, imagenet"),
        ("vgg-16", "model.keras", "'model.keras' is no file of weights"),
        ("vgg-16", "nowhere.h5", "there is no such file"),
        ("vgg-16", "/dev/null/x.h5", "no such file|cannot be read"),
    ],
)
def test_weights_that_cannot_be_are_refused_at_the_door(name, weights, message):
    with pytest.raises(RequestError, match=message):
        check_weights(ARCHITECTURES.get(name), weights)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_imagenet_is_accepted_where_keras_has_it(name):
    check_weights(ARCHITECTURES.get(name), "imagenet")
    check_weights(ARCHITECTURES.get(name), "none")


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    pickled = tmp_path / "model.h5"
    pickled.write_bytes(b"\x80\x04}q\x00.")
    for use in (lambda: check_weights(ARCHITECTURES.get("vgg-16"), str(pickled)), lambda: weights_digest(pickled)):
        with pytest.raises(RequestError, match="is no HDF5 file"):
            use()


def test_digest_is_sha256(tmp_path):
    file = tmp_path / "a.weights.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert weights_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


# From here on with Keras.


def scans(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.fixture
def keras():
    import medwb.training  # sets its backend and quiets it

    assert medwb.training
    import keras

    keras.utils.set_random_seed(0)
    yield keras
    keras.backend.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (224, 224, 1)], ids=str)
@pytest.mark.parametrize("entry", BACKBONES, ids=NAMES)
def test_builds_answers_and_is_as_its_facts_say(entry, shape, keras):
    from medwb.training.describe import describe_model

    model = entry.backbone(shape, "none")
    rows = describe_model(model)
    assert rows == known_facts(entry, shape)
    assert total_parameters(rows) == model.count_params()
    images = scans(2, *shape)
    features = model(images).numpy()
    assert features.dtype == np.float32
    assert features.shape == (2, *rows[-1].output_shape)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0
    np.testing.assert_array_equal(features, model(images, training=False))  # a call that says nothing trains nothing
    if shape[0] == 28:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(images, training=True) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
        first = next(v for v in model.trainable_variables if len(v.shape) == 4)
        before = first.numpy()
        keras.optimizers.Adam(1e-3).apply(gradients, model.trainable_variables)
        assert np.abs(first.numpy() - before).max() > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_weights_of_keras_give_the_features_of_keras(name, tmp_path, monkeypatch, keras):
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    factory = getattr(keras.applications, APPLICATIONS[name].factory)
    shape, file = (40, 40, 3), tmp_path / "downloaded_notop.h5"
    random = factory(weights=None, include_top=False, pooling="avg", input_shape=shape)
    for layer in random.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:  # as EfficientNet's file has it
            layer.set_weights([np.float32(STANDARDISED_BY[0]), np.float32(STANDARDISED_BY[1]), np.int32(0)])
    with h5py.File(file, "w") as handle:
        save_weights_to_hdf5_group(handle, random)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *_, **__: str(file))
    theirs = factory(weights="imagenet", include_top=False, pooling="avg", input_shape=shape)
    images = scans(2, *shape)
    expected = theirs(sys.modules[factory.__module__].preprocess_input(images * 255)).numpy()
    entry = ARCHITECTURES.get(name)
    for weights in (str(file), "imagenet")[: 2 if name in ("vgg-16", "efficientnet-b0", "convnext-tiny") else 1]:
        found = entry.backbone(shape, weights)(images)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_grey_is_three_equal_channels(keras, tmp_path):
    entry = ARCHITECTURES.get("mobilenet-v3-s")
    grey = entry.backbone((32, 32, 1), "none")
    grey.save_weights(tmp_path / "a.weights.h5")
    colour = entry.backbone((32, 32, 3), str(tmp_path / "a.weights.h5"))
    images = scans(2, 32, 32, 1)
    np.testing.assert_array_equal(grey(images), colour(np.repeat(images, 3, axis=-1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet-18", "convnext-tiny", "vit-tiny"])
def test_a_trained_network_is_a_start(name, keras, tmp_path):
    """A run's file, whose network has a head around the backbone, fits; another architecture's does not."""
    entry, file = ARCHITECTURES.get(name), tmp_path / "model.weights.h5"
    backbone = entry.backbone((32, 32, 1), "none")
    layers = [keras.Input((32, 32, 1), dtype="uint8"), keras.layers.Rescaling(1 / 255), backbone]
    keras.Sequential([*layers, keras.layers.Dense(6), keras.layers.Reshape((3, 2))]).save_weights(file)
    again = entry.backbone((32, 32, 1), str(file))
    images = scans(2, 32, 32, 1)
    np.testing.assert_array_equal(backbone(images), again(images))
    with pytest.raises(RequestError, match=r"do not fit vgg-11: .*loaded") as error:
        ARCHITECTURES.get("vgg-11").backbone((32, 32, 1), str(file))
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.slow
def test_files_that_do_not_fit_are_named(keras, tmp_path):
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    vit = ARCHITECTURES.get("vit-tiny")
    vit.backbone((32, 32, 1), "none").save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(RequestError, match=r"small.weights.h5 do not fit vit-tiny"):  # its patches are larger
        vit.backbone((112, 112, 1), str(tmp_path / "small.weights.h5"))
    with h5py.File(tmp_path / "other.h5", "w") as handle:
        save_weights_to_hdf5_group(handle, ARCHITECTURES.get("vgg-11").backbone((32, 32, 1), "none"))
    with pytest.raises(RequestError, match=r"other.h5 do not fit vgg-16: .*[Ll]ayer"):
        ARCHITECTURES.get("vgg-16").backbone((32, 32, 1), str(tmp_path / "other.h5"))
    (tmp_path / "cut.weights.h5").write_bytes((tmp_path / "small.weights.h5").read_bytes()[:5000])
    with pytest.raises(RequestError, match=r"cut.weights.h5 do not fit vit-tiny"):
        vit.backbone((32, 32, 1), str(tmp_path / "cut.weights.h5"))


@pytest.mark.slow
def test_without_a_network_imagenet_is_refused_in_one_line(keras, monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise Exception("URL fetch failure on https://host/vgg16.h5: None -- no route")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    with pytest.raises(RequestError, match=r"vgg-16's cannot be downloaded .*https://host/vgg16\.h5.*give its path"):
        ARCHITECTURES.get("vgg-16").backbone((32, 32, 1), "imagenet")


@pytest.mark.slow
def test_the_process_describes_and_refuses(home):
    command = [sys.executable, "-m", "medwb.training.describe"]
    found = find_facts(ARCHITECTURES.get("mobilenet-v3-s"), UNUSUAL)
    assert total_parameters(found) == total_parameters(known_facts(ARCHITECTURES.get("mobilenet-v3-s"), (64, 64, 1)))
    answer = subprocess.run([*command, "fcnn-1", "64", "64", "1"], capture_output=True, text=True)
    assert answer.returncode == 2
    assert "fcnn-1 is no backbone" in answer.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("frozen", ["logistic", "k-nn"])
def test_frozen_features_learn(frozen, tiny, keras, tmp_path):
    from medwb.metrics import average, evaluate
    from medwb.runs import create_run
    from medwb.training.data import RunData
    from medwb.training.features import train_frozen
    from medwb.training.reporting import Reporter

    file = tmp_path / "start.weights.h5"
    ARCHITECTURES.get("vgg-11").backbone((32, 32, 1), "none").save_weights(file)
    settings = {"dataset": "tiny", "architecture": "vgg-11", "image_size": 32, "weights": str(file), "frozen": frozen}
    run = create_run(make_config(settings), tiny)
    data = RunData(tiny, run.config)
    data.train.labels[:40, 0] = np.nan  # unknown
    data.train.labels[:, 2] = 1  # one answer only
    with Reporter(run) as reporter:
        scores = train_frozen(run, data, reporter)
    assert {split: found.shape for split, found in scores.items()} == {
        split: (len(tiny.split(split)), 3) for split in tiny.splits
    }
    assert all(((found >= 0) & (found <= 1)).all() for found in scores.values())
    quality = evaluate("roc_auc", tiny.split("val").labels[:, :2], scores["val"][:, :2])
    assert average(quality, "macro")[0] > 0.8
    assert (scores["val"][:, 2] == 1).all()

    with Reporter(run) as reporter:
        reporter.stop_requested = True
        assert train_frozen(run, data, reporter) is None
        assert reporter.stopped


@pytest.mark.slow
def test_shares_of_votes_count_in_part():
    from medwb.training.features import _fit

    features = np.array([[-2.0], [-1], [1], [2]] * 50, np.float32)
    sure, split = np.array([0, 0, 1, 1] * 50, np.float32), np.array([0.25, 0.25, 0.75, 0.75] * 50, np.float32)
    for kind in ("logistic", "k-nn"):
        high, less = (_fit(kind, features, truth, balanced=False)(features).max() for truth in (sure, split))
        assert 0.5 < less < high
