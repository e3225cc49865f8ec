import dataclasses
import zipfile

import numpy as np
import pandas as pd
import pytest
from conftest import write_csv, write_scan, zip_folder

from medwb.dataset import dataset_names
from medwb.errors import RequestError
from medwb.formats import FORMATS, ReadOptions, import_dataset
from medwb.source import Source


def events(dataset):
    return pd.read_parquet(dataset.path / "ingest.parquet")


@pytest.mark.parametrize("entry", list(FORMATS), ids=lambda entry: entry.name)
def test_every_format_says_what_it_is_and_takes_known_options(entry, tmp_path):
    assert len(entry.summary) > 10
    assert set(entry.options) <= {field.name for field in dataclasses.fields(ReadOptions)}
    assert not entry.recognise(Source(tmp_path))


# The competition's layout


@pytest.fixture
def kaggle(tmp_path):
    folder = tmp_path / "comp"
    for split, first, count in (("train", 10000, 12), ("val", 40000, 6), ("test", 70000, 5)):
        rows = [["id", "label1", "label2", "label3"]]
        for offset in range(count):
            name = f"{first + offset}.png"
            write_scan(folder / f"{split}_images" / name, first + offset)
            rows.append([name, offset % 2, offset % 3 == 0, 0])
        write_csv(folder / ("sample_submission.csv" if split == "test" else f"{split}_labels.csv"), rows)
    return folder


def test_kaggle(home, kaggle):
    dataset = import_dataset(kaggle, "comp")
    assert dataset.format == "kaggle"
    assert dataset.label_names == ("label1", "label2", "label3")
    assert {split: len(dataset.split(split)) for split in dataset.splits} == {"train": 12, "val": 6, "test": 5}
    assert np.isnan(dataset.split("test").labels).all()
    assert dataset.known_label_splits() == ["train", "val"]
    assert dataset.split("train").labels[:, 0].tolist() == [0, 1] * 6


def test_kaggle_never_reads_answers_that_lie_beside(home, kaggle):
    (kaggle / "test_labels.csv").write_text((kaggle / "sample_submission.csv").read_text())
    dataset = import_dataset(kaggle, "comp")
    assert np.isnan(dataset.split("test").labels).all()
    assert "test_labels.csv" in set(events(dataset).query("event == 'ignored'")["file"])


def test_kaggle_takes_a_split_only_from_its_folder(home, kaggle):
    with (kaggle / "train_labels.csv").open("a") as table:
        table.write("70001.png,1,1,1\n")
    sample = kaggle / "sample_submission.csv"
    sample.write_text("\n".join(line for line in sample.read_text().splitlines() if "70001" not in line))
    dataset = import_dataset(kaggle, "comp")
    assert dataset.ingest["missing"] == 1
    assert len(dataset.split("train")) == 12


def test_kaggle_ids_may_lack_their_suffix_but_not_stand_in_two_tables(home, kaggle):
    for table in kaggle.glob("*.csv"):
        table.write_text(table.read_text().replace(".png", ""))
    assert len(import_dataset(kaggle, "comp")) == 23
    with (kaggle / "val_labels.csv").open("a") as table:
        table.write("10003,1,1,1\n")
    with pytest.raises(RequestError, match=r"'10003' stands in both train_labels\.csv and val_labels\.csv"):
        import_dataset(kaggle, "again")


# A CSV and a folder


def test_csv_finds_its_columns(home, csv_source):
    dataset = import_dataset(csv_source, "x")
    assert dataset.format == "csv"
    assert dataset.label_names == ("edema", "mass")
    assert dataset.samples["group"].nunique() == 10
    assert dataset.samples["id"].tolist()[:2] == ["000.png", "001.png"]
    by_group = dataset.samples.groupby("group")["split"].nunique()
    assert (by_group == 1).all()


def test_csv_by_its_own_path_and_zipped(home, csv_source, tmp_path):
    one = import_dataset(csv_source / "labels.csv", "one")
    two = import_dataset(zip_folder(csv_source, tmp_path / "x.zip", "top/"), "two")
    assert one.fingerprint == two.fingerprint


def test_csv_columns_by_option(home, csv_source):
    table = pd.read_csv(csv_source / "labels.csv", dtype=str)
    table = table.rename(columns={"id": "scan", "patient": "who"}).assign(
        age="61", part=["train"] * 30 + ["valid"] * 10
    )
    table.to_csv(csv_source / "labels.csv", index=False)
    options = ReadOptions(id_column="scan", group_column="who", split_column="part", label_columns=("mass",))
    dataset = import_dataset(csv_source, "x", options=options)
    assert dataset.label_names == ("mass",)
    assert {split: len(dataset.split(split)) for split in dataset.splits} == {"train": 30, "val": 10}


