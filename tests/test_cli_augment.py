"""medwb augment, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import finish_run, write_dataset

from medwb.audit.cleaning import CLEANING_COLUMNS, Cleaning, open_cleaning, save_cleaning
from medwb.augment import (
    PRESETS,
    TRANSFORMS,
    Augmentation,
    Pool,
    Step,
    augment_samples,
    open_augmentation,
    save_augmentation,
)
from medwb.augment.preservation import CAVEAT, Point, Preservation, Sweep, open_preservation
from medwb.cli.augment import augment
from medwb.cli.augment_report import verdicts
from medwb.dataset import open_dataset
from medwb.params import OneOf
from medwb.runs import list_runs
from medwb.statistics import Score

COMMANDS = [command.name or command.callback.__name__ for command in augment.registered_commands]

RECIPE = """
about: A little turn.
steps:
- transform: rotate
  p: 0.8
  degrees: [-20, 20]
- transform: gamma
  gamma: {one_of: [0.8, 1.25]}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(medwb, command):
    status, out, _ = medwb("augment", command, "--help")
    assert status == 0
    assert "Usage" in out
    assert "--json" in out


def test_the_group_is_listed(medwb):
    assert "augment" in medwb("--help")[1]
    status, out, _ = medwb("augment", "--help")
    assert status == 0
    assert set(COMMANDS) == {"list", "show", "save", "remove", "transforms", "preview", "export", "test"}
    for name in COMMANDS:
        assert name in out


def test_a_recipe_is_saved_listed_shown_and_removed(home, medwb, recipe):
    status, out, err = medwb("augment", "save", "mine", "--file", recipe, "--json")
    assert status == 0, err
    saved = open_augmentation("mine")
    assert json.loads(out) == {"saved": "mine", "digest": saved.digest}
    rows = {row["name"]: row for row in json.loads(medwb("augment", "list", "--json")[1])}
    assert list(rows) == [*PRESETS, "mine"]
    assert rows["mine"] == {
        "name": "mine",
        "preset": False,
        "steps": ["rotate", "gamma"],
        "digest": saved.digest,
        "about": "A little turn.",
    }
    assert rows["study"]["preset"]
    assert rows["study"]["digest"] == PRESETS["study"].digest
    status, out, _ = medwb("augment", "list")
    assert saved.digest in out
    assert medwb("augment", "show", "mine")[1] == saved.to_yaml()
    assert json.loads(medwb("augment", "show", "mine", "--json")[1]) == {
        "name": "mine",
        "digest": saved.digest,
        **saved.describe(),
    }
    status, out, err = medwb("augment", "save", "mine", "--file", recipe)
    assert status == 0  # the same again is no change
    assert "next: medwb train DATASET --set augmentation=mine" in err
    status, out, err = medwb("augment", "remove", "mine")
    assert (status, out) == (0, "")
    assert "removed" in err
    assert medwb("augment", "remove", "mine", "--json")[0] == 2
    medwb("augment", "save", "mine", "--file", recipe)
    assert json.loads(medwb("augment", "remove", "mine", "--json")[1]) == {"removed": "mine"}


def test_what_is_shown_can_be_saved(home, medwb, tmp_path):
    for name in PRESETS:
        (tmp_path / "shown.yaml").write_text(medwb("augment", "show", name)[1])
        status, _, err = medwb("augment", "save", "copy", "--file", tmp_path / "shown.yaml", "--replace")
        assert status == 0, err
        assert open_augmentation("copy") == PRESETS[name]


def test_replacing_asks(home, medwb, recipe):
    medwb("augment", "save", "mine", "--file", recipe)
    recipe.write_text(RECIPE.replace("20", "10"))
    status, _, err = medwb("augment", "save", "mine", "--file", recipe)
    assert status == 2
    assert "augmentation 'mine' exists" in err
    assert medwb("augment", "save", "mine", "--file", recipe, "--replace")[0] == 0
    assert open_augmentation("mine").steps[0].settings["degrees"] == (-10, 10)


def test_code(home, medwb):
    status, out, err = medwb("augment", "show", "study", "--code", "--size", 128)
    assert status == 0, err
    assert "import albumentations as A" in out
    compile(out, "shown", "exec")
    facts = json.loads(medwb("augment", "show", "study", "--code", "--size", 128, "--json")[1])
    assert facts["code"] == out


