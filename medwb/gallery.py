"""Pictures of many images: contact sheets, thumbnails, mean images and intensities, with numpy alone.

Everything that looks at a whole dataset goes through its memory map in blocks and gives the pages back, so that a
large dataset takes little memory.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset, release_pages
from medwb.png import png as png

Pixels = npt.NDArray[np.uint8]

INTENSITY_BINS = 64
INTENSITY_SAMPLES = 4000
_BLOCK_BYTES = 4 << 20

_ORANGE, _BLUE = np.array([213, 94, 0]), np.array([0, 114, 178])  # Okabe and Ito: told apart by everyone


def image_blocks(images: Pixels, rows: npt.NDArray[np.int64]) -> Iterator[tuple[slice, Pixels]]:
    """Yield (positions in `rows`, their images) a few MB at a time, and give the map's pages back to the system.

    Args:
        images: uint8 (N, H, W, C), usually a memory map.
        rows: Which of them, in the order wanted.
    """
    step = max(1, _BLOCK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        yield part, np.asarray(images[rows[part]])
        release_pages(images)


def contact_sheet(images: Pixels, columns: int, *, scale: int = 1, gap: int = 2, background: int = 128) -> Pixels:
    """Lay images out in one picture, row by row.

    Args:
        images: uint8 (N, H, W, C), C 1 or 3, N at least 1.
        columns: Images a row.
        scale: Whole number that each pixel is enlarged by.
        gap: Pixels between images.
        background: Grey value of gaps and of empty places.

    Returns:
        uint8 (height, width) for C = 1, otherwise (height, width, 3).
    """
    enlarged = enlarge(images, scale)
    count, height, width, channels = enlarged.shape
    columns = min(columns, count)
    lines = -(-count // columns)
    shape = (lines * (height + gap) - gap, columns * (width + gap) - gap, channels)
    sheet = np.full(shape, background, np.uint8)
    for index, image in enumerate(enlarged):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet[:, :, 0] if channels == 1 else sheet


def enlarge(images: Pixels, scale: int) -> Pixels:
    """Repeat each pixel `scale` times in both directions: uint8 (..., H, W, C) in and out."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2) if scale > 1 else images


