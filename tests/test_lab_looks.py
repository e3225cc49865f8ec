"""The looks of the lab's page: how a run sees scans, what a run still recognises, two recipes, text as text."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import LABELS, finish_run, write_dataset
from streamlit.testing.v1 import AppTest
from test_lab_page import TABS, TWO, errors, lab, open_lab, press, served, shared  # noqa: F401  fixtures among them

from medwb.audit.cleaning import CLEANING_COLUMNS, Cleaning, open_cleaning, save_cleaning
from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Step, save_augmentation
from medwb.augment.panel import unpack
from medwb.augment.preservation import measure_preservation, open_preservation
from medwb.augment.preview import Scans, difference, preview
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.gallery import diverging
from medwb.runs import Run

pytestmark = pytest.mark.slow

IDS = "0001.png, 0004.png, 0009.png"
MIXED = Augmentation((Step("rotate", p=1), Step("mixup", {"alpha": 5}, p=1)))


class Frames(list[tuple[dict[str, Any], np.ndarray]]):
    """Headers and pixels of what the page hands to `lab.js`."""

    def __call__(self, *, data: bytes, **_: object) -> None:
        self.append(unpack(data))


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch, served: None) -> Frames:  # noqa: F811
    import lab_live

    found = Frames()
    monkeypatch.setattr(lab_live, "_component", found)
    return found


def clean(data: Dataset, name: str = "some") -> Cleaning:
    """A training scan leaves, another gets a share of votes."""
    rows = [("0002.png", "train", "exclude", "", np.nan, np.nan), ("0004.png", "train", "label", LABELS[0], 0, 0.5)]
    table = pd.DataFrame([(*row, "why", "keep-all") for row in rows], columns=list(CLEANING_COLUMNS))
    save_cleaning(Cleaning(data.name, data.fingerprint, name, ("keep-all",), ("train",), table))
    return open_cleaning(data, name)


SEEN = {"image_size": "40", "channels": "3", "cleaning": "some"}


def test_scans_are_shown_as_a_run_with_these_settings_sees_them(tiny, frames):
    cleaning = clean(tiny)
    app = open_lab(MIXED, scans="By id", **{"of-ids": IDS}, **SEEN)
    (_, cells), expected = frames[-1], Scans.of(tiny, [1, 4, 9], cleaning=cleaning, shape=(40, 40, 3))
    assert np.array_equal(cells, preview(expected, MIXED, 0, 1, 4).cells)
    plain = open_lab(MIXED, scans="By id", **{"of-ids": IDS})
    assert np.array_equal(frames[-1][1], preview(Scans.of(tiny, [1, 4, 9]), MIXED, 0, 1, 4).cells)
    assert not app.error
    assert not plain.error


@pytest.mark.parametrize("tab", [*TABS, "plain"])
def test_every_look_takes_scans_as_a_run_sees_them(tiny, tab):
    clean(tiny)
    look = {"plain": "true"} if tab == "plain" else {"look": tab}
    assert not open_lab(MIXED if tab != "Code" else TWO, **look, **SEEN).error


def test_what_a_cleaning_takes_out_is_not_chosen(tiny):
    clean(tiny)
    app = open_lab(TWO, scans="By id", **{"of-ids": "0001.png, 0002.png, 0150.png"}, **SEEN)
    assert any(caption.value.startswith("2 of them would not be learned from") for caption in app.caption)
    assert not any("learned from" in one.value for one in open_lab(TWO, cleaning="some").caption)


def test_settings_that_do_not_go_together_are_explained(tiny):
    colour = Augmentation((Step(next(entry.name for entry in TRANSFORMS if entry.colour)),))
    assert "the scans are grey" in errors(open_lab(colour))
    assert not open_lab(colour, channels="3").error
    assert "8 scans of 1024 x 1024 pixels in 8 epochs are too many" in errors(
        open_lab(TWO, image_size="1024", channels="3", rows="8", draws="8")
    )
    assert not open_lab(TWO, cleaning="gone", channels="7", image_size="5").exception
    clean(tiny)
    path = tiny.path.parent.parent / "audits" / tiny.name / "cleanings" / "some.parquet"
    path.write_bytes(b"damaged")
    assert "some" in errors(open_lab(TWO, cleaning="some"))


def test_train_with_it_takes_the_settings_along(tiny):
    clean(tiny)
    save_augmentation("mine", TWO)
    write_dataset("another")
    app = press(open_lab(TWO, dataset=tiny.name, seed="5", **SEEN), "lab-train")
    assert not app.exception
    assert app.title[0].value == "Train"
    assert app.selectbox(key="dataset").value == tiny.name
    said = next(text.value for text in app.text if text.value.startswith("Changed: "))
    for one in ("augmentation=mine", "image_size=40", "channels=3", "cleaning=some"):
        assert one in said
    app = press(open_lab(TWO, dataset=tiny.name), "lab-train")
    assert [text.value for text in app.text if "Changed" in text.value] == ["Changed: augmentation=mine"]


def looked(images: np.ndarray) -> np.ndarray:
    """Scores of a reader who knows how `write_dataset` draws: a bright top, a bright left side, a bright centre."""
    pixels = images[..., 0].astype(np.float32) / 255
    rest = pixels[:, 4:, 4:].mean((1, 2))
    parts = [pixels[:, :4].mean((1, 2)), pixels[:, :, :4].mean((1, 2)), pixels[:, 6:10, 6:10].mean((1, 2))]
    return np.clip(0.5 + np.stack(parts, axis=1) - rest[:, None], 0, 1).astype(np.float32)


class Reader:
    """In place of a run's networks."""

    def __init__(self, run: Run) -> None:
        self.scores = looked


