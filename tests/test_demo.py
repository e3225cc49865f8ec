from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from medwb.dataset import Dataset, dataset_names, open_dataset
from medwb.demo import LABEL_NAMES, SAMPLES, write_demo
from medwb.demo.changes import NEAR_CHANGES
from medwb.demo.faults import KEY_COLUMNS, RATES
from medwb.demo.plan import plan_samples
from medwb.errors import RequestError

COUNT = 900
COPIES = ["exact_copy", "contradictory_copy", "near_copy", "exact_leak", "near_leak"]
EXACT = ["exact_copy", "contradictory_copy", "exact_leak"]
NEAR = ["near_copy", "near_leak"]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def demo(home: Path) -> Dataset:
    assert write_demo("small", COUNT, seed=3)
    return open_dataset("small")


@pytest.fixture(scope="module")
def key(demo: Dataset) -> pd.DataFrame:
    return answer_key(demo)


def answer_key(dataset: Dataset) -> pd.DataFrame:
    assert dataset.path is not None
    return pd.read_parquet(dataset.path / "answer_key.parquet")


def frame(dataset: Dataset, sample: str) -> npt.NDArray[np.uint8]:
    return dataset.images[dataset.samples.index[dataset.samples["id"] == sample][0], :, :, 0]


def row(dataset: Dataset, sample: str) -> pd.Series:
    return dataset.samples[dataset.samples["id"] == sample].iloc[0]


def likeness(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8], reach: int = 3) -> float:
    """Greatest correlation of `b`'s middle with `a` over shifts of up to `reach` pixels."""
    return float(cv2.matchTemplate(a, b[reach:-reach, reach:-reach], cv2.TM_CCOEFF_NORMED).max())


def test_splits_ids_and_shapes(demo: Dataset) -> None:
    assert demo.samples["split"].value_counts().to_dict() == {"train": 540, "test": 225, "val": 135}
    assert demo.images.shape == (COUNT, 64, 64, 1)
    assert demo.format == "demo"
    assert demo.label_names == LABEL_NAMES
    for split, first in {"train": "10000.png", "val": "40000.png", "test": "70000.png"}.items():
        assert demo.split(split).samples["id"].iloc[0] == first
    assert demo.samples["id"].is_unique
    assert demo.known_label_splits() == ["train", "val", "test"]


@pytest.mark.parametrize("samples", [30_000, 50_001, 200_000])
def test_ids_stay_unique_and_in_their_range(samples: int) -> None:
    plan = plan_samples(samples, np.random.default_rng(0))
    assert len(plan) == samples
    assert plan["id"].is_unique
    assert plan.groupby("split")["id"].min().str[0].to_dict() == {"train": "1", "val": "4", "test": "7"}
    assert plan.groupby("patient")["split"].nunique().max() == 1


def test_the_full_size_has_the_reference_study_s_counts() -> None:
    plan = plan_samples(20_000, np.random.default_rng(0))
    assert plan[plan["split"] != "test"]["black"].sum() == 4985
    positives = plan.groupby("split")[list(LABEL_NAMES)].sum()
    assert positives.loc["train"].to_numpy() == pytest.approx([5561, 4334, 2716], rel=0.04)
    assert positives.loc["val"].to_numpy() == pytest.approx([1447, 1154, 684], rel=0.08)


def test_labels_are_nearly_nested(demo: Dataset, key: pd.DataFrame) -> None:
    black = key.loc[key["fault"] == "black", "id"]
    seen = demo.samples[~demo.samples["id"].isin(black)]
    shares = seen[list(LABEL_NAMES)].value_counts(normalize=True)
    for pattern, share in {(0, 0, 0): 0.53, (1, 0, 0): 0.10, (1, 1, 0): 0.13, (1, 1, 1): 0.22}.items():
        assert shares[pattern] == pytest.approx(share, abs=0.05)
    assert shares.loc[[(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)]].sum() > 0.95


