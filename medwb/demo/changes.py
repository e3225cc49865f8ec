"""What faults do to a frame, such as turning it a little or re-encoding it."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""One frame, uint8 (H, W)."""

Change = Callable[[Image], Image]
"""Makes a new frame of the same size; leaves its argument as it is."""


def same(image: Image) -> Image:
    """The frame itself."""
    return image


def inverted(image: Image) -> Image:
    """The frame with black and white exchanged."""
    return 255 - image


def constant(grey: int) -> Change:
    """Make a change that leaves one grey value (0 to 255) everywhere."""
    return lambda image: np.full_like(image, grey)


def _warp(matrix: npt.ArrayLike) -> Change:
    placed = np.asarray(matrix, np.float64)

    def change(image: Image) -> Image:
        size = (image.shape[1], image.shape[0])
        return np.asarray(cv2.warpAffine(image, placed, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return change


def _shift(rng: np.random.Generator) -> tuple[str, Change]:
    dx, dy = (int(size * sign) for size, sign in zip(rng.integers(1, 4, 2), rng.choice([-1, 1], 2), strict=True))
    return f"shift dx={dx} dy={dy}", _warp([[1, 0, dx], [0, 1, dy]])


def _brightness(rng: np.random.Generator) -> tuple[str, Change]:
    gain = round(float(rng.choice([rng.uniform(0.75, 0.9), rng.uniform(1.1, 1.25)])), 2)
    offset = int(rng.integers(-12, 13))

    def change(image: Image) -> Image:
        return np.clip(np.rint(image * gain + offset), 0, 255).astype(np.uint8)

    return f"brightness gain={gain} offset={offset}", change


def _jpeg(rng: np.random.Generator) -> tuple[str, Change]:
    quality = int(rng.integers(50, 86))

    def change(image: Image) -> Image:
        code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)

    return f"jpeg quality={quality}", change


def _rotation(rng: np.random.Generator) -> tuple[str, Change]:
    degrees = round(float(rng.uniform(1.0, 4.0) * rng.choice([-1, 1])), 1)
    return f"rotation degrees={degrees}", _warp(cv2.getRotationMatrix2D((31.5, 31.5), degrees, 1.0))


def _crop(rng: np.random.Generator) -> tuple[str, Change]:
    margin = int(rng.integers(2, 5))
    left, top = (int(value) for value in rng.integers(0, margin + 1, 2))

    def change(image: Image) -> Image:
        height, width = image.shape
        kept = image[top : top + height - margin, left : left + width - margin]
        return np.asarray(cv2.resize(kept, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)

    return f"crop left={left} top={top} margin={margin}", change


NEAR_CHANGES: tuple[Callable[[np.random.Generator], tuple[str, Change]], ...] = (
    _shift,
    _brightness,
    _jpeg,
    _rotation,
    _crop,
)
"""What is done to near copies, in turn. Each draws its size and returns the key's detail and the change."""