def test_csv_passes_over_columns_that_are_no_labels_and_says_so(home, csv_source):
    table = pd.read_csv(csv_source / "labels.csv", dtype=str).assign(age=[str(20 + n) for n in range(40)])
    table.to_csv(csv_source / "labels.csv", index=False)
    dataset = import_dataset(csv_source, "x")
    assert dataset.label_names == ("edema", "mass")
    assert events(dataset).query("event == 'ignored'")["file"].tolist() == ["labels.csv: age"]


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1), ("True", 1), ("yes", 1), ("0", 0), ("FALSE", 0), ("", np.nan), ("-1", np.nan), ("maybe", np.nan)],
)
def test_csv_words_for_labels(home, csv_source, word, value):
    table = pd.read_csv(csv_source / "labels.csv", dtype=str)
    table.loc[7, "edema"] = word
    table.to_csv(csv_source / "labels.csv", index=False)
    dataset = import_dataset(csv_source, "x")
    assert np.array_equal(dataset.labels[7, 0], value, equal_nan=True)
    unclear = events(dataset).query("event == 'label'")
    if word == "maybe":
        assert unclear["file"].tolist() == ["labels.csv:9"]
        assert "'maybe' is not understood" in unclear["detail"].iloc[0]
    else:
        assert unclear.empty


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        (ReadOptions(), np.nan, np.nan),
        (ReadOptions(uncertain="positive"), 1, np.nan),
        (ReadOptions(uncertain="negative", unmentioned="negative"), 0, 0),
    ],
)
def test_policies_for_uncertain_and_unmentioned(home, csv_source, options, first, second):
    table = pd.read_csv(csv_source / "labels.csv", dtype=str)
    table.loc[0, "edema"], table.loc[1, "edema"] = "-1", ""
    table.to_csv(csv_source / "labels.csv", index=False)
    labels = import_dataset(csv_source, "x", options=options).labels
    assert np.array_equal(labels[:2, 0], [first, second], equal_nan=True)


def test_csv_rows_keep_their_line_numbers_and_may_end_in_a_blank_cell(home, csv_source):
    text = (csv_source / "labels.csv").read_text().splitlines()
    text[0] += ","
    text = [text[0], '"000.png",p0,"may\nbe",0,', "", *text[2:]]
    (csv_source / "labels.csv").write_text("\n".join(text))
    dataset = import_dataset(csv_source, "x")
    assert len(dataset) == 40
    assert events(dataset).query("event == 'label'")["file"].tolist() == ["labels.csv:3"]


def test_a_file_serves_one_sample(home, csv_source):
    with (csv_source / "labels.csv").open("a") as table:
        table.write("000,p99,1,1\n")
    dataset = import_dataset(csv_source, "x")
    assert len(dataset) == 40
    assert dataset.ingest["duplicate_file"] == 1


# NIH


def test_nih_real(home, realdata):
    dataset = import_dataset(realdata / "nih1000", "nih")
    table = pd.read_csv(realdata / "nih1000" / "Data_Entry.csv")
    assert (len(dataset), len(dataset.label_names), dataset.format) == (1000, 14, "nih")
    for index, label in enumerate(dataset.label_names):
        listed = table["Finding Labels"].str.split("|").map(lambda names, label=label: label in names).sum()
        assert dataset.labels[:, index].sum() == listed
    assert dataset.samples["group"].nunique() == table["Patient ID"].nunique()
    assert {split: len(dataset.split(split)) for split in dataset.splits} == {"train": 600, "val": 200, "test": 200}