@pytest.fixture
def run(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("medwb.scoring.Scorer", Reader)
    found = finish_run(tiny, architecture="fcnn-2")
    (found.path / "model.onnx").write_bytes(b"x")
    return found


FLIP = Augmentation((Step("flip-up-down", p=1), Step("rotate", p=1), Step("mixup")))


def test_labels_say_so_where_no_run_can_score(tiny):
    look = {"look": "Labels"}
    assert any("No run on this dataset has finished yet" in info.value for info in open_lab(TWO, **look).info)
    finish_run(tiny, architecture="k-nn")
    assert any("model.onnx" in info.value for info in open_lab(TWO, **look).info)


def test_a_step_is_tested_and_its_tracks_turn_red(tiny, run, frames):
    finish_run(tiny, architecture="k-nn")
    app = open_lab(FLIP, look="Labels")
    assert len(app.selectbox(key="tested").options) == 1
    assert any("has not been tested" in caption.value for caption in app.caption)
    app = press(app, "lab-test")
    assert not app.exception
    (sweep,) = open_preservation(run).sweeps
    assert (sweep.transform, sweep.param) == ("flip-up-down", "p")
    assert sweep.points[-1].harmed
    assert any("No label is harmed from 0, of" in text.value.replace("\\", "") for text in app.markdown)

    frames.clear()
    app = open_lab(FLIP)
    (shown,) = frames[-1][0]["controls"]
    assert (shown["name"], shown["harmful"]) == ("p", [[0.5, 1.0]])
    assert any("recognises a label less well" in caption.value for caption in app.caption)
    said = [caption.value.replace("\\", "") for caption in open_lab(FLIP, plain="true").caption]
    assert any("recognises a label less well from 0.5 to 1." in text for text in said)

    app.radio(key="lab-pick").set_value(1).run()
    assert not any(one.get("harmful") for one in frames[-1][0]["controls"])


def test_a_step_that_mixes_is_not_tested(run):
    app = open_lab(FLIP, look="Labels")
    app.radio(key="lab-pick").set_value(2).run()
    assert app.button(key="lab-test").disabled


def test_a_run_that_cannot_score_is_explained(tiny):
    run = finish_run(tiny)
    (run.path / "model.onnx").write_bytes(b"x")
    assert "model.onnx is damaged" in errors(press(open_lab(FLIP, look="Labels"), "lab-test"))


def test_two_recipes_stand_side_by_side(tiny, frames):
    open_lab(TWO, look="Compare", second="chest-x-ray", scans="By id", **{"of-ids": IDS})
    beside = [(header["title"], cells) for header, cells in frames if not header["controls"]]
    assert [title for title, _ in beside] == ["this recipe", "chest-x-ray"]
    for (_, cells), recipe in zip(beside, (TWO, PRESETS["chest-x-ray"]), strict=True):
        assert np.array_equal(cells, preview(Scans.of(tiny, [1, 4, 9]), recipe, 0, 1, 4).cells)


def test_a_scan_stands_before_what_became_of_it(tiny, monkeypatch):
    import lab_views

    strips: list[np.ndarray] = []
    monkeypatch.setattr(lab_views, "_strip", strips.append)
    open_lab(TWO, look="Difference", scans="By id", **{"of-ids": IDS}, epoch="3")
    scans = Scans.of(tiny, [1, 4, 9])
    after = scans.augment(TWO, 0, 3).images
    before, shown, coloured = strips[-1].swapaxes(0, 1)
    assert np.array_equal(before[..., :1], scans.images)
    assert np.array_equal(shown[..., :1], after)
    gap = difference(scans.images, after)
    assert np.array_equal(coloured[0], diverging(gap[0], float(np.abs(gap).max())))


@pytest.mark.parametrize("dataset", [pytest.param("grey28", marks=pytest.mark.slow), "rgb224", "oblong"])
@pytest.mark.parametrize("tab", [*TABS, "plain"])
def test_every_look_takes_every_kind_of_scan(lab, tab, dataset):  # noqa: F811
    app = open_lab(TWO, dataset=dataset, **({"plain": "true"} if tab == "plain" else {"look": tab}))
    assert [one.label for one in app.tabs][: len(TABS)] == TABS
    assert not app.error


def hostile(labels: tuple[str, ...]) -> Dataset:
    """Labels and ids that are markup."""
    made = write_dataset("model", 60)
    table = pd.DataFrame(made.labels, columns=list(labels))
    table["id"] = [f"<script>{row}</script>_![i](http://x/{row})" for row in range(60)]
    table["split"] = made.samples["split"].to_numpy()
    with new_dataset("hostile") as folder:
        images = allocate_images(folder / "images.npy", made.images.shape)
        images[:] = made.images
        save_dataset(folder, table, labels, images, format="csv", source="<i>s</i>", ingest={"read": 60})
    return open_dataset("hostile")


def texts(app: AppTest) -> str:
    kinds = ("markdown", "caption", "warning", "info", "error")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))


@pytest.mark.slow
def test_text_of_a_dataset_is_never_markup(home):
    data = hostile(("<b>bold</b>", ":red[x] $y$", "![i](http://x)"))
    run = finish_run(data)
    (run.path / "model.onnx").write_bytes(b"x")
    measure_preservation(run, data, FLIP.steps[:1], scores=looked, draws=50)
    looks: list[Mapping[str, str]] = [{"look": tab} for tab in TABS]
    for look in [*looks, {"plain": "true"}]:
        app = open_lab(replace(FLIP, about="<b>*x*</b> :red[x]"), dataset="hostile", scans="Hardest of a run", **look)
        text = texts(app)
        assert not re.search(r"(?<!\\)<(b|script|i)\b|(?<!\\):red\[|(?<!\\)!\[i\]", text), text
        if look == {"look": "Labels"}:
            assert "No label is harmed from" in text
