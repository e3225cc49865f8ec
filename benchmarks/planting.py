"""Copies of scans with a known distortion."""

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

KINDS = ("shift", "turn", "crop", "brightness", "jpeg", "blur")
"""What `distort` can do to a frame."""


def distort(frame: Frame, kind: str, rng: np.random.Generator) -> Frame:
    """A copy of a frame (H, W), moderately changed in one way; lengths are of a frame of 64 x 64 pixels.

    shift: 1 to 3 pixels in each direction. turn: 2 to 5 degrees. crop: enlarged by 4 to 12 %, a little off the
    middle. brightness: contrast times 0.8 to 1.2 and up to 20 grey levels up or down. jpeg: quality 40 to 70.
    blur: a Gaussian of 0.6 to 1.0 pixels. Either sign is drawn.
    """
    if kind == "shift":
        right, down = rng.uniform(1, 3, 2) * rng.choice([-1, 1], 2)
        return moved(frame, right=right, down=down)
    if kind == "turn":
        return moved(frame, degrees=rng.uniform(2, 5) * rng.choice([-1, 1]))
    if kind == "crop":
        zoom = rng.uniform(1.04, 1.12)
        right, down = rng.uniform(-1, 1, 2) * (zoom - 1) * 16
        return moved(frame, right=right, down=down, zoom=zoom)
    if kind == "brightness":
        return toned(frame, rng.uniform(0.8, 1.2), rng.uniform(-20, 20))
    if kind == "jpeg":
        _, code = cv2.imencode(".jpeg", frame, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 71))])
        return cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
    if kind == "blur":
        return cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.6, 1.0) * frame.shape[1] / 64)
    raise ValueError(f"unknown distortion {kind!r}")


def moved(frame: Frame, right: float = 0.0, down: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Frame:
    """The frame turned and enlarged about its centre, then moved by so many pixels of 64; the edge is repeated."""
    height, width = frame.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, zoom)
    matrix[:, 2] += right * width / 64, down * height / 64
    return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def toned(frame: Frame, contrast: float, brightness: float) -> Frame:
    """The frame with another contrast about its mean and another brightness, in grey levels."""
    mean = float(frame.mean())
    return np.clip((frame - mean) * contrast + mean + brightness, 0, 255).astype(np.uint8)
