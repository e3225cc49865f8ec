import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import write_dataset

import medwb
from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.export import check_place, export_augmented, file_stems
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.errors import RequestError
from medwb.formats import ReadOptions, import_dataset

TURN = Augmentation((Step("rotate", {"degrees": (-30, 30)}, p=0.8), Step("cutout", p=0.5)))


def odd_dataset(name: str = "odd", channels: int = 3, source: str = "a test") -> Dataset:
    """Twelve scans of 12 x 20 pixels with ids that are no file names, unknown labels, and some patients."""
    rng = np.random.default_rng(1)
    ids = ["a/b.png", "a-b.png", "../up.jpg", "con.png", "Ä ß.png", "A-B", "x.y", ".hid", "z" * 300, "1", "2", "3"]
    table = pd.DataFrame({"id": ids, "split": ["train"] * 10 + ["val", "test"], "group": ["p1"] * 4 + [""] * 8})
    labels = rng.integers(0, 2, (12, 2)).astype(np.float32)
    labels[0] = (1, np.nan)
    table[["edema, mild", "mass"]] = labels
    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (12, 12, 20, channels))
        images[:] = rng.integers(0, 256, images.shape, dtype=np.uint8)
        names = ["edema, mild", "mass"]
        save_dataset(folder, table, names, images, format="csv", source=source, ingest={"read": 12})
    return open_dataset(name)


