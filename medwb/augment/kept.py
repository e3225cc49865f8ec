"""How much of what a scan shows is left after augmentation."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medwb.augment.apply import Drawn, boxes, groups, matrices, values_at
from medwb.augment.transform import Floats
from medwb.images import Pixels

_LEAST_RANGE = 8
"""Grey levels between the darkest and the brightest place below which a scan shows nothing."""
_ABOVE_DARKEST = 0.1
"""Share of that range from which a place is not background: black collimator edges and air are, lungs are not."""


def foreground(images: Pixels) -> npt.NDArray[np.bool_]:
    """Where scans show something: what is lighter than the darkest place by a tenth of the scan's range.

    A scan is smoothed over 3 x 3 pixels first, so that grain in the air does not count. Otsu's threshold would call
    the lungs of a chest X-ray background. A white background counts as shown, for it is light.

    Args:
        images: uint8 (n, H, W, C); channels are averaged.

    Returns:
        bool (n, H, W); nowhere in a scan of one grey level.
    """
    import cv2

    levels = np.empty(images.shape[:3], np.float32)
    for image, level in zip(images, levels, strict=True):
        smooth = cv2.blur(image, (3, 3))
        level[...] = smooth.mean(axis=2) if smooth.ndim == 3 else smooth
    darkest, brightest = (end(axis=(1, 2), keepdims=True) for end in (levels.min, levels.max))
    needed = np.maximum(_ABOVE_DARKEST * (brightest - darkest), 1)
    return (levels - darkest > needed) & (brightest - darkest >= _LEAST_RANGE)


def kept(images: Pixels, drawn: Sequence[Drawn]) -> Floats:
    """The share of what each scan shows that can still be seen after what was drawn.

    What was drawn is undone from the last step to the first: a hole hides what it covers, a move hides what it takes
    beyond the edge, a mixing step what the other scan covers. A place that comes back only as a reflection does not
    count. Bending (elastic, grid distortion) moves little over the edge and is taken to move nothing; blur, noise and
    grey levels hide nothing.

    Args:
        images: uint8 (n, H, W, C) before augmentation.
        drawn: What `augment_samples` or `draw` drew for them.

    Returns:
        float64 (n,) in 0..1; NaN where a scan shows nothing.
    """
    seen = np.full(images.shape[:3], 255, np.uint8)
    size = (images.shape[1], images.shape[2])
    for family, steps in reversed(groups(drawn)):
        if family == "geometry":
            _move_back(seen, steps)
        for one in reversed(steps):
            if family == "holes":
                for n, (left, top, right, bottom) in zip(*boxes(one, size), strict=True):
                    seen[n, top:bottom, left:right] = 0
            elif family == "mix":
                _mix_back(seen, one)
    shown = foreground(images)
    counts = shown.sum(axis=(1, 2))
    left_over = np.where(shown, seen, 0).sum(axis=(1, 2)) / 255
    return np.divide(left_over, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _move_back(seen: Pixels, steps: Sequence[Drawn]) -> None:
    """From how well each pixel of the moved scans (n, H, W) is seen to how well each pixel of the scans is."""
    import cv2

    size = seen.shape[1:3]
    for n, matrix in zip(*matrices(steps, size), strict=True):
        # Without WARP_INVERSE_MAP, OpenCV takes the matrix the other way round than `apply` does.
        seen[n] = cv2.warpAffine(seen[n], matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR)


def _mix_back(seen: Pixels, one: Drawn) -> None:
    where = np.flatnonzero(one.applied)
    plans = one.step.entry.function(values_at(one.values, where), seen.shape[1:3])
    for n, (left, top, right, bottom, share) in zip(where, plans, strict=True):
        part = seen[n, int(top) : int(bottom), int(left) : int(right)]
        part[...] = np.rint(part * (1 - share))
