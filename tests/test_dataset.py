import json
import subprocess

import numpy as np
import pytest
from conftest import write_dataset

from medwb.dataset import allocate_images, dataset_names, fingerprint, new_dataset, open_dataset
from medwb.errors import RequestError


def test_open_maps_what_was_saved(tiny):
    assert len(tiny) == 240
    assert tiny.image_shape == (16, 16, 1)
    assert isinstance(tiny.images, np.memmap)
    assert not tiny.images.flags.writeable
    assert tiny.labels.shape == (240, 3)
    assert tiny.splits == ["train", "val", "test"]


def test_subset_keeps_rows_in_step_with_images(tiny):
    val = tiny.split("val")
    assert len(val) == 48
    assert val.images is tiny.images
    first = val.samples.iloc[0]
    assert tiny.samples.loc[val.rows[0], "id"] == first["id"]


def test_unknown_split_is_named(tiny):
    with pytest.raises(RequestError, match="unknown split of tiny 'vall'; did you mean val"):
        tiny.split("vall")


def test_unknown_dataset_says_what_to_do(home):
    with pytest.raises(RequestError, match="there is no dataset yet; `medwb demo` writes one"):
        open_dataset("x")


def test_fingerprint_follows_every_part(tiny):
    images = np.array(tiny.images)
    base = fingerprint(tiny.samples, tiny.label_names, images)
    assert base == tiny.fingerprint
    images[3, 2, 1, 0] ^= 1
    assert fingerprint(tiny.samples, tiny.label_names, images) != base
    for column, value in (("id", "x"), ("split", "test"), ("group", "q"), ("edema", np.nan)):
        changed = tiny.samples.copy()
        changed.loc[0, column] = value
        assert fingerprint(changed, tiny.label_names, tiny.images) != base


def test_failed_writing_leaves_nothing(home):
    with pytest.raises(KeyboardInterrupt), new_dataset("x") as folder:
        (folder / "images.npy").touch()
        raise KeyboardInterrupt
    assert dataset_names() == []
    assert list((home / "datasets").iterdir()) == []


def test_what_a_killed_writer_left_is_removed(home):
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = home / "datasets" / f".tiny.{dead.pid}.x1.partial"
    other = home / "datasets" / f".tiny2.{dead.pid}.x1.partial"
    for folder in (left, other):
        folder.mkdir(parents=True)
    write_dataset("tiny")
    assert not left.exists()
    assert other.exists()


def test_a_name_is_taken_once(tiny):
    with pytest.raises(RequestError, match="dataset 'tiny' exists"):
        write_dataset("tiny")


def test_full_disk_is_one_clear_line(home, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RequestError, match=r"take 0\.04 GB and .* cannot hold them \(No space left on device\)"):
        with new_dataset("x") as folder:
            allocate_images(folder / "images.npy", (10_000, 64, 64, 1))
    assert list((home / "datasets").iterdir()) == []


@pytest.mark.parametrize("file", ["dataset.json", "samples.parquet", "images.npy"])
def test_damaged_files_are_said_to_be(tiny, file):
    (tiny.path / file).write_bytes((tiny.path / file).read_bytes()[:60])
    with pytest.raises(RequestError, match="is damaged"):
        open_dataset("tiny")


def test_pickled_images_are_never_loaded(tiny):
    np.save(tiny.path / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(RequestError, match="is damaged"):
        open_dataset("tiny")


def test_describe_counts_unknown_labels(tiny):
    facts = tiny.describe()
    json.dumps(facts, allow_nan=False)
    counts = facts["labels"]["edema"]["train"]
    assert counts["positive"] + counts["negative"] == facts["splits"]["train"] == 144
    assert counts["unknown"] == 0
    assert facts["groups"] == 80