def test_a_damaged_recipe_does_not_hide_the_others(home, medwb, recipe):
    medwb("augment", "save", "mine", "--file", recipe)
    (home / "augmentations" / "bad.yaml").write_text("steps: [{transform: rotat}]")
    status, out, err = medwb("augment", "list", "--json")
    assert status == 0
    assert [row["name"] for row in json.loads(out)] == [*PRESETS, "mine"]
    assert "note: " in err
    assert "unknown transform 'rotat'; did you mean rotate?" in err


def test_transforms_are_listed_with_their_settings(medwb):
    rows = {row["name"]: row for row in json.loads(medwb("augment", "transforms", "--json")[1])}
    assert list(rows) == TRANSFORMS.names()
    (degrees,) = rows["rotate"]["params"]
    assert (degrees["low"], degrees["high"], degrees["unit"], degrees["drawn"]) == (-180, 180, "°", True)
    assert len(degrees["default"]) == 2
    assert rows["rotate"]["choices"][0]["options"] == ["reflect", "edge", "black"]
    status, out, _ = medwb("augment", "transforms")
    assert status == 0
    for entry in TRANSFORMS:
        assert entry.name in out
    assert "-180 to 180 °" in out


def test_preview_is_a_contact_sheet_of_what_training_sees(home, medwb, tmp_path):
    tiny = write_dataset()
    out = tmp_path / "sheet.png"
    arguments = ["augment", "preview", "tiny", "-a", "study", "--out", out, "--seed", 0, "--draws", 2]
    status, text, err = medwb(*arguments, "--ids", "0003.png,0001.png", "--ids", "0002.png", "--json")
    assert status == 0, err
    facts = json.loads(text)
    assert [(row["id"], row["epoch"]) for row in facts["draws"]] == [
        (f"000{n}.png", epoch) for n in (3, 1, 2) for epoch in (1, 2)
    ]
    assert "% of the scan is left" in facts["warning"]
    sheet = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    side, scale = 16, 128 // 16
    assert sheet.shape == (3 * 128 + 4, 3 * 128 + 4)
    train = tiny.split("train")
    expected = [train.images[train.rows[[3, 1, 2]]]]
    for epoch in (1, 2):
        made = augment_samples(Pool.of(train), np.array([3, 1, 2]), PRESETS["study"], 0, epoch)
        expected.append(made.images)
    for column, images in enumerate(expected):
        for row, image in enumerate(images):
            top, left = row * 130, column * 130
            cell = sheet[top : top + 128 : scale, left : left + 128 : scale]
            assert np.array_equal(cell, image[:side, :side, 0])
    status, text, err = medwb(*arguments, "--samples", 4)
    assert (status, text) == (2, "")
    assert f"--out {out} exists; give another name, or --replace it" in err
    assert np.array_equal(cv2.imread(str(out), cv2.IMREAD_UNCHANGED), sheet)
    status, text, err = medwb(*arguments, "--samples", 4, "--replace")
    assert status == 0, err
    assert "What was drawn" in text
    assert "warning: " in err
    assert f"written to {out}" in err


def test_preview_shows_what_a_run_with_such_settings_sees(home, medwb, tmp_path):
    tiny = write_dataset(samples=60)
    gone = tiny.samples["id"][:30]
    rows = [(key, "train", "exclude", "", np.nan, np.nan, "test", "not wanted") for key in gone]
    table = pd.DataFrame(rows, columns=CLEANING_COLUMNS)
    save_cleaning(Cleaning("tiny", tiny.fingerprint, "fewer", ("test",), ("train",), table))
    save_augmentation("mixing", Augmentation((Step("mixup", p=1),)))
    out = tmp_path / "sheet.png"
    arguments = ["augment", "preview", "tiny", "-a", "mixing", "--out", out, "--draws", 1, "--json"]
    settings = ["--cleaning", "fewer", "--size", 32, "--channels", 3]
    status, text, err = medwb(*arguments, *settings, "--samples", 100)
    assert status == 0, err
    facts = json.loads(text)
    assert (facts["cleaning"], facts["image_shape"]) == ("fewer", [32, 32, 3])
    assert [row["id"] for row in facts["draws"]] == [f"{number:04d}.png" for number in range(30, 36)]
    sheet = cv2.imread(str(out))
    assert sheet.shape == (6 * 130 - 2, 2 * 130 - 2, 3)
    pool = Pool.of(tiny, open_cleaning(tiny, "fewer").apply(tiny), (32, 32, 3))
    made = augment_samples(pool, np.arange(30, 36), open_augmentation("mixing"), 0, 1).images
    for row, image in enumerate(made):
        assert np.array_equal(sheet[row * 130 : row * 130 + 128 : 4, 130:258:4], image)