def test_patients_have_several_slices_in_one_split(demo: Dataset, key: pd.DataFrame) -> None:
    slices = demo.samples.groupby("group").size()
    assert 4 < slices.mean() < 7
    strays = key.loc[key["fault"] == "patient_leak", "id"]
    rest = demo.samples[~demo.samples["id"].isin(strays)]
    assert rest.groupby("group")["split"].nunique().max() == 1


def test_frames_look_like_scans(demo: Dataset, key: pd.DataFrame) -> None:
    faulty = key.loc[key["fault"].isin(["black", "constant", "inverted", "near_copy", "near_leak"]), "id"]
    frames = demo.images[~demo.samples["id"].isin(faulty)]
    assert 40 < frames.mean() < 110
    assert np.all(frames.reshape(len(frames), -1).std(axis=1) > 25)
    assert np.median(frames[:, :, [0, -1]]) < 40  # the ground at the sides is dark


def test_key_names_every_fault(demo: Dataset, key: pd.DataFrame) -> None:
    assert tuple(key.columns) == KEY_COLUMNS
    assert set(key["fault"]) == {*RATES, "black"}
    assert key["id"].isin(demo.samples["id"]).all()
    assert key["id"].is_unique  # no sample takes part in two faults
    assert key.loc[key["other"] != "", "other"].isin(demo.samples["id"]).all()


def test_black_frames_are_a_third_and_contradict_one_another(demo: Dataset, key: pd.DataFrame) -> None:
    ids = key.loc[key["fault"] == "black", "id"]
    black = demo.samples["id"].isin(ids).to_numpy()
    assert not demo.images[black].any()
    assert demo.images[~black].reshape(int((~black).sum()), -1).any(axis=1).all()
    assert black.sum() == pytest.approx(COUNT * 4985 / 15000, abs=2)
    share = demo.labels[black].mean(axis=0)
    assert share == pytest.approx([0.46, 0.36, 0.23], abs=0.1)


def test_exact_copies_are_equal(demo: Dataset, key: pd.DataFrame) -> None:
    copies = key[key["fault"].isin(EXACT) & (key["other"] != "")]
    assert set(copies["fault"]) == set(EXACT)
    for copy in copies.itertuples():
        np.testing.assert_array_equal(frame(demo, str(copy.id)), frame(demo, str(copy.other)))
        mine, theirs = row(demo, str(copy.id)), row(demo, str(copy.other))
        agree = bool((mine[list(LABEL_NAMES)] == theirs[list(LABEL_NAMES)]).all())
        assert agree == (copy.fault != "contradictory_copy")
        assert (mine["split"] == theirs["split"]) == (copy.fault != "exact_leak")


def test_near_copies_differ_but_resemble(demo: Dataset, key: pd.DataFrame) -> None:
    copies = key[key["fault"].isin(NEAR) & (key["other"] != "")]
    kinds = set(copies["detail"].str.split().str[0])
    assert len(kinds) == len(NEAR_CHANGES)
    for copy in copies.itertuples():
        a, b = frame(demo, str(copy.id)), frame(demo, str(copy.other))
        assert (a != b).any()
        assert likeness(a, b) > 0.7, copy.detail
        splits = row(demo, str(copy.id))["split"], row(demo, str(copy.other))["split"]
        assert (splits[0] == splits[1]) == (copy.fault == "near_copy")


def test_every_copy_set_lists_its_original(key: pd.DataFrame) -> None:
    for set_id, members in key[key["fault"].isin(COPIES)].groupby("set"):
        originals = members[members["other"] == ""]
        assert len(originals) == 1, set_id
        assert set(members["other"]) == {"", originals["id"].iloc[0]}


def test_constant_and_inverted_frames(demo: Dataset, key: pd.DataFrame) -> None:
    for fault in key[key["fault"] == "constant"].itertuples():
        grey = int(str(fault.detail).removeprefix("grey="))
        assert grey > 0
        assert (frame(demo, str(fault.id)) == grey).all()
    for sample in key.loc[key["fault"] == "inverted", "id"]:
        assert frame(demo, sample)[:, [0, -1]].mean() > 150  # the ground is white


