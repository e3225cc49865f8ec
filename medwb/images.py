"""Decoding one image file, of any kind that scans come in, to 8-bit pixels."""

import io
import os
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a damaged file is reported by us, once, not by OpenCV

import cv2

Pixels: TypeAlias = npt.NDArray[np.uint8]

MAX_SIDE = 16_384
MAX_PIXELS = 100_000_000
MAX_BYTES = 400_000_000  # of one decoded image
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_TAIL = 4096  # bytes at the end of a file in which its end marker must stand


class UnreadableImage(Exception):  # noqa: N818  reported, not raised to the user
    """The file is not an image that can be used; the message says why."""


@dataclass(frozen=True)
class Decoded:
    """One decoded image.

    Attributes:
        pixels: uint8 (height, width, 1 or 3), RGB order; one channel where all channels are equal.
        mode: As found: "grey8", "rgb8", "rgba8", "palette8", "grey16", "rgb16", "rgba16", "float", "dicom".
        changes: What was done to get there, in words; "" when nothing was.
    """

    pixels: Pixels
    mode: str
    changes: str


def decode(data: bytes) -> Decoded:
    """Decode PNG, JPEG, TIFF, BMP or DICOM bytes.

    16-bit pixels become 8-bit by a whole power of two: by 256, or by 16 when the brightest pixel is below 4096
    (a 12-bit scanner in a 16-bit file). Floating-point pixels are stretched from their minimum to their maximum.
    An alpha channel is dropped. A palette is looked up.

    Raises:
        UnreadableImage: No such format, truncated, damaged, or larger than 16,384 pixels a side or 100 megapixels.
    """
    if data[128:132] == b"DICM":
        return _decode_dicom(data)
    _check_header(data)
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnreadableImage(f"cannot be decoded ({error.err or error})") from error
    if raw is None or raw.size == 0:
        raise UnreadableImage("not an image, or damaged")
    if max(raw.shape[:2]) > MAX_SIDE or raw.shape[0] * raw.shape[1] > MAX_PIXELS:
        raise _too_large(raw.shape[1], raw.shape[0])
    changes = []
    depth = "8"
    if raw.dtype == np.uint16:
        depth, shift = "16", 4 if raw.max() < 4096 else 8
        raw = (raw >> shift).astype(np.uint8)
        changes.append(f"{8 + shift}-bit to 8-bit")
    elif raw.dtype != np.uint8:
        depth, raw = "float", _stretch(raw)
        changes.append("stretched to 8-bit")
    channels = 1 if raw.ndim == 2 else raw.shape[2]
    kind = {1: "grey", 2: "grey", 3: "rgb", 4: "rgba"}[channels]
    if _is_palette_png(data):
        kind = "palette"
    if channels in (2, 4):
        changes.append("alpha dropped")
    pixels, merged = _one_channel_if_equal(raw)
    if merged:
        changes.append("equal channels became one")
    return Decoded(pixels, "float" if depth == "float" else kind + depth, ", ".join(changes))


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize uint8 (h, w, C) to (height, width, C) with the area filter; the aspect ratio is not kept."""
    if pixels.shape[:2] == (height, width):
        return pixels
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resized.reshape(height, width, pixels.shape[2])


def to_grey(pixels: Pixels) -> Pixels:
    """Weighted sum of the channels (ITU-R BT.601): uint8 (h, w, 3) to (h, w, 1), or (n, h, w, 3) to (n, h, w, 1)."""
    tall = pixels.reshape(-1, *pixels.shape[-2:])  # images of one size under one another
    return cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY).reshape(*pixels.shape[:-1], 1)


def to_shape(images: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Scans as a network sees them: uint8 (n, h, w, 1 or 3) to (n, *shape), (height, width, channels).

    Colour becomes grey, or grey is repeated, before the size changes.
    """
    height, width, channels = shape
    if channels == 1 and images.shape[3] == 3:
        images = to_grey(images)
    elif channels == 3 and images.shape[3] == 1:
        images = np.repeat(images, 3, axis=3)
    if images.shape[1:3] != (height, width):
        resized = np.empty((len(images), *shape), np.uint8)
        for number, image in enumerate(images):
            resized[number] = resize(image, height, width)
        images = resized
    return images


def _one_channel_if_equal(raw: Pixels) -> tuple[Pixels, bool]:
    """RGB order from OpenCV's BGR, without alpha; (h, w, 1) where the channels agree."""
    if raw.ndim == 2:
        return raw[:, :, None], False
    if raw.shape[2] <= 2:
        return raw[:, :, :1], False
    blue, green, red = raw[:, :, 0], raw[:, :, 1], raw[:, :, 2]
    if np.array_equal(green, blue) and np.array_equal(green, red):
        return np.ascontiguousarray(green)[:, :, None], True
    return np.ascontiguousarray(raw[:, :, 2::-1]), False


