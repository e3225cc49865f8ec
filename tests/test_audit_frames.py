"""Frames: what is measured of each, and the checks of single images."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from medwb.audit.check import CHECKS
from medwb.audit.frames import measure_frames
from medwb.audit.survey import Survey
from medwb.dataset import Dataset, open_dataset
from medwb.demo import write_demo
from medwb.formats import import_dataset

IMAGE_CHECKS = [check.name for check in CHECKS if check.area == "images"]

Images = npt.NDArray[np.uint8]


def dataset_of(images: Images | Sequence[Images], **columns: object) -> Dataset:
    """A dataset in memory, of (N, H, W) or (N, H, W, C)."""
    pixels = np.asarray(images, np.uint8)
    pixels = pixels if pixels.ndim == 4 else pixels[:, :, :, None]
    samples = pd.DataFrame({"id": [f"{number}.png" for number in range(len(pixels))]})
    facts = {"split": "train", "group": "", "path": "", "height": pixels.shape[1], "width": pixels.shape[2]}
    for name, value in (facts | {"mode": "grey8"} | columns).items():
        samples[name] = value
    return Dataset("made", (), samples, pixels, "0" * 16, "csv", "made for a test")


def found(check: str, dataset: Dataset) -> list[int]:
    """Numbers of the samples that a check reports, in the order reported."""
    return [int(name.split(".")[0]) for name in CHECKS.get(check).find(Survey(dataset))["id"]]


def found_ids(check: str, dataset: Dataset) -> set[str]:
    """Ids of the samples that a check reports."""
    return set(CHECKS.get(check).find(Survey(dataset))["id"])


def blobs(count: int, side: int = 32, seed: int = 0) -> Images:
    """Bodies of a few grey levels on a dark ground, (count, side, side), no two alike."""
    rng = np.random.default_rng(seed)
    place = np.arange(side) / side - 0.5
    y, x = place[:, None], place
    frames = []
    for across, down, tilt, grey in zip(*rng.uniform([[0.25], [0.3], [-0.1], [90]], [[0.35], [0.45], [0.1], [170]],
                                                     (4, count)), strict=True):  # fmt: skip
        body = ((x - tilt * y) / across) ** 2 + (y / down) ** 2 < 1
        organ = ((x - 0.1) / 0.08) ** 2 + ((y + tilt) / 0.15) ** 2 < 1
        frames.append(8 + body * (grey - 8) - organ * (grey / 2) + rng.normal(0, 3, (side, side)))
    return np.clip(frames, 1, 254).astype(np.uint8)


def chests(count: int, side: int = 32, seed: int = 0) -> Images:
    """Two dark fields in a bright frame without any ground, (count, side, side)."""
    rng = np.random.default_rng(seed)
    place = np.arange(side) / side - 0.5
    y, x = place[:, None], place
    frames = []
    for wide, high, lean, grey in zip(*rng.uniform([[0.1], [0.25], [-0.05], [140]], [[0.16], [0.4], [0.05], [210]],
                                                   (4, count)), strict=True):  # fmt: skip
        lungs = ((np.abs(x - lean) - 0.22) / wide) ** 2 + (y / high) ** 2 < 1
        frames.append(grey + 40 * y - lungs * (grey * 0.6) + rng.normal(0, 3, (side, side)))
    return np.clip(frames, 1, 254).astype(np.uint8)


@pytest.mark.parametrize("shape", [(8, 8, 1), (17, 33, 1), (64, 64, 3), (512, 512, 1), (1, 1, 1), (2, 5, 3)])
def test_measures_equal_their_definitions(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, *shape), dtype=np.uint8)
    images[1] //= 8
    images[2, :, : shape[1] // 2] = 255
    table = measure_frames(dataset_of(images))
    ring = np.ones(shape[:2], bool)
    ring[1:-1, 1:-1] = False
    for number, frame in enumerate(images):
        grey = frame[:, :, 0] if shape[2] == 1 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        row = table.iloc[number]
        counts = np.bincount(grey.ravel(), minlength=256)
        share = counts[counts > 0] / grey.size
        expected = {
            "minimum": frame.min(),
            "maximum": frame.max(),
            "constant": float((frame == frame[0, 0]).all()),
            "mean": grey.mean(),
            "contrast": grey.std(),
            "dark": (grey == 0).mean(),
            "bright": (grey == 255).mean(),
            "border": grey[ring].mean(),
            "filled": (np.abs(grey.astype(int) - counts.argmax()) > 12).mean(),
            "entropy": -(share * np.log2(share)).sum(),
            "colour": (frame.max(2).astype(float) - frame.min(2)).mean(),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-3), name


def test_sharpness_falls_with_blur() -> None:
    sharp = blobs(1)[0]
    frames = [sharp, cv2.GaussianBlur(sharp, (0, 0), 1), cv2.GaussianBlur(sharp, (0, 0), 2)]
    sharpness = measure_frames(dataset_of(frames))["sharpness"].to_numpy()
    assert sharpness[0] > 2 * sharpness[1] > 2 * sharpness[2] > 0


def test_rows_follow_the_samples_of_a_subset() -> None:
    dataset = dataset_of([np.full((8, 8), grey) for grey in range(0, 100, 10)])
    part = dataset.subset(dataset.samples["id"].isin(["3.png", "7.png"]))
    table = measure_frames(part)
    assert table["mean"].tolist() == [30, 70]
    assert table.index.equals(part.samples.index)
    assert set(table.dtypes.astype(str)) == {"uint8", "float32"}


def test_progress_reaches_its_end() -> None:
    told: list[float] = []
    measure_frames(dataset_of(blobs(60)), lambda done, total: told.append(done / total))
    assert told[-1] == 1
    assert told == sorted(told)


def test_constant_includes_black_and_says_the_value() -> None:
    frames = np.concatenate([blobs(5), np.zeros((2, 32, 32)), np.full((1, 32, 32), 7), np.full((1, 32, 32), 255)])
    dataset = dataset_of(frames)
    assert found("constant", dataset) == [5, 6, 7, 8]
    assert found("black", dataset) == [5, 6]
    evidence = CHECKS.get("constant").find(Survey(dataset))["evidence"].tolist()
    assert [text.split()[0] for text in evidence] == ["0", "0", "7", "255"]


def test_one_colour_is_constant_but_almost_black_is_not_black() -> None:
    colours = np.zeros((3, 8, 8, 3), np.uint8)
    colours[0, :, :] = (200, 10, 30)
    colours[1, :, :, 2] = 2  # grey 0, yet not black
    dataset = dataset_of(colours, mode="rgb8")
    assert found("constant", dataset) == [0, 1, 2]
    assert found("black", dataset) == [2]


@pytest.mark.parametrize(("samples", "seed"), [(60, 0), (300, 1), (2000, 2)])
def test_the_demo_answer_key_is_found(home: Path, samples: int, seed: int) -> None:
    write_demo("demo", samples, seed)
    dataset = open_dataset("demo")
    assert dataset.path is not None
    key = pd.read_parquet(dataset.path / "answer_key.parquet")
    survey = Survey(dataset)
    planted = {fault: set(key.loc[key["fault"] == fault, "id"]) for fault in ("black", "constant", "inverted")}
    assert set(CHECKS.get("black").find(survey)["id"]) == planted["black"]
    assert set(CHECKS.get("constant").find(survey)["id"]) == planted["black"] | planted["constant"]
    assert set(CHECKS.get("inverted").find(survey)["id"]) == planted["inverted"]


@pytest.mark.parametrize("kind", ["bodies on a dark ground", "full frames", "both"])
def test_negatives_are_found(kind: str) -> None:
    frames = {
        "bodies on a dark ground": lambda: blobs(200),
        "full frames": lambda: chests(200),
        "both": lambda: np.concatenate([blobs(200), chests(200)]),
    }[kind]()
    planted = list(range(3, len(frames), 50))
    frames[planted] = 255 - frames[planted]
    assert found("inverted", dataset_of(frames)) == planted


def test_copies_of_a_negative_do_not_excuse_one_another() -> None:
    frames = chests(200)
    frames[:12] = 255 - frames[0]
    assert found("inverted", dataset_of(frames)) == list(range(12))


def test_a_scan_on_a_white_sheet_is_not_inverted() -> None:
    frames = blobs(200)
    for number in range(5):
        sheet = np.full((32, 32), 255, np.uint8)
        sheet[6:26, 6:26] = cv2.resize(frames[number], (20, 20), interpolation=cv2.INTER_AREA)
        frames[number] = sheet
    assert found("inverted", dataset_of(frames)) == []


@pytest.mark.parametrize("count", [20, 100, 400])
def test_noise_has_no_polarity(count: int) -> None:
    frames = np.random.default_rng(count).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    assert found("inverted", dataset_of(frames)) == []
    assert found("out_of_distribution", dataset_of(frames)) == []


def test_overexposed_frames_are_clipped() -> None:
    frames = chests(100)
    frames[4] = np.clip(frames[4].astype(int) * 2, 0, 255)
    frames[9] = np.clip(frames[9].astype(int) - 100, 0, 255)  # the dark fields lose their detail
    assert found("clipped", dataset_of(frames)) == [4, 9]


def test_black_ground_is_not_clipping() -> None:
    frames = blobs(100)
    frames[:5][frames[:5] < 40] = 0
    frames[0, [0, -1]] = frames[0, :, [0, -1]] = 90  # a rim around the ground
    assert found("clipped", dataset_of(frames)) == []


def test_near_empty_frames() -> None:
    frames = blobs(30, 64)
    frames[3] = 25
    frames[3, 10:14, 20:24] = 200
    frames[4] = 25
    frames[5] = 25
    frames[5, 10:30, 20:40] = 200
    assert found("near_empty", dataset_of(frames)) == [3]


def test_frames_of_another_kind_are_out_of_distribution() -> None:
    frames = blobs(300)
    frames[7] = chests(1)[0]
    frames[8] = np.random.default_rng(0).integers(0, 256, (32, 32))
    frames[9] = np.tile(np.repeat([20, 230], 4), (32, 4))  # stripes
    reported = found("out_of_distribution", dataset_of(frames))
    assert {7, 8, 9} <= set(reported)
    assert len(reported) <= 5


def test_a_second_kind_that_is_common_is_not_out_of_distribution() -> None:
    assert len(found("out_of_distribution", dataset_of(np.concatenate([blobs(200), chests(100)])))) <= 2


@pytest.mark.parametrize(
    ("sizes", "odd"),
    [
        ([(512, 512)] * 19 + [(400, 512)], [19]),
        ([(512, 512)] * 2 + [(400, 512)], []),
        ([(500 + n, 510 - n) for n in range(40)] + [(64, 64), (500, 3000)], [40, 41]),
        ([(500 + n, 510 - n) for n in range(40)], []),
    ],
    ids=["one size but one", "too few", "many sizes", "many like sizes"],
)
def test_odd_sizes(sizes: list[tuple[int, int]], odd: list[int]) -> None:
    height, width = zip(*sizes, strict=True)
    assert found("odd_size", dataset_of(blobs(len(sizes), 8), height=height, width=width)) == odd


@pytest.mark.parametrize(
    ("modes", "odd"),
    [
        (["grey8"] * 18 + ["rgba8", "rgb8"], [18, 19]),
        (["grey8"] * 9 + ["rgb8"], [9]),
        (["grey8"] * 3 + ["rgb8"], []),
        (["grey8", "rgb8"] * 20, []),
    ],
)
def test_odd_modes(modes: list[str], odd: list[int]) -> None:
    dataset = dataset_of(blobs(len(modes), 8), mode=modes)
    assert found("odd_mode", dataset) == odd


DEGENERATE = {
    "one image": lambda: blobs(1),
    "one black image": lambda: np.zeros((1, 8, 8), np.uint8),
    "one pixel": lambda: np.zeros((3, 1, 1), np.uint8),
    "all black": lambda: np.zeros((60, 16, 16), np.uint8),
    "all white": lambda: np.full((60, 16, 16), 255, np.uint8),
    "all identical": lambda: np.repeat(blobs(1), 60, axis=0),
    "two pictures": lambda: np.repeat(blobs(2), 40, axis=0),
    "few": lambda: blobs(21),
    "half black": lambda: np.concatenate([blobs(30), np.zeros((30, 32, 32), np.uint8)]),
    "half negatives": lambda: np.concatenate([blobs(50), 255 - blobs(50, seed=1)]),
    "colour": lambda: np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8),
    "small": lambda: blobs(60, 8),
    "large": lambda: np.repeat(blobs(4, 512), 6, axis=0),
    "binary": lambda: (blobs(60) > 60).astype(np.uint8) * 255,
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_sets_give_a_report_without_warnings(name: str) -> None:
    survey = Survey(dataset_of(DEGENERATE[name]()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reports = {check: CHECKS.get(check).find(survey) for check in IMAGE_CHECKS}
    assert not survey.frames.isna().any().any()
    assert np.isfinite(survey.frames.to_numpy()).all()
    assert survey.frames["inverted"].between(0, 1).all()
    for check, issues in reports.items():
        assert issues["score"].between(0, 1).all(), check
        assert issues["evidence"].str.len().gt(0).all(), check
        assert issues["id"].is_unique, check
        if check in ("inverted", "out_of_distribution"):
            assert set(issues["id"]).isdisjoint(reports["constant"]["id"])
            assert name in ("half negatives", "binary") or issues.empty


def test_the_same_images_give_the_same_measures() -> None:
    dataset = dataset_of(blobs(80))
    pd.testing.assert_frame_equal(measure_frames(dataset), measure_frames(dataset))


def test_negatives_among_real_chest_radiographs(home: Path, realdata: Path) -> None:
    dataset = import_dataset(realdata / "nih1000", "nih")
    assert found_ids("inverted", dataset) == set()
    images = dataset.images.copy()
    planted = dataset.rows[::50]
    images[planted] = 255 - images[planted]
    expected = set(dataset.samples["id"].iloc[::50])
    reported = found_ids("inverted", replace(dataset, images=images))
    assert len(reported & expected) >= 0.95 * len(expected)
    assert reported <= expected
