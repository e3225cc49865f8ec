import cv2
import numpy as np
import pytest

from medwb.images import MAX_PIXELS, UnreadableImage, decode, resize, to_grey

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_grey_is_kept_exactly(suffix):
    found = decode(encoded(GREY, suffix))
    assert found.pixels.shape == (20, 30, 1)
    assert np.array_equal(found.pixels[..., 0], GREY)


def test_jpeg_is_close():
    smooth = cv2.GaussianBlur(GREY, (9, 9), 5)
    assert np.abs(decode(encoded(smooth, ".jpg")).pixels[..., 0].astype(int) - smooth).max() < 12


def test_colour_is_in_rgb_order():
    found = decode(encoded(COLOUR))
    assert found.mode == "rgb8"
    assert np.array_equal(found.pixels, COLOUR[:, :, ::-1])


def test_equal_channels_become_one():
    found = decode(encoded(np.repeat(GREY[:, :, None], 3, axis=2)))
    assert found.pixels.shape == (20, 30, 1)
    assert found.changes == "equal channels became one"


def test_alpha_is_dropped():
    found = decode(encoded(np.dstack([COLOUR, GREY])))
    assert found.mode == "rgba8"
    assert found.pixels.shape == (20, 30, 3)
    assert "alpha dropped" in found.changes


def test_palette_is_looked_up():
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(COLOUR[:, :, ::-1]).convert("P").save(file, "PNG")
    found = decode(file.getvalue())
    assert found.mode == "palette8"
    assert found.pixels.shape == (20, 30, 3)


@pytest.mark.parametrize(("brightest", "shift"), [(4000, 4), (60_000, 8)])
def test_16_bit_becomes_8_bit_by_a_power_of_two(brightest, shift):
    deep = (GREY.astype(np.uint16) * (brightest // 255)).astype(np.uint16)
    deep[0, 0] = brightest
    found = decode(encoded(deep))
    assert found.mode == "grey16"
    assert np.array_equal(found.pixels[..., 0], (deep >> shift).astype(np.uint8))


def test_float_is_stretched():
    found = decode(encoded(GREY.astype(np.float32) / 7 - 3, ".tiff"))
    assert found.mode == "float"
    assert (found.pixels.min(), found.pixels.max()) == (0, 255)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_unreadable(suffix, share):
    data = encoded(GREY, suffix)
    with pytest.raises(UnreadableImage):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", b"II*\0", b"BM" + bytes(40)]
)
def test_what_is_no_image_is_unreadable(data):
    with pytest.raises(UnreadableImage):
        decode(data)


def test_a_png_that_claims_to_be_huge_is_not_decoded():
    data = bytearray(encoded(GREY))
    data[16:24] = (20_000).to_bytes(4, "big") + (MAX_PIXELS // 20_000 + 1).to_bytes(4, "big")
    with pytest.raises(UnreadableImage, match="over the limit"):
        decode(bytes(data))


def test_resize_averages_areas():
    halved = resize(np.array([[[0], [100]], [[100], [200]]], np.uint8), 1, 1)
    assert halved.tolist() == [[[100]]]


def test_to_grey_weighs_green_most():
    grey = to_grey(np.eye(3, dtype=np.uint8).reshape(1, 3, 3) * 255)[0, :, 0]
    assert grey[1] > grey[0] > grey[2]


@pytest.fixture
def dicom() -> object:
    return pytest.importorskip("pydicom", reason="the dicom extra is not installed")


def dicom_bytes(pixels: np.ndarray, **tags: object) -> bytes:
    import io

    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    record = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    record.Rows, record.Columns = pixels.shape
    record.SamplesPerPixel, record.PhotometricInterpretation = 1, "MONOCHROME2"
    record.BitsAllocated, record.BitsStored, record.HighBit, record.PixelRepresentation = 16, 16, 15, 0
    record.PixelData = pixels.astype(np.uint16).tobytes()
    for tag, value in tags.items():
        setattr(record, tag, value)
    file = io.BytesIO()
    record.save_as(file, enforce_file_format=True)
    return file.getvalue()


def test_dicom_is_windowed(dicom):
    ramp = np.arange(600, dtype=np.uint16).reshape(20, 30)
    found = decode(dicom_bytes(ramp, RescaleSlope=1, RescaleIntercept=-100, WindowCenter=200, WindowWidth=100))
    assert found.mode == "dicom"
    flat = found.pixels.ravel()
    assert flat[240] == 0  # 140 after rescaling, below the window
    assert flat[360] == 255  # 260, above it
    assert 100 < flat[300] < 155  # 200, its middle


def test_dicom_monochrome1_is_inverted(dicom):
    ramp = np.arange(600, dtype=np.uint16).reshape(20, 30)
    flat = decode(dicom_bytes(ramp, PhotometricInterpretation="MONOCHROME1")).pixels.ravel()
    assert (flat[0], flat[-1]) == (255, 0)


def test_damaged_dicom_is_unreadable(dicom):
    data = dicom_bytes(np.zeros((20, 30), np.uint16))
    with pytest.raises(UnreadableImage, match="DICOM"):
        decode(data[:400])


def test_dicom_signed_pixels_keep_their_order(dicom):
    ramp = np.linspace(-20_000, 20_000, 600).astype(np.int16).reshape(20, 30)
    flat = decode(dicom_bytes(ramp, PixelRepresentation=1)).pixels.ravel().astype(int)
    assert (flat[0], flat[-1]) == (0, 255)
    assert (np.diff(flat) >= 0).all()


def test_dicom_too_large_is_refused(dicom):
    with pytest.raises(UnreadableImage, match="over the limit"):
        decode(dicom_bytes(np.zeros((2, 17_000), np.uint16)))


@pytest.mark.parametrize("claim", [2**31 - 1, 0xFFFFFFC3])
def test_a_png_part_that_claims_gigabytes_is_not_decoded(claim):
    data = bytearray(encoded(GREY))
    start = data.index(b"IDAT") - 4
    data[start : start + 4] = claim.to_bytes(4, "big")
    with pytest.raises(UnreadableImage, match="longer than the file"):
        decode(bytes(data))


def test_many_images_become_grey_as_each_does():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 9, 3), dtype=np.uint8)
    assert np.array_equal(to_grey(pixels), np.stack([to_grey(image) for image in pixels]))