def shrink(images: Pixels, side: int) -> Pixels:
    """Average square blocks until neither side is above `side`: uint8 (N, H, W, C) in and out; small ones stay."""
    count, height, width, channels = images.shape
    factor = -(-max(height, width) // side)
    if factor <= 1:
        return images
    rows, columns = max(1, height // factor), max(1, width // factor)
    cut = images[:, : rows * factor, : columns * factor]
    blocks = cut.reshape(count, rows, -1, columns, cut.shape[2] // columns, channels)
    return blocks.mean(axis=(2, 4)).round().astype(np.uint8)


def data_uri(image: Pixels) -> str:
    """A PNG of the image as a `data:` address, for tables and pages."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def thumbnails(images: Pixels) -> list[str]:
    """`data_uri` of each of uint8 (N, H, W, C)."""
    return [data_uri(image) for image in images]


@dataclass(frozen=True)
class MeanImages:
    """Mean image of the positives and of the negatives of each label.

    Attributes:
        label_names: The L labels.
        positive: float32 (L, H, W, C) in 0..255; NaN where a label has no positive.
        negative: The same for negatives.
        positives: int (L,), how many images went in.
        negatives: The same for negatives.
    """

    label_names: tuple[str, ...]
    positive: npt.NDArray[np.float32]
    negative: npt.NDArray[np.float32]
    positives: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]

    def difference(self, label: str) -> npt.NDArray[np.float32]:
        """Positive minus negative of a label: float32 (H, W, C) in -255..255."""
        index = self.label_names.index(label)
        return self.positive[index] - self.negative[index]

    def picture(self, label: str, answer: str, white: float = 255) -> Pixels:
        """Mean image of a label's "positive" or "negative" as uint8 (H, W, C); black where there is none.

        Args:
            label: Which label.
            answer: "positive" or "negative".
            white: Intensity, above 0, that is shown white: means are dark, and less is more contrast.
        """
        means = {"positive": self.positive, "negative": self.negative}[answer]
        stretched = np.nan_to_num(means[self.label_names.index(label)]) * (255 / white)
        return np.minimum(stretched, 255).round().astype(np.uint8)

    def brightest(self, label: str) -> float:
        """The largest intensity in a label's two mean images, at least 1: a `white` that fits both."""
        index = self.label_names.index(label)
        return max(1.0, *(float(np.nan_to_num(side[index]).max()) for side in (self.positive, self.negative)))


def mean_images(dataset: Dataset) -> MeanImages:
    """Average the positives and the negatives of every label, in one pass over the images.

    Use `dataset.split("train")` where a figure must not look at other splits. Unknown labels count on neither side.
    """
    labels = dataset.labels
    member = np.concatenate([labels == 1, labels == 0], axis=1).astype(np.float32)  # (samples, 2 L)
    sums = np.zeros((member.shape[1], int(np.prod(dataset.image_shape))))
    for part, block in image_blocks(dataset.images, dataset.rows):
        # float32 holds a block's sums exactly: 255 times the images of a block stays below 2 ** 24
        sums += member[part].T @ block.reshape(len(block), -1).astype(np.float32)
    counts = member.sum(0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        means = np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0)
    shaped = means.astype(np.float32).reshape(-1, *dataset.image_shape)
    half, whole = len(dataset.label_names), counts.astype(np.int64)
    return MeanImages(dataset.label_names, shaped[:half], shaped[half:], whole[:half], whole[half:])


def diverging(difference: npt.NDArray[np.float32], limit: float) -> Pixels:
    """Colour a difference: orange where it is positive, blue where it is negative, white at 0.

    Args:
        difference: float (H, W, C); channels are averaged, NaN is 0.
        limit: The absolute value, above 0, that gets the full colour.

    Returns:
        uint8 (H, W, 3).
    """
    value = np.clip(np.nan_to_num(difference).mean(axis=2) / limit, -1, 1)[:, :, None]
    target = np.where(value > 0, _ORANGE, _BLUE)
    return (255 + (target - 255) * np.abs(value)).round().astype(np.uint8)


def intensity_table(dataset: Dataset, by: str = "split", *, limit: int = INTENSITY_SAMPLES) -> pd.DataFrame:
    """How bright pixels are in each split, or among the positives of each label.

    Args:
        dataset: What to look at.
        by: "split" or "label".
        limit: At most so many samples are measured, spread evenly over the dataset.

    Returns:
        `group` (split or label; "no finding" for samples without a positive), `intensity` (centre of one of 64
        bins, 0..255) and `share` (of the group's pixels). Groups without a sample are left out.
    """
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).astype(np.int64))
    histograms = _histograms(dataset.images, dataset.rows[chosen])
    groups = _groups(dataset, by)
    parts = []
    for group, member in groups.items():
        counts = histograms[member[chosen]].sum(0)
        if counts.sum():
            centres = (np.arange(INTENSITY_BINS) + 0.5) * 256 / INTENSITY_BINS - 0.5
            shares = counts / counts.sum()
            parts.append(pd.DataFrame({"group": group, "intensity": centres, "share": shares}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "intensity", "share"])


def _groups(dataset: Dataset, by: str) -> dict[str, npt.NDArray[np.bool_]]:
    if by == "split":
        splits = dataset.samples["split"].to_numpy(str)
        return {split: splits == split for split in dataset.splits}
    positive = dataset.labels == 1
    found = {label: positive[:, index] for index, label in enumerate(dataset.label_names)}
    return found | {"no finding": ~positive.any(1)}


def _histograms(images: Pixels, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts of each image's pixels, (len(rows), INTENSITY_BINS)."""
    counts = np.zeros((len(rows), INTENSITY_BINS), np.int64)
    for part, block in image_blocks(images, rows):
        bins = (block.reshape(len(block), -1) // (256 // INTENSITY_BINS)).astype(np.int64)
        bins += np.arange(len(block))[:, None] * INTENSITY_BINS
        counts[part] = np.bincount(bins.ravel(), minlength=len(block) * INTENSITY_BINS).reshape(len(block), -1)
    return counts
