"""Ways to ask which pixels of a scan a network's answer rests on, and the check whether a map rests on the network.

What is explained is the log odds of one label, the logit of its score: scores near 0 and 1 hardly move, log odds do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medwb.registry import Registry

Floats = npt.NDArray[np.float32]

IG_STEPS = 32
"""Gradients between the baseline and the scan that integrated gradients average."""

STAGES = ("output layer", "upper half", "all layers")
"""What is re-initialised, from the top down, in the model-randomisation check."""

_PATCHES = 8  # along a side


class View(Protocol):
    """A network as the methods see it: float32 scans (N, H, W, C) in 0..255 in, the log odds of one label out."""

    def log_odds(self, images: Floats) -> Floats:
        """float32 (N,)."""

    def gradients(self, images: Floats) -> Floats:
        """Of the log odds by the pixels: float32 (N, H, W, C)."""

    def maps(self, images: Floats) -> tuple[Floats, Floats]:
        """The last convolution's maps, and the gradients of the log odds by them: float32 (N, h, w, K) each.

        Raises:
            RequestError: The network has no such convolution.
        """


Compute = Callable[[View, Floats], Floats]


@dataclass(frozen=True)
class SaliencyMethod:
    """One method.

    Attributes:
        name: What the command line calls it.
        title: How a page writes it.
        summary: First line of its docstring.
        signed: Whether negative values speak against the label; otherwise there are none.
        answers_only: Whether it needs no gradients, so that an ONNX file is enough.
        complete: Whether a map adds up to the log odds of the scan less those of a black one.
        cost: About how many passes through the network a scan takes.
        compute: From a view and float32 (N, H, W, C) in 0..255 to float32 (N, H, W).
    """

    name: str
    title: str
    summary: str
    signed: bool
    answers_only: bool
    complete: bool
    cost: int
    compute: Compute


SALIENCY_METHODS: Registry[SaliencyMethod] = Registry("saliency method")


def saliency_method(
    name: str, *, title: str, signed: bool, cost: int, answers_only: bool = False, complete: bool = False
) -> Callable[[Compute], Compute]:
    """Register the decorated function as a method; its attributes are those of `SaliencyMethod`."""

    def register(compute: Compute) -> Compute:
        summary = (compute.__doc__ or "").strip().split("\n")[0]
        entry = SaliencyMethod(name, title, summary, signed, answers_only, complete, cost, compute)
        SALIENCY_METHODS.add(name, entry)
        return compute

    return register


@saliency_method("grad-cam", title="Grad-CAM", signed=False, cost=3)
def grad_cam(view: View, images: Floats) -> Floats:
    """Where the maps of the last convolution speak for the label; coarse, and never negative.

    Each map weighs as much as its gradient on average; what is left of the sum above 0 is enlarged bilinearly. The
    last convolution is the last that tells places apart, with the normalisation, activation and shortcut behind it.
    Selvaraju et al. 2017, arXiv:1610.02391.
    """
    import cv2

    maps, gradients = view.maps(images)
    weights = gradients.mean(axis=(1, 2), dtype=np.float64)
    coarse = np.maximum(np.einsum("nhwk,nk->nhw", maps, weights), 0).astype(np.float32)
    height, width = images.shape[1:3]
    found = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in coarse]
    return np.stack(found).astype(np.float32) if found else np.zeros((0, height, width), np.float32)


@saliency_method("integrated-gradients", title="Integrated gradients", signed=True, cost=3 * IG_STEPS, complete=True)
def integrated_gradients(view: View, images: Floats) -> Floats:
    """What each pixel adds to the log odds on the way from a black scan: above 0 for the label, below against it.

    The gradients at 32 points on the straight way, each in the middle of its part, times the pixel; the channels are
    added up. The map's sum is the log odds of the scan less those of a black one. Black pixels get 0 by
    construction. Sundararajan et al. 2017, arXiv:1703.01365.
    """
    total = np.zeros(images.shape, np.float64)
    for step in range(IG_STEPS):
        total += view.gradients(images * np.float32((step + 0.5) / IG_STEPS))
    return (total / IG_STEPS * images).sum(axis=3).astype(np.float32)


@saliency_method("occlusion", title="Occlusion", signed=True, cost=_PATCHES**2, answers_only=True)
def occlusion(view: View, images: Floats) -> Floats:
    """How much the log odds fall when a patch is covered: above 0 the patch speaks for the label, below against it.

    Patches an eighth of a side wide, side by side, are filled with the scan's mean, one at a time; where the side is
    no multiple of that, the last two overlap and a pixel gets the mean of both. Zeiler and Fergus 2014,
    arXiv:1311.2901.
    """
    height, width = images.shape[1:3]
    whole, fill = view.log_odds(images), images.mean(axis=(1, 2), keepdims=True)
    total, covered = np.zeros(images.shape[:3], np.float64), np.zeros((height, width))
    for rows in patches(height):
        for columns in patches(width):
            hidden = images.copy()
            hidden[:, rows, columns] = fill
            total[:, rows, columns] += (whole - view.log_odds(hidden))[:, None, None]
            covered[rows, columns] += 1
    return (total / covered).astype(np.float32)


def patches(side: int) -> list[slice]:
    """The patches along a side of so many pixels: an eighth of it wide, at least a pixel, covering it all."""
    wide = max(1, side // _PATCHES)
    starts = [*range(0, side - wide + 1, wide)]
    if starts[-1] + wide < side:
        starts.append(side - wide)
    return [slice(start, start + wide) for start in starts]


def rank_correlations(a: Floats, b: Floats) -> Floats:
    """Spearman's rank correlation of the absolute values of two maps of each scan.

    A map that says the same of every pixel has no order. Where `a` is one, nothing can be said: NaN. Where only `b`
    is one, nothing of `a` is left: 0.

    Args:
        a: float (N, H, W).
        b: As many.

    Returns:
        float32 (N,) in -1..1.
    """
    from scipy.stats import rankdata

    result = np.full(len(a), np.nan, np.float32)
    for number, pair in enumerate(zip(a, b, strict=True)):
        first, second = (rankdata(np.abs(one).ravel()) for one in pair)
        first, second = first - first.mean(), second - second.mean()
        spread = float(np.sqrt((first @ first) * (second @ second)))
        if first.any():
            result[number] = first @ second / spread if spread else 0.0
    return result
