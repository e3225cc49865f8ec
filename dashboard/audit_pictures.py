"""Pictures of samples with what is known of them beneath."""

from collections.abc import Sequence

import browser
import controls
import numpy as np
import numpy.typing as npt
import streamlit as st

from medwb.dataset import Dataset
from medwb.gallery import shrink

PICTURE, PAIR = 104, 212  # pixels on the page, with the space around
_SPACE = 0.04  # of a picture's width, at its left and right
_LONGEST = 14  # characters of an id

Pixels = npt.NDArray[np.uint8]


def pictures(data: Dataset, positions: Sequence[int] | npt.NDArray[np.int64], captions: Sequence[str]) -> None:
    """Samples side by side. Captions are Markdown: what comes from the dataset went through `controls.plain`."""
    rows = data.rows[np.asarray(positions, np.int64)]
    if len(rows):
        _show(_spaced(shrink(data.images[rows], 2 * PICTURE)), captions, PICTURE)


def pairs(data: Dataset, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], captions: Sequence[str]) -> None:
    """Two samples in a picture each, pair by pair; captions as for `pictures`."""
    if len(a):
        both = [_spaced(shrink(data.images[data.rows[side]], PICTURE)) for side in (a, b)]
        _show(np.concatenate(both, axis=2), captions, PAIR)


def _spaced(images: Pixels) -> Pixels:
    """Images with transparent columns at both sides, so that black ones stay apart: uint8 (N, H, W', 4)."""
    count, height, width, channels = images.shape
    space = max(1, round(width * _SPACE))
    framed = np.zeros((count, height, width + 2 * space, 4), np.uint8)
    framed[:, :, space:-space, :3] = images if channels == 3 else np.repeat(images, 3, axis=3)
    framed[:, :, space:-space, 3] = 255
    return framed


def _show(images: Pixels, captions: Sequence[str], width: int) -> None:
    st.image(list(images), list(captions), width=width, output_format="PNG")


def caption(data: Dataset, position: int, *more: str) -> str:
    """Id, split and positive labels of a sample, a line each, then what else there is to say."""
    sample = data.samples.iloc[position]
    labels = browser.positives(data, position) if data.label_names else "no labels"
    return lines(short(sample["id"]), sample["split"], labels, *more)


def lines(*texts: str) -> str:
    """Texts as lines of Markdown that show as they are."""
    return "  \n".join(controls.plain(text) for text in texts)


def short(name: str) -> str:
    """A long id without its middle."""
    return name if len(name) <= _LONGEST else f"{name[:4]}…{name[5 - _LONGEST :]}"


def cut(text: str, longest: int) -> str:
    """A long text without its end."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
