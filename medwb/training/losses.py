"""Losses of logits, one number a sample and label."""

from collections.abc import Callable, Mapping

import tensorflow as tf

from medwb.config import RunConfig

_FOCUS = 2.0
_ASYMMETRIC_FOCUS, _MARGIN = 4.0, 0.05


def element_losses(logits: tf.Tensor, targets: tf.Tensor, config: RunConfig) -> tf.Tensor:
    """The loss that a config names.

    Args:
        logits: float32 (B, L), or (B, L, 2) for the categorical loss.
        targets: float32 (B, L) in 0..1.
        config: `loss` and `label_smoothing`.

    Returns:
        float32 (B, L).
    """
    smoothing = config.label_smoothing
    return _LOSSES[config.loss](logits, targets * (1 - smoothing) + smoothing / 2)


def _binary(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)


def _categorical(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(tf.stack([1 - targets, targets], axis=-1), logits)


def _focal(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross-entropy times the squared probability of the wrong answer (Lin et al., Focal loss, 2017), no alpha."""
    yes = tf.sigmoid(logits)
    positive = targets * (1 - yes) ** _FOCUS * tf.nn.softplus(-logits)
    return positive + (1 - targets) * yes**_FOCUS * tf.nn.softplus(logits)


def _asymmetric(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Easy negatives weigh little, and those under a margin nothing (Ridnik et al., Asymmetric loss, 2021)."""
    shifted = tf.maximum(tf.sigmoid(logits) - _MARGIN, 0.0)
    negative = -(shifted**_ASYMMETRIC_FOCUS) * tf.math.log(1 - shifted)
    return targets * tf.nn.softplus(-logits) + (1 - targets) * negative


_LOSSES: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "binary": _binary,
    "categorical": _categorical,
    "focal": _focal,
    "asymmetric": _asymmetric,
}
