"""Losses and the update, each held against what Keras or a few lines of numpy give."""

import numpy as np
import pytest

from medwb.architectures import ARCHITECTURES
from medwb.config import make_config

pytestmark = pytest.mark.slow
LOGITS = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)
TARGETS = np.random.default_rng(1).choice([0, 1, 0.3], (50, 4)).astype(np.float32)
YES = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))


def config(**settings):
    return make_config({"dataset": "any", "architecture": "fcnn-1", "recipe": "reference", **settings})


def found(logits=LOGITS, **settings):
    from medwb.training.losses import element_losses

    return element_losses(logits, TARGETS, config(**settings)).numpy()


def expected(positive, negative):
    return TARGETS * positive + (1 - TARGETS) * negative


def test_binary_and_categorical_are_cross_entropy():
    entropy = expected(-np.log(YES), -np.log(1 - YES))
    assert found() == pytest.approx(entropy, rel=1e-4, abs=1e-6)
    assert found(np.stack([np.zeros_like(LOGITS), LOGITS], -1), loss="categorical") == pytest.approx(
        entropy, rel=1e-4, abs=1e-6
    )


def test_focal_is_keras_own_where_there_is_a_right_answer():
    import keras

    sure = (TARGETS == 0) | (TARGETS == 1)
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=2, from_logits=True, reduction=None)
    one = [
        [theirs([[t]], [[z]]).numpy()[0] for t, z in zip(*pair, strict=True)] for pair in [(TARGETS[0], LOGITS[0])]
    ]
    assert found(loss="focal")[0][sure[0]] == pytest.approx(np.array(one[0])[sure[0]], rel=1e-4)
    assert found(loss="focal") == pytest.approx(
        expected(-((1 - YES) ** 2) * np.log(YES), -(YES**2) * np.log(1 - YES)), rel=1e-3, abs=1e-6
    )


def test_asymmetric_forgets_easy_negatives():
    shifted = np.maximum(YES - 0.05, 0)
    assert found(loss="asymmetric") == pytest.approx(
        expected(-np.log(YES), -(shifted**4) * np.log(1 - shifted)), rel=1e-3, abs=1e-6
    )


def test_smoothing_pulls_targets_towards_one_half():
    pulled = TARGETS * 0.8 + 0.1
    assert found(label_smoothing=0.2) == pytest.approx(
        -pulled * np.log(YES) - (1 - pulled) * np.log(1 - YES), rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("loss", ["focal", "asymmetric", "binary"])
def test_losses_are_finite_for_extreme_logits(loss):
    extreme = np.full_like(LOGITS, 90) * np.sign(LOGITS)
    assert np.isfinite(found(extreme, loss=loss)).all()


def build(**settings):
    import keras

    from medwb.training.fit import make_optimizer, make_update
    from medwb.training.network import build_network

    chosen = config(architecture="cnn-2", **settings)
    keras.utils.set_random_seed(0)
    network = build_network(ARCHITECTURES.get("cnn-2"), (64, 64, 1), 4, chosen, chosen.precision)
    optimizer = make_optimizer(network, chosen)
    return network, optimizer, make_update(network, optimizer, chosen)


def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 64, 64, 1), dtype=np.uint8)
    return images, (rng.random((16, 4)) < 0.5).astype(np.float32), np.ones((16, 4), np.float32)


def test_gradients_are_clipped_to_the_length_asked_for():
    network, _, update = build(optimizer="sgd", clip_norm=1e-3)
    before = [variable.numpy() for variable in network.trainable_variables]
    update(*batch(), np.float32(1.0))
    moved = [a.numpy() - b for a, b in zip(network.trainable_variables, before, strict=True)]
    assert np.sqrt(sum((part.astype(np.float64) ** 2).sum() for part in moved)) == pytest.approx(1e-3, rel=1e-3)


def test_weights_shrink_and_biases_do_not():
    network, _, update = build(optimizer="sgd", weight_decay=0.1, clip_norm=1e-12)
    before = [variable.numpy() for variable in network.trainable_variables]
    update(*batch(), np.float32(1.0))
    for variable, old in zip(network.trainable_variables, before, strict=True):
        factor = 0.9 if old.ndim > 1 else 1.0
        assert variable.numpy() == pytest.approx(old * factor, abs=1e-6)


def test_the_rate_is_the_one_that_is_given():
    _, optimizer, update = build()
    update(*batch(), np.float32(0.25))
    assert float(optimizer.learning_rate) == 0.25


def test_he_weights_are_wider_for_hidden_layers_alone():
    usual, he = build()[0], build(initializer="he")[0]
    spread = [
        (a.numpy().std(), b.numpy().std())
        for a, b in zip(usual.trainable_variables, he.trainable_variables, strict=True)
        if len(a.shape) > 1
    ]
    assert all(wide > narrow for narrow, wide in spread[:-1])
    assert spread[-1][0] == pytest.approx(spread[-1][1])


def test_low_precision_learns_with_weights_that_are_not_low():
    network, _, update = build(precision="bfloat16")
    assert {variable.dtype for variable in network.variables if "seed" not in variable.path} == {"float32"}
    assert network.layers[1].compute_dtype == "bfloat16"
    assert network.outputs[0].dtype == "float32"
    images, targets, weights = batch()
    losses = [float(update(images, targets, weights, np.float32(1e-3))[0]) for _ in range(10)]
    assert losses[-1] < losses[0]
