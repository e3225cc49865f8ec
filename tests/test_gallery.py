import base64
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medwb import gallery
from medwb.dataset import Dataset


def dataset(images: np.ndarray, labels: np.ndarray, splits: list[str] | None = None) -> Dataset:
    names = tuple("abcdefgh"[: labels.shape[1]])
    samples = pd.DataFrame({"id": [str(row) for row in range(len(images))], "split": splits or "train", "group": ""})
    samples = samples.assign(**{name: labels[:, index] for index, name in enumerate(names)})
    return Dataset("tiny", names, samples, images, "0" * 16, "test", "test")


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 6, 5, 1), dtype=np.uint8)
    labels = rng.choice(np.array([0, 1, np.nan], np.float32), (300, 2))
    return dataset(images, labels, ["train"] * 200 + ["val"] * 100)


def decode(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_read_back_as_it_was(channels):
    image = np.random.default_rng(1).integers(0, 256, (7, 11, channels), dtype=np.uint8)
    back = decode(gallery.png(image))
    assert np.array_equal(back if channels == 1 else back[:, :, ::-1], image.squeeze())


def test_thumbnails_are_data_addresses(data):
    first = gallery.thumbnails(data.images[:2])[0]
    assert first.startswith("data:image/png;base64,")
    assert np.array_equal(decode(base64.b64decode(first.split(",")[1])), data.images[0, :, :, 0])


def test_a_contact_sheet_has_every_image_in_its_place(data):
    sheet = gallery.contact_sheet(data.images[:5], 3, gap=2, background=9)
    assert sheet.shape == (2 * 6 + 2, 3 * 5 + 2 * 2)
    assert np.array_equal(sheet[:6, :5], data.images[0, :, :, 0])
    assert np.array_equal(sheet[8:14, 7:12], data.images[4, :, :, 0])
    assert (sheet[6:8] == 9).all()
    assert (sheet[8:14, 14:] == 9).all()  # the empty place


def test_a_contact_sheet_is_no_wider_than_its_images(data):
    assert gallery.contact_sheet(data.images[:2], 10, scale=3, gap=1).shape == (18, 31)
    assert gallery.contact_sheet(data.images[:2].repeat(3, axis=3), 2).shape == (6, 12, 3)


@pytest.mark.parametrize(("shape", "side", "expected"), [((64, 64), 72, (64, 64)), ((224, 200), 72, (56, 50))])
def test_shrink(shape, side, expected):
    images = np.full((2, *shape, 1), 77, np.uint8)
    small = gallery.shrink(images, side)
    assert small.shape == (2, *expected, 1)
    assert (small == 77).all()


@pytest.mark.parametrize("shape", [(300, 2), (2, 300), (75, 73)])
def test_shrink_keeps_odd_shapes_within_bounds(shape):
    small = gallery.shrink(np.zeros((1, *shape, 3), np.uint8), 72)
    assert max(small.shape[1:3]) <= 72
    assert min(small.shape[1:3]) >= 1


def test_mean_images_equal_the_plain_formula(data):
    means = gallery.mean_images(data)
    for index in range(2):
        for value, side, count in ((1, means.positive, means.positives), (0, means.negative, means.negatives)):
            chosen = data.labels[:, index] == value
            assert count[index] == chosen.sum()
            assert side[index] == pytest.approx(data.images[chosen].mean(0), abs=1e-3)
    assert means.difference("b") == pytest.approx(means.positive[1] - means.negative[1])


def test_mean_images_of_one_split_look_at_nothing_else(data):
    train = data.split("train")
    chosen = train.labels[:, 0] == 1
    assert gallery.mean_images(train).positive[0] == pytest.approx(data.images[:200][chosen].mean(0), abs=1e-3)


def test_the_mean_of_nothing_is_undefined_and_drawn_black():
    means = gallery.mean_images(dataset(np.full((3, 4, 4, 1), 50, np.uint8), np.zeros((3, 1), np.float32)))
    assert np.isnan(means.positive).all()
    assert (means.picture("a", "positive") == 0).all()
    assert (means.picture("a", "negative", white=means.brightest("a")) == 255).all()
    assert (gallery.diverging(means.difference("a"), 1) == 255).all()


def test_blocks_cover_all_rows_and_keep_memory_small(tmp_path: Path):
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (6000, 64, 64, 1))
    images[:] = 100
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = np.arange(5999, -1, -2)
    assert sum(len(block) for _, block in gallery.image_blocks(mapped, rows)) == 3000
    data = dataset(mapped, np.ones((6000, 1), np.float32))
    tracemalloc.start()
    means = gallery.mean_images(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (means.positive == 100).all()
    assert peak < 60e6


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident")
def test_pages_are_given_back(tmp_path: Path):
    np.save(tmp_path / "images.npy", np.ones((6000, 64, 64, 1), np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    data = dataset(mapped, np.ones((6000, 1), np.float32))
    assert gallery.mean_images(data).positives[0] == 6000
    _, _, after = Path("/proc/self/smaps").read_text().partition("images.npy")
    resident_kb = int(after.split("Rss:")[1].split()[0])
    assert resident_kb < 1000  # of 24,000


def test_diverging_colours():
    colours = gallery.diverging(np.array([[[10.0], [-10.0], [0.0], [99.0], [np.nan]]], np.float32), 10)
    assert colours[0].tolist() == [[213, 94, 0], [0, 114, 178], [255, 255, 255], [213, 94, 0], [255, 255, 255]]


@pytest.mark.parametrize("by", ["split", "label"])
def test_intensity_shares_add_up(data, by):
    table = gallery.intensity_table(data, by)
    assert table.groupby("group")["share"].sum().to_numpy() == pytest.approx(1)
    assert set(table["group"]) == ({"train", "val"} if by == "split" else {"a", "b", "no finding"})


def test_intensities_of_a_split_are_counted():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    images[2:] = 255
    table = gallery.intensity_table(dataset(images, np.zeros((4, 1)), ["train", "train", "val", "val"]))
    top = table.loc[table.groupby("group")["share"].idxmax()].set_index("group")
    assert top.loc["train", "intensity"] < 4
    assert top.loc["val", "intensity"] > 251
    assert (top["share"] == 1).all()


def test_intensities_are_sampled_from_the_whole_dataset():
    images = np.zeros((100, 2, 2, 1), np.uint8)
    images[50:] = 255
    table = gallery.intensity_table(dataset(images, np.zeros((100, 1))), limit=10)
    assert sorted(table["share"].tolist())[-2:] == [0.5, 0.5]


def cell(view, name):
    """The control of a notebook view with that description."""
    found = [view]
    for widget in found:
        found += getattr(widget, "children", ())
    return next(widget for widget in found if getattr(widget, "description", "") == name)


def test_the_image_grid_of_notebooks_filters_and_pages(data):
    from medwb import widgets

    view = widgets.image_grid(data, columns=4, rows=5)
    picture, note = view.children[1:]
    assert note.value == "300 of 300 samples; page 1 of 15"
    before = picture.value
    cell(view, "Page").value = 15
    assert picture.value != before
    cell(view, "Split").value = "val"
    cell(view, "a").value = 1
    count = int((data.split("val").labels[:, 0] == 1).sum())
    assert note.value.startswith(f"{count} of 300 samples; page {-(-count // 20)} of")
    cell(view, "b").value = 0
    assert decode(picture.value).shape[1] == 4 * 5 + 3 * 2


def test_the_mean_images_of_notebooks_follow_label_and_split(data):
    from medwb import widgets

    view = widgets.mean_image_view(data)
    pictures = [box.children[0] for box in view.children[1].children]
    before = [picture.value for picture in pictures]
    cell(view, "Label").value = "b"
    assert all(picture.value != old for picture, old in zip(pictures, before, strict=True))
    cell(view, "Split").value = "all"
    count = int((data.labels[:, 1] == 1).sum())
    assert view.children[1].children[0].children[1].value.startswith(f"{count} positives")


def test_watching_runs_in_a_notebook_ends_with_their_outcome(tiny, finished):
    from medwb import widgets

    table = widgets.watch_runs(finished, seconds=0.01)
    assert table["state"].tolist() == ["finished"] * 4
    assert table["run"].tolist() == [run.id for run in finished]