def test_nih_draws_validation_from_train_val(home, tmp_path):
    rows = [["Image Index", "Finding Labels", "Patient ID"]]
    for number in range(60):
        write_scan(tmp_path / "x" / "images_001" / "images" / f"{number}.png", number)
        rows.append([f"{number}.png", "Mass|Edema" if number % 3 else "No Finding", number // 3])
    write_csv(tmp_path / "x" / "Data_Entry_2017.csv", rows)
    (tmp_path / "x" / "train_val_list.txt").write_text("\n".join(f"{n}.png" for n in range(45)))
    (tmp_path / "x" / "test_list.txt").write_text("\n".join(f"{n}.png" for n in range(45, 60)))
    dataset = import_dataset(tmp_path / "x", "nih")
    assert dataset.splits == ["train", "val", "test"]
    assert len(dataset.split("test")) == 15
    train_groups, val_groups = (set(dataset.split(split).samples["group"]) for split in ("train", "val"))
    assert not train_groups & val_groups


# CheXpert


def test_chexpert(home, tmp_path):
    for table, split, count in (("train.csv", "train", 12), ("valid.csv", "valid", 4)):
        rows = [["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Edema", "Mass"]]
        for number in range(count):
            path = f"{split}/patient{number:05d}/study1/view1_frontal.jpg"
            write_scan(tmp_path / "set" / path, number)
            rows.append(
                [f"CheXpert-v1.0-small/{path}", "F", 60, "Frontal", "AP", ["1.0", "0.0", "-1.0", ""][number % 4], 1]
            )
        write_csv(tmp_path / "set" / table, rows)
    dataset = import_dataset(tmp_path / "set", "chexpert", options=ReadOptions(uncertain="positive"))
    assert dataset.format == "chexpert"
    assert dataset.splits == ["train", "val"]
    assert np.array_equal(dataset.labels[:4, 0], [1, 0, 1, np.nan], equal_nan=True)
    assert dataset.samples["group"].iloc[1] == "patient00001"
    assert dataset.samples["id"].iloc[0] == "train/patient00000/study1/view1_frontal.jpg"


# MedMNIST


def medmnist(path, labels, side=28, channels=0, **arrays):
    shape = (side, side, channels) if channels else (side, side)
    content = {}
    for split, count in (("train", 20), ("val", 6), ("test", 6)):
        content[f"{split}_images"] = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = labels(count)
    np.savez_compressed(path, **{**content, **arrays})
    return path


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("chestmnist_64", lambda n: np.arange(n * 14).reshape(n, 14) % 2, 14),
        ("pneumoniamnist", lambda n: np.arange(n).reshape(n, 1) % 2, 1),
        ("bloodmnist", lambda n: np.arange(n).reshape(n, 1) % 8, 8),
        ("mine", lambda n: np.arange(n).reshape(n, 1) % 3, 3),
    ],
)
@pytest.mark.parametrize(("side", "channels"), [(28, 0), (64, 3)])
def test_medmnist(home, tmp_path, name, labels, expected, side, channels):
    path = medmnist(tmp_path / f"{name}.npz", labels, side, channels)
    dataset = import_dataset(path, "m")
    assert dataset.format == "medmnist"
    assert dataset.image_shape == (side, side, channels or 1)
    assert len(dataset.label_names) == expected
    with np.load(path) as arrays:
        assert np.array_equal(dataset.images[20:26].squeeze(), arrays["val_images"].squeeze())
    assert dataset.labels.shape == (32, expected)
    if name == "bloodmnist":
        assert (dataset.labels.sum(1) == 1).all()


def test_medmnist_names_are_the_sets_own(home, tmp_path):
    path = medmnist(tmp_path / "pneumoniamnist.npz", lambda n: np.arange(n).reshape(n, 1) % 2)
    assert import_dataset(path, "m").label_names == ("pneumonia",)


def test_medmnist_refuses_pickles(home, tmp_path):
    objects = np.array([{"a": 1}] * 20, dtype=object)
    path = medmnist(tmp_path / "m.npz", lambda n: np.zeros((n, 1), int), train_labels=objects)
    with pytest.raises(RequestError, match="pickled objects"):
        import_dataset(path, "m")
    path = medmnist(tmp_path / "m.npz", lambda n: np.zeros((n, 1), int), train_images=objects)
    with pytest.raises(RequestError, match="pickled objects, which can run code"):
        import_dataset(path, "m")


def test_medmnist_truncated(home, tmp_path):
    path = medmnist(tmp_path / "m.npz", lambda n: np.zeros((n, 1), int))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RequestError, match=r"no readable \.npz file"):
        import_dataset(path, "m")


# Folders


def test_folders_in_a_zip(home, tmp_path):
    for number in range(30):
        write_scan(tmp_path / "set" / ["Hand", "Head", "Chest"][number % 3] / f"{number:03d}.jpeg", number)
    dataset = import_dataset(zip_folder(tmp_path / "set", tmp_path / "set.zip", "MedNIST/"), "m")
    assert dataset.format == "folders"
    assert dataset.label_names == ("Chest", "Hand", "Head")
    assert (dataset.labels.sum(1) == 1).all()
    assert dataset.splits == ["train", "val", "test"]


