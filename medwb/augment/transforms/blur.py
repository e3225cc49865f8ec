"""Transforms that blur and sharpen."""

import numpy as np

from medwb.augment.transform import Values, transform
from medwb.augment.transforms.source import between, sides
from medwb.images import Pixels
from medwb.params import Param, ends

_WIDE = 80
"""Numbers in a row from which OpenCV takes the fast way through a median of 3 or 5 pixels a side: 10 times faster."""


@transform(
    "median-blur",
    title="Median blur",
    family="pixels",
    params=[Param("radius", 1, 7, 1, 1, "The square has 2 radius + 1 pixels a side.", "px", until=1)],
    code=lambda settings, size: f"A.MedianBlur(blur_limit={sides(settings['radius'])}, p={settings['p']:g})",
)
def median_blur(image: Pixels, values: Values) -> Pixels:
    """Puts the median of the pixels around it in place of each: grain goes, edges stay."""
    import cv2

    radius, (height, width, channels) = int(values["radius"]), image.shape
    missing = -(-_WIDE // channels) - width
    if radius <= 2 and missing > 0:
        # Beyond the edge the median sees a copy of it anyway, so the padding changes nothing that is kept.
        image = cv2.copyMakeBorder(image, 0, 0, 0, missing, cv2.BORDER_REPLICATE)
    return cv2.medianBlur(image, 2 * radius + 1).reshape(height, -1, channels)[:, :width]


@transform(
    "gaussian-blur",
    title="Gaussian blur",
    family="pixels",
    params=[
        Param("sigma", 0.1, 6, 0.3, 0.1, "Standard deviation of the blur; below 0.3 the scan stays.", "px", until=1)
    ],
    code=lambda settings, size: (
        f"A.GaussianBlur(blur_limit=0, sigma_limit={between(settings['sigma'])}, p={settings['p']:g})"
    ),
)
def gaussian_blur(image: Pixels, values: Values) -> Pixels:
    """Blurs the scan softly, as a detector of less resolution does."""
    import cv2

    sigma = float(values["sigma"])
    side = 2 * int(3.5 * sigma) + 1
    return image if side == 1 else cv2.GaussianBlur(image, (side, side), sigma).reshape(image.shape)


@transform(
    "sharpen",
    title="Sharpen",
    family="pixels",
    params=[
        Param("amount", 0, 0.5, 0, 0.05, "How far the pixels around are taken off; 0 leaves the scan.", until=0.1)
    ],
    code=lambda settings, size: (
        f"A.Sharpen(alpha={between(settings['amount'])}, lightness=(1, 1), p={settings['p']:g})"
    ),
)
def sharpen(image: Pixels, values: Values) -> Pixels:
    """Raises each pixel's difference from the eight around it: edges and grain stand out."""
    import cv2

    amount = float(values["amount"])
    kernel = np.full((3, 3), -amount, np.float32)
    kernel[1, 1] += 1 + 9 * amount
    return cv2.filter2D(image, -1, kernel).reshape(image.shape)


@transform(
    "motion-blur",
    title="Motion blur",
    family="pixels",
    params=[
        Param("radius", 1, 7, 1, 1, "The line has 2 radius + 1 pixels.", "px", until=1),
        Param("angle", 0, 180, 0, 0.5, "Direction, counter-clockwise from the horizontal.", "°", until=180),
    ],
    code=lambda settings, size: (
        f"A.MotionBlur(blur_limit={sides(settings['radius'])}, allow_shifted=False, direction_range=(0, 0), "
        f"angle_range={tuple(180 - end for end in reversed(ends(settings['angle'])))}, p={settings['p']:g})"
    ),
)
def motion_blur(image: Pixels, values: Values) -> Pixels:
    """Smears the scan along a line, as a patient who moves does."""
    import cv2

    radius, angle = int(values["radius"]), np.deg2rad(values["angle"])
    along = np.arange(-radius, radius + 1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    # The angle opens upwards, where y is smaller; two points of a slanting line may share a pixel.
    kernel[
        radius - np.rint(np.sin(angle) * along).astype(np.int64),
        radius + np.rint(np.cos(angle) * along).astype(np.int64),
    ] = 1
    return cv2.filter2D(image, -1, kernel / kernel.sum()).reshape(image.shape)


@transform(
    "downscale",
    title="Downscale",
    family="pixels",
    params=[Param("keep", 10, 100, 50, 0.5, "Side of the smaller scan, as a share of the scan's.", "%", until=100)],
    code=lambda settings, size: (
        f"A.Downscale(scale_range={between(settings['keep'], 0.01)}, interpolation_pair="
        f'{{"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}}, p={settings["p"]:g})'
    ),
)
def downscale(image: Pixels, values: Values) -> Pixels:
    """Makes the scan smaller and large again: fine detail is lost."""
    import cv2

    height, width = image.shape[:2]
    smaller = tuple(max(1, round(side * float(values["keep"]) / 100)) for side in (width, height))
    small = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).reshape(image.shape)
