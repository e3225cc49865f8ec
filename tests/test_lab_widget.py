from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import write_dataset

from medwb.audit.cleaning import CLEANING_COLUMNS, Cleaning
from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Step
from medwb.augment.panel import unpack
from medwb.augment.preservation import Point, Preservation, Sweep
from medwb.augment.preview import Scans, preview
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.lab_widget import AugmentationLab
from medwb.statistics import Score

TWO = Augmentation((Step("rotate", {"degrees": (-30, 30)}, p=1), Step("cutout", {"size": (10, 20)}, p=0.75)))
IDS = ("0003.png", "0007.png")


@pytest.fixture
def data(home) -> Dataset:
    return write_dataset(samples=60, side=32)


@pytest.fixture
def lab(data) -> AugmentationLab:
    return AugmentationLab(data, TWO, ids=IDS, draws=3, epoch=2)


def shown(lab: AugmentationLab) -> np.ndarray:
    return unpack(lab._moving.frame)[1]


def send(lab: AugmentationLab, serial: int, panel: str = "0 rotate", settled: bool = False, **values: object) -> dict:
    """What the front end sends; the header that comes back."""
    lab._moving.request = {"serial": serial, "panel": panel, "values": values, "settled": settled}
    return unpack(lab._moving.frame)[0]


def test_it_shows_what_a_run_with_other_settings_receives(data):
    table = pd.DataFrame([("0003.png", "train", "label", "edema", 0.0, 0.5, "", "")], columns=list(CLEANING_COLUMNS))
    cleaning = Cleaning(data.name, data.fingerprint, "soft", (), (), table)
    mixed = Augmentation((*TWO.steps, Step("mixup", p=1)))
    lab = AugmentationLab(data, mixed, ids=IDS, draws=3, epoch=2, cleaning=cleaning, shape=(40, 48, 3))
    scans = Scans.of(data, [3, 7], cleaning=cleaning, shape=(40, 48, 3))
    assert np.array_equal(shown(lab), preview(scans, mixed, 0, 2, 3).cells)
    assert shown(lab).shape == (2, 4, 40, 48, 3)
    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    lab._more.value = colour
    assert colour in [step.transform for step in lab.augmentation.steps]
    with pytest.raises(RequestError):
        AugmentationLab(data, cleaning=replace(cleaning, fingerprint="x"))


def test_tracks_are_red_where_a_run_lost_a_label(data):
    one = Score(0.9, 0.8, 1.0)
    points = tuple(
        Point(value, {"a": one}, {"a": one}, ("a",) if value else ()) for value in (-180.0, -90.0, 0.0, 90.0, 180.0)
    )
    facts = {"border": "reflect"}
    sweep = Sweep("rotate", "degrees", (), facts, 0.0, {"a": one}, points, 9, 0, {}, 1)
    lab = AugmentationLab(data, TWO, ids=IDS, tested=Preservation("run", (sweep,)))
    red = {one["name"]: one.get("harmful") for one in unpack(lab._moving.frame)[0]["controls"]}
    assert red == {"degrees": [[-180, -45], [45, 180]], "border": None, "p": []}


def press(lab: AugmentationLab, text: str) -> None:
    buttons = lab.children[0].children[0].children[1].children
    next(button for button in buttons if button.description == text).click()


def test_it_shows_what_a_network_receives(lab, data):
    assert np.array_equal(shown(lab), preview(Scans.of(data, [3, 7]), TWO, 0, 2, 3).cells)
    lab._epoch.value, lab._seed.value = 5, 9
    assert np.array_equal(shown(lab), preview(Scans.of(data, [3, 7]), TWO, 9, 5, 3).cells)


def test_pictures_follow_the_slider(lab):
    seen = {shown(lab).tobytes()}
    for serial, degrees in enumerate((60.0, 90.0, 120.0), 1):
        assert send(lab, serial, degrees=[degrees, degrees])["serial"] == serial
        seen.add(shown(lab).tobytes())
        assert lab.augmentation.steps[0].settings["degrees"] == degrees
    assert len(seen) == 4
    assert lab.augmentation.steps[1] == TWO.steps[1]
    assert "30°" in lab._steps.options[0]
    send(lab, 4, settled=True, degrees=[0, 15])
    assert "0° to 15°" in lab._steps.options[0]


def test_a_value_out_of_range_is_refused_and_a_late_request_left(lab):
    assert "out of range" in send(lab, 1, degrees=[0, 500])["note"]
    send(lab, 2, panel="1 cutout", size=[1, 1])
    assert lab.augmentation == TWO


def test_steps_are_added_moved_switched_reset_and_removed(lab):
    lab._steps.index = 1
    press(lab, "up")
    assert [step.transform for step in lab.augmentation.steps] == ["cutout", "rotate"]
    assert lab._steps.index == 0
    press(lab, "reset")
    assert lab.augmentation.steps == (Step("cutout"), TWO.steps[0])
    press(lab, "on/off")
    assert not lab.augmentation.steps[0].enabled
    assert lab._steps.options[0].endswith("off")
    press(lab, "duplicate")
    assert lab.augmentation.steps == (Step("cutout", enabled=False),) * 2 + TWO.steps[:1]
    assert lab._steps.index == 1
    press(lab, "remove")
    lab._steps.index = 0
    press(lab, "remove")
    assert lab.augmentation.steps == TWO.steps[:1]
    press(lab, "remove")
    press(lab, "remove")
    assert lab.augmentation.steps == ()
    assert (shown(lab) == shown(lab)[:, :1]).all()
    lab._more.value = "mixup"
    lab._more.value = "gamma"
    assert [step.transform for step in lab.augmentation.steps] == ["gamma", "mixup"]
    assert lab._steps.index == 0


def test_what_cannot_be_is_said_and_changes_nothing(lab, data):
    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    lab._more.value = colour
    assert "the scans are grey" in lab._message.value
    assert lab.augmentation == TWO
    with pytest.raises(RequestError, match=r"no sample 'x\.png'"):
        AugmentationLab(data, ids=["x.png"])
    with pytest.raises(RequestError, match="unknown augmentation"):
        AugmentationLab(data, "studi")


def test_a_recipe_that_covers_the_scan_is_warned_of(data):
    lab = AugmentationLab(data)
    assert lab.augmentation == PRESETS["study"]
    assert "of the scan is left" in lab._message.value
    assert shown(lab).shape == (4, 5, 32, 32, 1)