def read_png(path: Path, channels: int) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels[:, :, ::-1] if channels == 3 else pixels[:, :, None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("split", ["train", "val"])
def test_variant_k_is_what_epoch_k_of_a_training_sees(home, tmp_path, channels, split):
    dataset = odd_dataset(channels=channels)
    made = export_augmented(dataset, TURN, "turn", tmp_path / "out", variants=3, split=split, seed=7)
    part = dataset.split(split)
    assert (made.samples, made.images) == (len(part), 3 * len(part))
    positions = np.arange(len(part))
    stems = file_stems(part.samples["id"].tolist())
    for epoch in (1, 2, 3):
        expected = augment_samples(Pool.of(part), positions, TURN, 7, epoch).images
        for stem, image in zip(stems, expected, strict=True):
            assert np.array_equal(read_png(tmp_path / "out" / f"{stem}_{epoch}.png", channels), image)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {f"{stem}_{k}.png" for stem in stems for k in (1, 2, 3)} | {"labels.csv", "provenance.json"}


def test_labels_stand_beside_the_scans_and_unknown_is_blank(home, tmp_path):
    dataset = odd_dataset()
    export_augmented(dataset, TURN, "turn", tmp_path / "out", variants=2)
    table = pd.read_csv(tmp_path / "out" / "labels.csv", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["id", "edema, mild", "mass", "split", "group"]
    train = dataset.split("train")
    assert table["id"].tolist() == [
        f"{stem}_{k}.png" for stem in file_stems(train.samples["id"].tolist()) for k in (1, 2)
    ]
    assert set(table["split"]) == {"train"}
    assert table["mass"][:2].tolist() == ["", ""]
    known = train.labels[:, 0].repeat(2)
    assert table["edema, mild"].tolist() == [f"{value:g}" for value in known]
    assert table["group"].nunique() == 1 + 6  # the patient, and each scan whose patient is not known


def test_the_provenance_says_how_to_make_it_again(home, tmp_path):
    dataset = odd_dataset()
    made = export_augmented(dataset, TURN, "turn", tmp_path / "one", variants=2, seed=3)
    facts = json.loads((tmp_path / "one" / "provenance.json").read_text())
    assert facts == made.provenance
    assert facts["dataset"] == "odd"
    assert facts["fingerprint"] == dataset.fingerprint
    assert facts["augmentation"] == {"name": "turn", "digest": TURN.digest, **TURN.describe()}
    assert (facts["seed"], facts["variants"], facts["medwb"]) == (3, 2, medwb.__version__)
    assert facts["renamed"]["up"] == "../up.jpg"
    assert "1" not in facts["renamed"]
    export_augmented(dataset, TURN, "turn", tmp_path / "two", variants=2, seed=3)
    export_augmented(dataset, TURN, "turn", tmp_path / "other", variants=2, seed=4)

    def content(folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    assert content("one") == content("two")
    assert content("one").keys() == content("other").keys()
    assert content("one")["1_1.png"] != content("other")["1_1.png"]


def test_what_is_exported_can_be_imported(home, tmp_path):
    tiny = write_dataset(samples=90)
    made = export_augmented(tiny, TURN, "turn", tmp_path / "out", variants=3)
    assert made.import_command == f"medwb import {tmp_path / 'out'} --name NAME"
    assert made.notes == []
    back = import_dataset(tmp_path / "out", "back", strict=True)
    assert len(back) == made.images == 3 * len(tiny.split("train"))
    assert back.label_names == tiny.label_names
    assert back.image_shape == tiny.image_shape
    assert back.splits == ["train", "val"]
    samples = back.samples
    assert (samples.groupby("group")["split"].nunique() == 1).all()
    source = tiny.samples.set_index(tiny.samples["id"].str.removesuffix(".png"))
    original = source.loc[samples["id"].str.rsplit("_", n=1).str[0]]
    assert np.array_equal(original[list(tiny.label_names)].to_numpy(np.float32), back.labels)
    assert original["group"].tolist() == samples["group"].tolist()
    again = augment_samples(Pool.of(tiny.split("train")), np.arange(54), TURN, 0, 2).images
    ids = tiny.split("train").samples["id"].str.removesuffix(".png") + "_2.png"
    rows = pd.Index(samples["id"]).get_indexer(ids)
    assert np.array_equal(back.images[rows], again)


def test_unknown_labels_come_back_unknown(home, tmp_path):
    dataset = odd_dataset()
    unknown = replace(dataset, samples=dataset.samples.assign(mass=np.float32(np.nan)))
    made = export_augmented(unknown, TURN, "turn", tmp_path / "out", variants=1)
    assert made.import_command.endswith("--labels 'edema, mild,mass'")
    options = ReadOptions(label_columns=("edema, mild", "mass"))
    back = import_dataset(tmp_path / "out", "back", options=options, strict=True)
    assert np.isnan(back.labels[:, 1]).all()
    assert not np.isnan(back.labels[:, 0]).any()


@pytest.mark.parametrize("name", [entry.name for entry in TRANSFORMS if entry.family == "mix"])
def test_mixed_labels_are_shares(home, tmp_path, name):
    tiny = write_dataset(samples=60)
    recipe = Augmentation((Step(name, p=0.6),))
    made = export_augmented(tiny, recipe, "mixing", tmp_path / "out", variants=2)
    pool = Pool.of(tiny.split("train"))
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    for epoch in (1, 2):
        expected = augment_samples(pool, np.arange(36), recipe, 0, epoch).targets
        found = table[table["id"].str.endswith(f"_{epoch}.png")][list(tiny.label_names)]
        assert np.allclose(found, expected, atol=1e-6)
    assert not np.isin(table[list(tiny.label_names)], (0, 1)).all()
    (note,) = made.notes
    assert "shares as labels" in note
    assert "--labels" in made.import_command


def test_the_source_may_be_named_through_a_link(home, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "link").symlink_to("source")
    dataset = odd_dataset(source=str(tmp_path / "link"))
    with pytest.raises(RequestError, match="which 'odd' was imported from"):
        check_place(tmp_path / "source" / "x.png", dataset)
    assert check_place(tmp_path / "x.png", dataset) == (tmp_path / "x.png").resolve()


def test_mixed_scans_of_a_split_show_no_other_split(home, tmp_path):
    tiny = write_dataset(samples=60)
    recipe = Augmentation((Step("mixup", p=1),))
    export_augmented(tiny, recipe, "mixing", tmp_path / "out", variants=1, split="val")
    blank = replace(tiny, images=np.where(np.arange(60)[:, None, None, None] < 36, 0, tiny.images).astype(np.uint8))
    export_augmented(blank, recipe, "mixing", tmp_path / "blank", variants=1, split="val")
    for path in sorted((tmp_path / "out").glob("*.png")):
        assert path.read_bytes() == (tmp_path / "blank" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("full", "full is not empty, and nothing is overwritten"),
        ("file", "file is a file; name a folder"),
        ("nowhere/out", "nowhere is not there; make it"),
        ("source/images/new", "which 'odd' was imported from and which is never written to"),
        ("source", "which 'odd' was imported from and which is never written to"),
        ("home/datasets/new", "which medwb keeps for itself"),
        ("home/datasets/odd/new", "which medwb keeps for itself"),
        ("home/runs/new", "which medwb keeps for itself"),
        ("link/new", "which medwb keeps for itself"),
        ("file/new", "is not there|Not a directory"),
    ],
)
def test_places_that_are_refused(home, tmp_path, place, message):
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / "labels.csv").touch()
    dataset = odd_dataset(source=str(source / "labels.csv"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(home / "datasets")
    (home / "runs").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=message):
        export_augmented(dataset, TURN, "turn", tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_will_do(home, tmp_path):
    (tmp_path / "out").mkdir()
    export_augmented(odd_dataset(), TURN, "turn", tmp_path / "out", variants=1)
    assert (tmp_path / "out" / "labels.csv").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variants": 0}, "variants 0 is out of range; give 1 to 1,000"),
        ({"variants": 1001}, "variants 1001 is out of range"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"split": "tran"}, "unknown split of odd 'tran'; did you mean train"),
    ],
)
def test_wrong_numbers_are_refused(home, tmp_path, settings, message):
    with pytest.raises(RequestError, match=message):
        export_augmented(odd_dataset(), TURN, "turn", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_what_does_nothing_or_does_not_fit_is_refused(home, tmp_path):
    grey = odd_dataset(channels=1)
    off = Augmentation((Step("rotate", enabled=False),))
    with pytest.raises(RequestError, match="'off' has no step that counts"):
        export_augmented(grey, off, "off", tmp_path / "out")
    colour = [entry.name for entry in TRANSFORMS if entry.colour]
    for name in colour:
        with pytest.raises(RequestError, match="changes colours, and the scans are grey"):
            export_augmented(grey, Augmentation((Step(name),)), "stained", tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_stops_half_way_leaves_nothing(home, tmp_path, error):
    dataset, seen = odd_dataset(), []

    def stop(done: int, total: int) -> None:
        seen.append((done, total, [path.name for path in tmp_path.iterdir()]))
        if len(seen) == 2:
            raise error

    with pytest.raises(error):
        export_augmented(dataset, TURN, "turn", tmp_path / "out", variants=3, progress=stop)
    assert [item[:2] for item in seen] == [(10, 30), (20, 30)]
    assert f".out.{os.getpid()}.partial" in seen[0][2]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_what_a_killed_export_left_is_swept_up(home, tmp_path):
    left, alive = tmp_path / ".out.999999999.partial", tmp_path / f".out.{os.getppid()}.partial"
    left.mkdir()
    alive.mkdir()
    export_augmented(odd_dataset(), TURN, "turn", tmp_path / "out", variants=1)
    assert not left.exists()
    assert alive.exists()


def test_file_stems_are_safe_and_differ():
    ids = ["a.png", "A.jpg", "x/y", "x-y", "../../etc/passwd", "con.txt", "nul.png", "", "...", ".hid", "日本", "é"]
    ids += ["__MACOSX.png", "z" * 300, "z" * 301, "plain_0.png", "1.2.840.1"]
    stems = file_stems(ids)
    assert len({stem.lower() for stem in stems}) == len(ids)
    for stem in stems:
        assert stem
        assert len(stem) < 150
        assert set(stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert not stem.startswith((".", "-"))
        assert stem.split(".")[0].lower() not in ("con", "nul", "__macosx")
    assert stems[-2:] == ["plain_0", "1.2.840.1"]
    shuffled = file_stems(ids[::-1])
    assert shuffled[::-1] == stems


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_exported(home, tmp_path, name):
    tiny = write_dataset(samples=20)
    export_augmented(tiny, PRESETS[name], name, tmp_path / "out", variants=1)
    assert len(list((tmp_path / "out").glob("*.png"))) == 12
