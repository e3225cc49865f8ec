"""Transforms that blur and sharpen."""

from medwb.augment.transform import Values, transform
from medwb.images import Pixels
from medwb.params import Param, ends


@transform(
    "median-blur",
    title="Median blur",
    family="pixels",
    params=[Param("radius", 1, 7, 1, 1, "The square has 2 radius + 1 pixels a side.", "px", until=1)],
    code=lambda settings, size: (
        f"A.MedianBlur(blur_limit={tuple(int(2 * end + 1) for end in ends(settings['radius']))}, p={settings['p']:g})"
    ),
)
def median_blur(image: Pixels, values: Values) -> Pixels:
    """Puts the median of the pixels around it in place of each."""
    import cv2

    return cv2.medianBlur(image, int(2 * values["radius"] + 1)).reshape(image.shape)