def test_folders_below_split_folders(home, tmp_path):
    for number in range(12):
        split, label = ["train", "validation"][number % 2], ["a", "b"][number // 6]
        write_scan(tmp_path / "set" / split / label / f"{number}.png", number)
    dataset = import_dataset(tmp_path / "set", "m", format="folders")
    assert dataset.label_names == ("a", "b")
    assert {split: len(dataset.split(split)) for split in dataset.splits} == {"train": 6, "val": 6}


def test_mednist_real(home, realdata):
    dataset = import_dataset(realdata / "mednist.zip", "mednist")
    assert (len(dataset), dataset.image_shape, len(dataset.label_names)) == (58_954, (64, 64, 1), 6)
    assert dataset.ingest["read"] == 58_954


# What an import meets


def test_ingest_report(home, csv_source):
    write_scan(csv_source / "images" / "spare.png")
    write_scan(csv_source / "images" / "000.png", size=(64, 48))
    write_scan(csv_source / "images" / "001.png", channels=4)
    (csv_source / "images" / "002.png").write_bytes((csv_source / "images" / "003.png").read_bytes()[:100])
    (csv_source / "images" / "003.png").write_text("not a scan")
    (csv_source / "images" / "004.png").unlink()
    write_scan(csv_source / "images" / "005.tif", size=(20_000, 8))
    (csv_source / "images" / "005.png").unlink()
    rows = (csv_source / "labels.csv").read_text().replace("005.png", "005").splitlines()
    (csv_source / "labels.csv").write_text("\n".join([*rows, rows[-1], "ghost.png,p9,0,1"]))
    dataset = import_dataset(csv_source, "x", channels=1)
    assert {event: count for event, count in dataset.ingest.items() if count} == {
        "read": 36,
        "resized": 1,
        "converted": 1,
        "unreadable": 3,
        "missing": 2,
        "unlisted": 1,
        "duplicate_id": 1,
    }
    table = events(dataset).set_index("file")
    assert "truncated PNG" in table.loc["images/002.png", "detail"]
    assert "not a PNG" in table.loc["images/003.png", "detail"]
    assert "over the limit of 16384 a side" in table.loc["images/005.tif", "detail"]
    assert len(dataset.images) == len(dataset) == 36
    assert "002.png" not in set(dataset.samples["id"])


def test_rows_stay_with_their_images_when_some_are_left_out(home, csv_source):
    full = import_dataset(csv_source, "full")
    (csv_source / "images" / "010.png").write_text("broken")
    part = import_dataset(csv_source, "part")
    row = int(part.samples.index[part.samples["id"] == "011.png"][0])
    assert row == 10
    assert np.array_equal(part.images[row], full.images[11])


def test_late_colour_is_kept(home, csv_source):
    grey = import_dataset(csv_source, "grey")
    write_scan(csv_source / "images" / "001.png", 1, channels=3)
    for number in range(40, 640):
        write_scan(csv_source / "images" / f"{number:03d}.png", number)
    with (csv_source / "labels.csv").open("a") as table:
        table.writelines(f"{number:03d}.png,p{number},0,1\n" for number in range(40, 640))
    dataset = import_dataset(csv_source, "x")
    assert dataset.image_shape == (32, 32, 3)
    assert np.array_equal(dataset.images[0], np.repeat(grey.images[0], 3, axis=2))
    assert not np.array_equal(dataset.images[1, ..., 0], dataset.images[1, ..., 1])


def test_size_and_channels(home, csv_source):
    dataset = import_dataset(csv_source, "x", size=16, channels=3)
    assert dataset.image_shape == (16, 16, 3)
    assert dataset.ingest["resized"] == 40


def test_progress_ends_at_the_total(home, csv_source):
    calls = []
    import_dataset(csv_source, "x", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (40, 40)


# Bad input: one clear line, and nothing is left behind


def break_nothing(folder):
    pass


def no_id_column(folder):
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("id,", "scan,", 1))


def other_ids(folder):
    write_csv(folder / "labels.csv", [["id", "edema"], *([f"other{n}.png", n % 2] for n in range(5))])


def id_that_leaves(folder):
    write_csv(folder / "labels.csv", [["id", "edema"], ["000.png", 1], ["../secret.png", 0]])


def unreadable(folder):
    for path in (folder / "images").iterdir():
        path.write_text("text")


def large(folder):
    for path in (folder / "images").iterdir():
        write_scan(path, size=(900, 700))


def bad_split(folder):
    rows = [["id", "split", "edema"], *([f"{n:03d}.png", "holdout" if n == 3 else "train", n % 2] for n in range(9))]
    write_csv(folder / "labels.csv", rows)


def first_row_too_long(folder):
    (folder / "labels.csv").write_text("id,age,edema,mass\n000.png,63,1,0,1\n001.png,50,0,1\n")


def twice_a_column(folder):
    (folder / "labels.csv").write_text("id,edema, edema\n000.png,1,0\n")


def ragged(folder):
    (folder / "labels.csv").write_text("id,edema\n000.png,1\n001.png,1,0,1,1\n")


def binary_table(folder):
    (folder / "labels.csv").write_bytes(bytes(range(256)) * 20)


def two_tables(folder):
    write_csv(folder / "more.csv", [["id", "x"], ["000.png", 1]])


def no_labels(folder):
    write_csv(folder / "labels.csv", [["id", "age"], *([f"{n:03d}.png", 30 + n] for n in range(9))])


def taken_label(folder):
    write_csv(folder / "labels.csv", [["id", "width"], *([f"{n:03d}.png", n % 2] for n in range(9))])


@pytest.mark.parametrize(
    ("damage", "arguments", "message"),
    [
        (break_nothing, {"name": "a/b"}, "dataset name 'a/b' is not allowed"),
        (break_nothing, {"format": "dicomdir"}, "unknown format 'dicomdir'"),
        (break_nothing, {"size": 4}, "--size 4 is out of range"),
        (break_nothing, {"channels": 2}, "--channels 2 is not possible"),
        (break_nothing, {"options": ReadOptions(table="x.csv")}, "unknown table in .* 'x.csv'"),
        (break_nothing, {"options": ReadOptions(label_columns=("edma",))}, "'edma'; did you mean edema"),
        (break_nothing, {"options": ReadOptions(uncertain="perhaps")}, "--uncertain 'perhaps' is not possible"),
        (
            break_nothing,
            {"format": "folders", "options": ReadOptions(uncertain="unknown")},
            "does not take --uncertain",
        ),
        (break_nothing, {"format": "nih"}, "is not in the format nih, which is: .Data_Entry"),
        (no_id_column, {}, r"unknown column in labels.csv 'id'.*name it with --id-column; columns: scan, patient"),
        (other_ids, {}, "none of the 5 listed images is in"),
        (id_that_leaves, {}, r"'\.\./secret\.png' leads out of"),
        (unreadable, {}, "could be read"),
        (large, {}, "the scans are 700 x 900 pixels; choose the size to keep"),
        (bad_split, {}, r"labels.csv:5: split='holdout' is no split"),
        (ragged, {}, "labels.csv:3: 5 cells, but the header has 2"),
        (binary_table, {}, "labels.csv is no readable text"),
        (first_row_too_long, {}, "labels.csv:2: 5 cells, but the header has 4"),
        (twice_a_column, {}, "labels.csv: every column needs a name of its own; the header is id, edema, edema"),
        (break_nothing, {"seed": -1}, "--seed -1 is negative"),
        (two_tables, {}, r"has 2 CSV tables at its top \(labels.csv, more.csv\)"),
        (no_labels, {}, "there is no label column"),
        (taken_label, {}, "label name 'width' is"),
    ],
)
def test_bad_input(home, csv_source, damage, arguments, message):
    damage(csv_source)
    with pytest.raises(RequestError, match=message) as raised:
        import_dataset(csv_source, **{"name": "x", **arguments})
    assert "\n" not in str(raised.value)
    assert dataset_names() == []
    assert not list((home / "datasets").glob(".*"))


def test_no_such_path(home, tmp_path):
    with pytest.raises(RequestError, match="no such file or folder"):
        import_dataset(tmp_path / "nothing", "x")


def test_empty_folder(home, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        RequestError, match=r"in no format that medwb recognises \(an empty folder\); name one with --format"
    ):
        import_dataset(tmp_path / "empty", "x")


def test_zip_entry_that_leaves(home, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../x.png", b"")
    with pytest.raises(RequestError, match="leads out of it; not imported"):
        import_dataset(tmp_path / "x.zip", "x")


def test_same_name_twice_keeps_the_first(home, csv_source):
    first = import_dataset(csv_source, "x")
    with pytest.raises(RequestError, match="dataset 'x' exists"):
        import_dataset(csv_source, "x", size=16)
    assert first.image_shape == (32, 32, 1)


def test_full_disk(home, csv_source, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RequestError, match="No space left on device"):
        import_dataset(csv_source, "x")
    assert list((home / "datasets").iterdir()) == []


def test_strict_names_the_first_bad_file(home, csv_source):
    (csv_source / "images" / "002.png").write_text("broken")
    with pytest.raises(RequestError, match="--strict: 1 unreadable; the first: images/002"):
        import_dataset(csv_source, "x", strict=True)
    assert dataset_names() == []


def test_the_source_is_not_written_to(home, csv_source):
    before = {path: path.stat().st_mtime_ns for path in csv_source.rglob("*")}
    import_dataset(csv_source, "x")
    assert {path: path.stat().st_mtime_ns for path in csv_source.rglob("*")} == before
