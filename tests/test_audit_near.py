"""Near copies: those that are made here are found, and scans of like anatomy are not called copies."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medwb.audit.near import CERTAIN, find_near_copies, stand_out
from medwb.audit.registration import _sampled, _tone, align, likeness, smooth
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.audit.signatures import Pose, _Cells, grey_frames, poses
from medwb.audit.workers import workers
from medwb.dataset import Dataset, open_dataset
from medwb.demo import write_demo
from medwb.errors import RequestError
from medwb.formats import import_dataset

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def warped(image: np.ndarray, matrix: object) -> np.ndarray:
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, np.asarray(matrix, float), size, borderMode=cv2.BORDER_REPLICATE)


def shift(pixels: int) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle = rng.uniform(0, 2 * np.pi)
        return warped(image, [[1, 0, round(pixels * np.cos(angle))], [0, 1, round(pixels * np.sin(angle))]])

    return change


def turn(degrees: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        centre = ((image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2)
        return warped(image, cv2.getRotationMatrix2D(centre, degrees * rng.choice([-1, 1]), 1))

    return change


def crop(margin: int) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape
        left, top = rng.integers(0, margin + 1, 2)
        kept = image[top : top + height - margin, left : left + width - margin]
        return cv2.resize(kept, (width, height), interpolation=cv2.INTER_LINEAR)

    return change


def brightness(gain: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        factor = gain if rng.random() < 0.5 else 1 / gain
        return np.clip(np.rint(image * factor + rng.integers(-12, 13)), 0, 255).astype(np.uint8)

    return change


def gamma(power: float) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        exponent = power if rng.random() < 0.5 else 1 / power
        return np.rint(255 * (image / 255) ** exponent).astype(np.uint8)

    return change


def jpeg(quality: int) -> Change:
    def change(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)

    return change


def blur(width: float) -> Change:
    return lambda image, rng: cv2.GaussianBlur(image, (0, 0), width)


CHANGES: dict[str, Change] = (
    {f"shift {pixels} px": shift(pixels) for pixels in (1, 2, 3, 4)}
    | {f"turn {degrees} degrees": turn(degrees) for degrees in (1, 2, 4, 6)}
    | {f"crop {margin} px": crop(margin) for margin in (2, 4, 6)}
    | {f"brightness {gain}": brightness(gain) for gain in (1.1, 1.25)}
    | {"gamma 1.2": gamma(1.2)}
    | {f"jpeg {quality}": jpeg(quality) for quality in (85, 60)}
    | {f"blur {width} px": blur(width) for width in (0.6, 1.0, 1.5)}
)


def with_frames(dataset: Dataset, more: np.ndarray) -> Dataset:
    """The dataset's frames and more, as one dataset in memory."""
    images = np.concatenate([dataset.images[dataset.rows], more[..., None]])
    table = pd.DataFrame({"id": [str(k) for k in range(len(images))], "split": "train", "group": ""})
    return Dataset("changed", (), table, images, "0" * 16, "csv", "test")


def planted(dataset: Dataset, copies: int, seed: int) -> tuple[Dataset, pd.DataFrame]:
    """The dataset with so many copies a change, and a table of them: `change`, `original`, `copy`."""
    rng = np.random.default_rng(seed)
    frames = dataset.images[dataset.rows][..., 0]
    shows = np.flatnonzero(frames[:, ::4, ::4].std(axis=(1, 2)) > 4)
    rows, made = [], []
    for name, change in CHANGES.items():
        for original in rng.choice(shows, copies, replace=False):
            rows.append((name, original, len(frames) + len(rows)))
            made.append(change(frames[original], rng))
    return with_frames(dataset, np.array(made)), pd.DataFrame(rows, columns=["change", "original", "copy"])