def _stretch(raw: npt.NDArray[np.floating] | npt.NDArray[np.integer]) -> Pixels:
    raw = raw.astype(np.float64)  # signed whole numbers would overflow
    low, high = np.nanmin(raw), np.nanmax(raw)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnreadableImage("pixels are not finite")
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.nan_to_num((raw - low) * scale).round().astype(np.uint8)


def _is_palette_png(data: bytes) -> bool:
    return data[:4] == b"\x89PNG" and data[25] == 3


def _too_large(width: int, height: int) -> UnreadableImage:
    return UnreadableImage(
        f"{width} x {height} pixels is over the limit of {MAX_SIDE} a side and {MAX_PIXELS // 1_000_000} megapixels"
    )


def _check_header(data: bytes) -> None:
    """Refuse what OpenCV would decode in part or at the cost of gigabytes, from the first and last bytes alone."""
    tail = data[-_TAIL:]
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        if b"IEND" not in tail:
            raise UnreadableImage("truncated PNG: its end is missing")
        _check_png_chunks(data)
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        if size[0] * size[1] * _PNG_CHANNELS.get(data[25], 4) * max(1, data[24] // 8) > MAX_BYTES:
            raise _too_large(*size)
    elif data[:2] == b"\xff\xd8":
        if b"\xff\xd9" not in tail:
            raise UnreadableImage("truncated JPEG: its end is missing")
        size = _jpeg_size(data)
    elif data[:2] == b"BM" and len(data) > 26:
        size = int.from_bytes(data[18:22], "little"), abs(int.from_bytes(data[22:26], "little", signed=True))
    elif data[:4] in (b"II*\0", b"MM\0*"):
        size = _tiff_size(data)
    elif not data:
        raise UnreadableImage("empty file")
    else:
        raise UnreadableImage("not a PNG, JPEG, TIFF, BMP or DICOM file")
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise _too_large(*size)


def _check_png_chunks(data: bytes) -> None:
    """A chunk that claims more than there is makes libpng allocate gigabytes before it fails."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if position + 12 + length > len(data):
            raise UnreadableImage("damaged PNG: a part is longer than the file")
        if data[position + 4 : position + 8] == b"IEND":
            return
        position += 12 + length
    raise UnreadableImage("damaged PNG: its end is missing")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the start-of-frame segment."""
    position = 2
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return int.from_bytes(data[position + 7 : position + 9], "big"), height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise UnreadableImage("damaged JPEG: no frame header")


def _tiff_size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception as error:  # Pillow raises what it likes on a damaged file
        raise UnreadableImage(f"damaged TIFF ({error})") from error


def _is_deflated(data: bytes) -> bool:
    """Whether the DICOM transfer syntax is Deflated Explicit VR, which can unpack to any size."""
    return b"1.2.840.10008.1.2.1.99" in data[:2048]


def _decode_dicom(data: bytes) -> Decoded:
    """First frame, rescaled (slope, intercept), windowed, MONOCHROME1 inverted: DICOM PS3.3 C.11.2."""
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
    except ImportError:
        raise UnreadableImage(
            "a DICOM file: install medwb with the dicom extra (pip install 'medwb[dicom]')"
        ) from None
    try:
        record = pydicom.dcmread(io.BytesIO(data), defer_size=None, stop_before_pixels=_is_deflated(data))
        if "PixelData" not in record:
            raise UnreadableImage("a DICOM file without pixels, or a deflated one; store it uncompressed")
        width, height = int(record.Columns), int(record.Rows)
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise _too_large(width, height)
        pixels = pixel_array(record, index=0)
        if record.get("PhotometricInterpretation") == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, record)
        if pixels.ndim == 2:
            pixels = apply_voi_lut(apply_modality_lut(pixels, record), record)
        elif pixels.dtype != np.uint8:
            depth = 16 if "PALETTE" in str(record.PhotometricInterpretation) else int(record.BitsStored)
            pixels = pixels >> max(0, depth - 8)
    except UnreadableImage:
        raise
    except Exception as error:  # pydicom raises what it likes on a damaged file
        raise UnreadableImage(f"DICOM cannot be decoded ({error})") from error
    if pixels.ndim == 3:
        grey, merged = _one_channel_if_equal(pixels.astype(np.uint8)[:, :, ::-1])
        return Decoded(grey, "dicom", "equal channels became one" if merged else "")
    stretched = _stretch(pixels)
    if record.get("PhotometricInterpretation") == "MONOCHROME1":
        stretched = 255 - stretched
    return Decoded(stretched[:, :, None], "dicom", "windowed to 8-bit")