def test_preview_writes_nothing_into_a_source(home, medwb, csv_source):
    status, _, err = medwb("import", csv_source, "--name", "scans")
    assert status == 0, err
    scan = next(csv_source.rglob("*.png"))
    before = scan.read_bytes()
    for place in (scan, csv_source / "new.png"):
        status, out, err = medwb("augment", "preview", "scans", "-a", "study", "--out", place, "--replace")
        assert (status, out) == (2, "")
        assert "which 'scans' was imported from and which is never written to" in err
    assert scan.read_bytes() == before
    assert not (csv_source / "new.png").exists()


def test_export_and_import(home, medwb, tmp_path):
    write_dataset(samples=60)
    arguments = ["augment", "export", "tiny", "-a", "chest-x-ray", "--out", tmp_path / "out", "--variants", 2]
    status, out, err = medwb(*arguments, "--seed", 5, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["images"] == 72
    assert (facts["dataset"], facts["seed"], facts["variants"], facts["split"]) == ("tiny", 5, 2, "train")
    assert facts["augmentation"]["digest"] == PRESETS["chest-x-ray"].digest
    words = facts["import"].replace("NAME", "back").split()
    status, _, err = medwb(*words[1:])
    assert status == 0, err
    assert len(open_dataset("back")) == 72
    status, _, err = medwb(*arguments)
    assert status == 2
    assert "is not empty" in err
    status, out, err = medwb(*arguments[:-3], tmp_path / "val", "--split", "val")
    assert (status, out) == (0, "")
    assert "120 scans, 10 of each of 12 of val" in err
    assert f"next: medwb import {tmp_path / 'val'} --name NAME" in err


def test_ctrl_c_during_an_export_leaves_nothing(home, medwb, tmp_path, monkeypatch):
    write_dataset(samples=60)

    def stop(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("medwb.augment.export.png", stop)
    place = tmp_path / "place"
    place.mkdir()
    status, out, err = medwb("augment", "export", "tiny", "-a", "study", "--out", place / "out")
    assert (status, out) == (130, "")
    assert "is not written" in err
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_a_terminated_export_sweeps_up(home, tmp_path):
    write_dataset(samples=240)
    place = tmp_path / "place"
    place.mkdir()
    command = [sys.executable, "-m", "medwb.cli", "augment", "export", "tiny", "-a", "study", "--variants", "1000"]
    process = subprocess.Popen([*command, "--out", str(place / "out")], env={**os.environ, "MEDWB_HOME": str(home)})
    try:
        until = time.monotonic() + 30
        while not list(place.glob(".out.*/*.png")) and time.monotonic() < until:
            time.sleep(0.05)
        assert list(place.glob(".out.*/*.png"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 130
    finally:
        process.kill()
    assert list(place.iterdir()) == []


def look(images: np.ndarray) -> np.ndarray:
    """Scores of a reader who knows how `write_dataset` draws the first two labels, and guesses the third."""
    pixels = images[..., 0].astype(np.float32) / 255
    rest = pixels[:, 4:, 4:].mean((1, 2))
    parts = [pixels[:, :4, 4:].mean((1, 2)) - rest, pixels[:, 4:, :4].mean((1, 2)) - rest, pixels[:, 0, 0] - 0.5]
    return np.clip(0.5 + np.stack(parts, axis=1), 0, 1).astype(np.float32)


class Reader:
    """In place of a run's network."""

    def __init__(self, run: object) -> None:
        self.scores = look


def test_a_run_is_tested_along_each_slider(home, medwb, monkeypatch):
    run = finish_run(write_dataset())
    monkeypatch.setattr("medwb.scoring.Scorer", Reader)
    arguments = ["augment", "test", run.id, "--draws", 100]
    status, out, err = medwb(*arguments, "--augmentation", "study", "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["run"], facts["dataset"], facts["caveat"]) == (run.id, "tiny", CAVEAT)
    assert facts["tested"] == "the augmentation 'study'"
    steps = {(row["transform"], row["param"]): row for row in facts["steps"]}
    assert steps["rotate", "degrees"]["draws"] == [-90, 90]
    assert steps["rotate", "degrees"]["harmed"] == ["edema", "mass"]
    low, high = steps["rotate", "degrees"]["safe"]
    assert -90 < low <= 0 <= high < 90
    assert steps["flip-left-right", "p"]["harmed"] == ["mass"]
    assert [one["transform"] for one in facts["sweeps"]].count("cutout") == 1
    assert [row["transform"] for row in facts["steps"]].count("cutout") == 3
    assert len(open_preservation(run).sweeps) == len(facts["sweeps"])
    assert any(note.startswith("effusion cannot be harmed") for note in facts["notes"])
    status, out, err = medwb(*arguments, "-t", "rotate", "-t", "invert")
    assert status == 0, err
    assert "Labels harmed by what is drawn" in out
    assert "Lower than unchanged" in out
    assert "lower than unchanged: the 95 % interval of the paired difference" in err
    assert "edema, mass" in out
    assert "testing rotate, invert on" in err
    assert "48 validation scans, each step alone" in err
    assert f"note: {CAVEAT}" in err


def test_a_step_is_judged_by_the_values_that_it_draws():
    score = Score(0.9, 0.85, 0.95)
    less = {True: Score(-0.1, -0.2, -0.05), False: Score(0, -0.1, 0.1)}
    harm = {-90: False, 0: True, 45: False, 90: False}
    points = tuple(
        Point(value, {"mass": score}, {"mass": less[harmed]}, ("mass",) if harmed else ())
        for value, harmed in harm.items()
    )
    one = Sweep("rotate", "degrees", (), {"border": "reflect"}, 45, {"mass": score}, points, 9, 0, {}, 1)
    found = Preservation("run", (one,))
    for setting, lost in (
        ((-90, 90), ["mass"]),
        (OneOf((-90, 90)), []),
        (OneOf((0, 90)), ["mass"]),
        (0, ["mass"]),
        (45, []),
    ):
        (row,) = verdicts(found, [Step("rotate", {"degrees": setting})])
        assert (row["harmed"], row["lower"]) == (lost, lost), setting


def test_what_is_tested_by_itself(home, medwb, monkeypatch):
    tiny = write_dataset()
    plain, augmented = finish_run(tiny), finish_run(tiny, augmentation="chest-x-ray")
    monkeypatch.setattr("medwb.scoring.Scorer", Reader)
    arguments = ["--samples", 10, "--draws", 100, "--json"]
    own = json.loads(medwb("augment", "test", augmented.id, *arguments)[1])
    assert own["tested"] == "the run's own augmentation"
    assert own["steps"][0]["transform"] == PRESETS["chest-x-ray"].steps[0].transform
    every = json.loads(medwb("augment", "test", plain.id, *arguments)[1])
    assert every["tested"] == "every transform as it is by default"
    assert {one["transform"] for one in every["sweeps"]} == {
        entry.name for entry in TRANSFORMS if entry.family != "mix" and not entry.colour
    }
    assert {one["samples"] for one in every["sweeps"]} == {10}


def test_ctrl_c_during_a_test_keeps_nothing(home, medwb, monkeypatch):
    run = finish_run(write_dataset())

    def stop(images: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("medwb.scoring.Scorer", type("Stopping", (Reader,), {"__init__": lambda *_: None}))
    monkeypatch.setattr("medwb.scoring.Scorer.scores", staticmethod(stop), raising=False)
    status, out, err = medwb("augment", "test", run.id, "-t", "rotate", "--json")
    assert (status, out) == (130, "")
    assert "nothing is kept of this test" in err
    assert open_preservation(run).sweeps == ()


@pytest.mark.slow
def test_a_trained_run_is_tested_with_its_own_network(home, medwb):
    write_dataset()
    status, _, err = medwb("train", "tiny", "-a", "fcnn-1", "--set", "epochs=3")
    assert status == 0, err
    (run,) = list_runs("tiny")
    status, out, err = medwb("augment", "test", run.id, "-t", "flip-left-right", "-t", "gamma", "--json")
    assert status == 0, err
    facts = json.loads(out)
    steps = {row["transform"]: row for row in facts["steps"]}
    assert "mass" in steps["flip-left-right"]["harmed"]  # the left side is the right one then
    answers = run.predictions("val")
    base = facts["sweeps"][0]["base"]
    from sklearn.metrics import roc_auc_score

    for number, label in enumerate(run.label_names):
        expected = roc_auc_score(answers.y_true[:, number], answers.y_score[:, number])
        assert base[label]["value"] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "stdy"], "medwb: unknown augmentation 'stdy'; did you mean study?"),
        (["show", "../x"], "augmentation name '../x' is not allowed"),
        (["save", "study", "--file", "good.yaml"], "augmentation 'study' comes with medwb"),
        (["save", "a b", "--file", "good.yaml"], "augmentation name 'a b' is not allowed"),
        (["save", "x", "--file", "nope.yaml"], "medwb: nope.yaml is no file"),
        (["save", "x", "--file", "."], "is no file"),
        (["save", "x", "--file", "bad.yaml"], "bad.yaml: step 1 (rotate): degrees=400 is out of range"),
        (["save", "x", "--file", "bytes.yaml"], "bytes.yaml is no text in UTF-8"),
        (["save", "x", "--file", "large.yaml"], "large.yaml is larger than 400,000 bytes"),
        (["save", "x", "--file", "text.yaml"], "text.yaml holds no augmentation"),
        (["remove", "study"], "unknown saved augmentation 'study'"),
        (["preview", "tiy", "-a", "study", "--out", "x.png"], "unknown dataset 'tiy'; did you mean tiny?"),
        (["preview", "tiny", "-a", "stdy", "--out", "x.png"], "unknown augmentation 'stdy'"),
        (["preview", "tiny", "-a", "study", "--out", "x.jpg"], "--out x.jpg is no PNG file"),
        (["preview", "tiny", "-a", "study", "--out", "no/x.png"], "cannot write no/x.png"),
        (["preview", "tiny", "-a", "study", "--out", "home/datasets/tiny/x.png"], "which medwb keeps for itself"),
        (["preview", "tiny", "-a", "study", "--out", "there.png"], "--out there.png exists; give another name"),
        (["preview", "tiny", "-a", "study", "--out", "x.png", "--channels", "2"], "--channels 2 is not possible"),
        (["preview", "tiny", "-a", "study", "--out", "x.png", "--cleaning", "no"], "unknown cleaning"),
        (["preview", "tiny", "-a", "tint", "--out", "x.png"], "changes colours, and the scans are grey"),
        (
            ["preview", "tiny", "-a", "study", "--out", "x.png", "--ids", "0001"],
            "unknown scan of tiny '0001'; did you mean 0001.png?",
        ),
        (
            ["preview", "tiny", "-a", "study", "--out", "x.png", "--ids", "zz"],
            "unknown scan of tiny 'zz'; ids look like 0000.png, 0001.png, 0002.png",
        ),
        (["export", "tiny", "-a", "none", "--out", "x"], "'none' has no step that counts"),
        (["export", "tiny", "-a", "study", "--out", "x", "--variants", "0"], "variants 0 is out of range"),
        (["export", "tiny", "-a", "study", "--out", "x", "--split", "tran"], "unknown split of tiny 'tran'"),
        (["export", "tiny", "-a", "study", "--out", "home/datasets/x"], "which medwb keeps for itself"),
        (["test", "nope"], "unknown run 'nope'"),
        (["test", "RUN"], "cannot score scans"),
        (["test", "RUN", "-a", "stdy"], "unknown augmentation 'stdy'"),
        (["test", "RUN", "-t", "rotat"], "unknown transform 'rotat'; did you mean rotate?"),
        (["test", "RUN", "-t", "rotate", "-a", "study"], "--augmentation and --transform exclude one another"),
        (["test", "RUN", "-a", "none"], "the augmentation 'none' has no step that can be tested"),
        (["test", "RUN", "-t", "mixup"], "mixup is left out: it mixes labels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_line_and_status_2(home, medwb, tmp_path, monkeypatch, arguments, message):
    run = finish_run(write_dataset(samples=60))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(RECIPE)
    (tmp_path / "bad.yaml").write_text("steps: [{transform: rotate, degrees: 400}]")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    (tmp_path / "text.yaml").write_text("hello")
    (tmp_path / "there.png").touch()
    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    monkeypatch.setitem(PRESETS, "tint", Augmentation((Step(colour),)))
    arguments = [run.id if word == "RUN" else word for word in arguments]
    before = sorted(path for path in tmp_path.rglob("*"))
    status, out, err = medwb("augment", *arguments, *(["--json"] if arguments[0] == "test" else []))
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(path for path in tmp_path.rglob("*")) == before
