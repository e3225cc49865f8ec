"""Transforms that mix a scan with another one of the train split; its labels are mixed in the same share."""

import numpy as np

from medwb.augment.transform import Floats, Values, transform
from medwb.params import Param

Size = tuple[int, int]


def _share(values: Values) -> Floats:
    """(n,) shares of the other scan, from Beta(alpha, alpha) by the inverse of its distribution."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(values["alpha"], values["alpha"], values["share"]), np.float64)


@transform(
    "mixup",
    title="Mixup",
    family="mix",
    params=[Param("alpha", 0.05, 5, 0.2, 0.05, "Of the Beta distribution of the share: small is mostly one scan.")],
    hidden=["partner", "share"],
)
def mixup(values: Values, size: Size) -> Floats:
    """Lays another scan over the whole of this one (Zhang et al. 2018)."""
    share = _share(values)
    ends = (np.full_like(share, end) for end in (0, 0, size[1], size[0]))
    return np.stack([*ends, share], axis=1)


@transform(
    "cutmix",
    title="Cutmix",
    family="mix",
    params=[Param("alpha", 0.05, 5, 1, 0.05, "Of the Beta distribution of the box's area; 1 is any area alike.")],
    hidden=["partner", "share", "left", "top"],
)
def cutmix(values: Values, size: Size) -> Floats:
    """Puts a box of another scan in place of this one's; it is cut off at the edge (Yun et al. 2019)."""
    half = np.sqrt(_share(values)) / 2
    plan = []
    for side, centre in ((size[1], values["left"]), (size[0], values["top"])):
        plan.append([np.clip(np.rint((centre + sign * half) * side), 0, side) for sign in (-1, 1)])
    (left, right), (top, bottom) = plan
    return np.stack([left, top, right, bottom, np.ones_like(half)], axis=1)