def found(dataset: Dataset, plan: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Recall by change, and the pairs called copies whose pictures are of different originals."""
    exact = exact_sets(dataset)
    near = find_near_copies(dataset, exact)
    units = exact.joined(near.sets).units
    hit = units[plan["original"]] == units[plan["copy"]]
    origin = np.arange(len(dataset))
    origin[plan["copy"]] = plan["original"]
    pairs = near.pairs[near.pairs["copy"]]
    false = pairs[origin[pairs["a"]] != origin[pairs["b"]]]
    return pd.Series(hit).groupby(plan["change"], sort=False).mean(), false


@pytest.mark.slow
def test_copies_made_of_real_scans_are_found(home, realdata, record_property):
    scans = import_dataset(realdata / "nih1000", "nih")
    recalls, false, calls = [], 0, 0
    for seed in range(2):
        dataset, plan = planted(scans, 30, seed)
        recall, wrong = found(dataset, plan)
        recalls.append(recall)
        false += len(wrong)
        calls += len(plan)
    recall = pd.concat(recalls, axis=1).mean(axis=1)
    record_property("recall", recall.to_dict())
    print(recall.round(3).to_string())
    assert recall.mean() >= 0.97
    assert recall.min() >= 0.9
    assert false <= 0.01 * calls


@pytest.mark.slow
def test_different_scans_of_one_anatomy_are_no_copies(home, realdata):
    scans = import_dataset(realdata / "mednist.zip", "mednist")
    chest = scans.labels[:, scans.label_names.index("CXR")] == 1
    dataset = scans.subset(chest & (np.cumsum(chest) <= 2000))
    assert len(dataset) == 2000
    near = find_near_copies(dataset, exact_sets(dataset))
    assert len(near.sets) == 0


@pytest.mark.slow
def test_near_copies_of_the_demo(home):
    write_demo("demo", 3000)
    dataset = open_dataset("demo")
    key = pd.read_parquet(Path(dataset.path) / "answer_key.parquet")
    position = pd.Series(np.arange(len(dataset)), index=dataset.samples["id"])
    exact = exact_sets(dataset)
    near = find_near_copies(dataset, exact)
    made = key[key["fault"].isin(["near_copy", "near_leak"]) & (key["other"] != "")]
    units = exact.joined(near.sets).units
    hit = units[position[made["id"]]] == units[position[made["other"]]]
    assert hit.mean() >= 0.97
    planted_sets = key[key["set"] != ""].groupby("set")["id"].apply(lambda ids: set(position[ids]))
    pairs = near.pairs[near.pairs["copy"]]
    right = [any({a, b} <= members for members in planted_sets) for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    assert np.mean(right) >= 0.99


def texture(seed: int, side: int = 64) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(side, side))
    field = cv2.GaussianBlur(noise, (0, 0), 1.2) + 3 * cv2.GaussianBlur(noise[::-1], (0, 0), 5)
    return np.clip(128 + 60 * field / field.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_mirror_images_count_when_they_are_asked_for(mirrored):
    frames = np.array([texture(seed) for seed in range(12)])
    images = np.concatenate(
        [frames, frames[:1, :, ::-1], warped(frames[1, :, ::-1].copy(), [[1, 0, 2], [0, 1, 0]])[None]]
    )
    dataset = Dataset("d", (), pd.DataFrame({"id": [str(k) for k in range(14)]}), images[..., None], "f", "csv", "")
    near = find_near_copies(dataset, exact_sets(dataset), mirrored=mirrored)
    assert [part.tolist() for part in near.sets.members()] == ([[0, 12], [1, 13]] if mirrored else [])


@pytest.mark.parametrize("shape", [(8, 8, 1), (96, 40, 3), (512, 512, 1)])
def test_frames_of_any_shape_are_compared(shape):
    rng = np.random.default_rng(0)
    images = np.stack([cv2.resize(texture(seed), shape[1::-1]) for seed in range(6)])
    images = np.repeat(images[..., None], shape[2], axis=3)
    images = np.concatenate([images, np.clip(images[:1].astype(int) + rng.integers(-2, 3, images[:1].shape), 0, 255)])
    dataset = Dataset(
        "d", (), pd.DataFrame({"id": [str(k) for k in range(7)]}), images.astype(np.uint8), "f", "csv", ""
    )
    assert grey_frames(dataset, np.arange(7)).shape == (7, 64, 64)
    near = find_near_copies(dataset, exact_sets(dataset))
    if shape[0] > 8:
        assert [part.tolist() for part in near.sets.members()] == [[0, 6]]


@pytest.mark.parametrize("samples", [0, 1, 2, 5])
@pytest.mark.parametrize("value", [0, 200])
def test_blank_frames_have_no_near_copies(samples, value):
    table = pd.DataFrame({"id": [str(k) for k in range(samples)]})
    dataset = Dataset("d", (), table, np.full((samples, 64, 64, 1), value, np.uint8), "f", "csv", "")
    near = find_near_copies(dataset, exact_sets(dataset))
    assert (len(near.pairs), len(near.sets)) == (0, 0)


def pairs_of(*rows: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, alike = zip(*rows, strict=True)
    return np.array(a), np.array(b), np.array(alike, np.float32)


@pytest.mark.parametrize(
    ("pairs", "copies"),
    [
        ([(0, 1, 0.97)], [True]),  # nothing else is near
        ([(0, 1, 0.94)], [False]),  # not alike enough
        ([(0, 1, 0.97), (1, 2, 0.96)], [False, False]),  # neighbouring slices: no gap from 1
        ([(0, 1, 0.99), (1, 2, 0.96)], [True, False]),  # a gap behind the copy
        ([(0, 1, 0.98), (0, 2, 0.975), (1, 2, 0.97), (0, 3, 0.91)], [True, True, True, False]),  # three copies
        ([(0, 1, CERTAIN), (1, 2, 0.985), (1, 3, 0.97), (1, 4, 0.95), (2, 5, 0.96)], [True] + 4 * [False]),  # certain
    ],
)
def test_copies_stand_out(pairs, copies):
    assert stand_out(*pairs_of(*pairs), 0.96).tolist() == copies


def test_no_pairs_stand_out():
    none = np.zeros(0, np.int64)
    assert stand_out(none, none, np.zeros(0, np.float32), 0.96).tolist() == []


@pytest.mark.parametrize("pose", [Pose(2, -1), Pose(degrees=3), Pose(1, 1, zoom=1.05), Pose(mirrored=True)])
def test_alignment_finds_the_pose(pose):
    image = texture(3).astype(np.float32)
    posed = cv2.warpAffine(image, pose.matrix(), (64, 64), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    start = Pose(mirrored=pose.mirrored).map()[None]
    maps = align(smooth(posed[None]), smooth(image[None]), start, 8)
    assert np.abs(maps[0] - pose.map()).max() * 64 < 0.1
    assert likeness(posed[None], image[None], maps)[0] > 0.98
    assert likeness(posed[None], texture(4).astype(np.float32)[None], maps)[0] < 0.5


@pytest.mark.parametrize(("power", "gain"), [(1.0, 1.0), (1.4, 1.0), (0.7, 1.0), (1.0, 0.6), (1.0, 1.3)])
def test_tones_are_fitted(power, gain):
    sources = np.stack([texture(seed).astype(np.float32) for seed in range(3)])
    targets = np.clip(255 * (sources / 255) ** power * gain, 0, 255)
    everywhere = np.ones_like(_sampled(sources))
    toned = _tone(sources, targets, everywhere)
    assert toned.shape == sources.shape
    assert np.abs(toned - targets).mean() < 1
    assert np.abs(toned[1] - _tone(sources[1:2], targets[1:2], everywhere[1:2])[0]).max() < 0.1


def test_strong_tones_and_blur_are_fitted_however_unlike_they_make_a_scan():
    image = texture(3)
    changed = cv2.GaussianBlur(image, (0, 0), 1.8).astype(np.float32)
    changed = 255 * (changed / 255) ** 1.8
    assert likeness(image[None].astype(np.float32), changed[None], Pose().map()[None])[0] > 0.96


@pytest.mark.parametrize("side", [24, 64])
@pytest.mark.parametrize("pose", poses(mirrored=True)[::5])
def test_a_map_in_sides_is_the_same_in_pixels(pose, side):
    pixel, centre = np.array([3.0, side - 2.0]), (side - 1) / 2
    there = pose.map() @ np.append((pixel - centre) / side, 1)
    assert np.allclose(there * side + centre, pose.matrix(side) @ np.append(pixel, 1))


def line_of_vectors(count: int) -> np.ndarray:
    """Unit vectors in 48 dimensions, each nearest to the one before and the one after."""
    angle = np.arange(count) * (2 * np.pi / count)
    vectors = np.zeros((count, 48), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    return vectors


@pytest.mark.parametrize("count", [1, 3, 500, 9000])
def test_look_ups_find_the_nearest_vectors(count):
    vectors = line_of_vectors(count)
    with workers() as pool:
        squared, found = _Cells.of(vectors, pool).nearest(vectors, 4, pool)
    assert (found[:, 0] == np.arange(count)).all()
    assert np.abs(squared[:, 0]).max() < 1e-5
    there = found >= 0
    assert (there.sum(axis=1) == min(count, 4)).all()
    apart = np.abs(found - np.arange(count)[:, None])
    near = np.minimum(apart, count - apart)[there] <= 2
    assert near.mean() > (0.97 if count > 8000 else 0.999)


def test_the_search_does_not_look_at_exact_copies():
    frames = np.repeat(np.array([texture(1), texture(2)]), 3, axis=0)
    dataset = Dataset("d", (), pd.DataFrame({"id": list("abcdef")}), frames[..., None], "f", "csv", "")
    assert len(find_near_copies(dataset, exact_sets(dataset)).pairs) == 0
    all_apart = DuplicateSets(np.full(6, -1))
    assert [part.tolist() for part in find_near_copies(dataset, all_apart).sets.members()] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("wrong", [{"radius": -0.1}, {"radius": 2.5}, {"similarity": 1.5}, {"similarity": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    images = np.array([texture(1)])[..., None]
    dataset = Dataset("d", (), pd.DataFrame({"id": ["a"]}), images, "f", "csv", "")
    with pytest.raises(RequestError, match=f"{next(iter(wrong))}=.* is out of range"):
        find_near_copies(dataset, exact_sets(dataset), **wrong)