def test_patient_leaks_span_splits(demo: Dataset, key: pd.DataFrame) -> None:
    leaks = key[key["fault"] == "patient_leak"]
    for leak in leaks.itertuples():
        stray, home = row(demo, str(leak.id)), row(demo, str(leak.other))
        assert stray["group"] == home["group"] == leak.set
        assert stray["split"] != home["split"] == "train"
    spans = demo.samples.groupby("group")["split"].nunique()
    assert set(spans.index[spans > 1]) == set(leaks["set"])


def test_wrong_labels_are_recorded_wrong(demo: Dataset, key: pd.DataFrame) -> None:
    wrong = key[key["fault"] == "wrong_label"]
    assert len(wrong) == pytest.approx(0.01 * COUNT * 2 / 3, abs=1)
    for fault in wrong.itertuples():
        label, change = str(fault.detail).split()
        right, recorded = change.split("->")
        assert right != recorded
        assert row(demo, str(fault.id))[label] == float(recorded)


def test_nothing_else_is_duplicated(demo: Dataset, key: pd.DataFrame) -> None:
    sets = demo.samples["id"].map(key[key["fault"].isin([*EXACT, "black"])].set_index("id")["set"])
    pixels = pd.Series([image.tobytes() for image in demo.images], index=demo.samples.index)
    for _, rows in pixels.groupby(pixels):
        if len(rows) > 1:
            assert sets[rows.index].nunique(dropna=False) == 1
            assert sets[rows.index].notna().all()


def test_slices_of_a_patient_are_no_near_copies(demo: Dataset, key: pd.DataFrame) -> None:
    clean = demo.samples[~demo.samples["id"].isin(key["id"])]
    for _, slices in clean.groupby("group"):
        frames = demo.images[slices.index][..., 0]
        for first in range(len(frames)):
            for second in range(first):
                assert likeness(frames[first], frames[second]) < 0.96


def test_same_seed_same_bytes_on_any_number_of_threads(demo: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    write_demo("again", COUNT, seed=3)
    again = open_dataset("again")
    assert again.fingerprint == demo.fingerprint
    pd.testing.assert_frame_equal(answer_key(again), answer_key(demo))


def test_another_seed_another_dataset() -> None:
    for seed in (0, 1):
        write_demo(f"seed{seed}", 60, seed=seed)
    assert open_dataset("seed0").fingerprint != open_dataset("seed1").fingerprint


@pytest.mark.parametrize("samples", [60, 61, 97, 150])
def test_small_datasets_have_every_fault(samples: int) -> None:
    for seed in range(3):
        name = f"tiny{samples}-{seed}"
        assert write_demo(name, samples, seed=seed)
        assert set(answer_key(open_dataset(name))["fault"]) == {*RATES, "black"}


@pytest.mark.parametrize("samples", [-5, 0, SAMPLES[0] - 1, SAMPLES[1] + 1])
def test_a_size_out_of_range_is_refused(samples: int) -> None:
    with pytest.raises(RequestError, match=f"--samples {samples} .*60 to 1000000"):
        write_demo("refused", samples)
    assert "refused" not in dataset_names()


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RequestError, match="--seed -1"):
        write_demo("refused", 60, seed=-1)


def test_a_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(RequestError, match="not allowed"):
        write_demo("../out", 60)


def test_an_existing_dataset_is_left_alone(demo: Dataset) -> None:
    assert demo.path is not None
    before = {path.name: path.stat().st_mtime_ns for path in demo.path.iterdir()}
    assert write_demo("small", 60, seed=9) is False
    assert {path.name: path.stat().st_mtime_ns for path in demo.path.iterdir()} == before


def test_progress_reaches_its_total() -> None:
    calls: list[tuple[int, int]] = []
    write_demo("watched", 300, progress=lambda done, total: calls.append((done, total)))
    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.parametrize("where", ["save_dataset", "draw_slices", "progress"])
def test_death_half_way_leaves_nothing(where: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if where != "progress":
        monkeypatch.setattr(f"medwb.demo.{where}", die)
    with pytest.raises(KeyboardInterrupt):
        write_demo("dead", 300, progress=die)
    assert not [path for path in (home / "datasets").iterdir() if "dead" in path.name]
