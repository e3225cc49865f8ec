from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from conftest import LABELS, finish_run, write_dataset
from streamlit.testing.v1 import AppTest

import medwb.launch as launching
from medwb.augment import (
    PRESETS,
    TRANSFORMS,
    Augmentation,
    Step,
    augmentation_names,
    from_token,
    open_augmentation,
    save_augmentation,
)
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.params import ends

pytestmark = pytest.mark.slow

DASHBOARD = Path(__file__).parent.parent / "dashboard"
TABS = ["Grid", "Sweep", "Difference", "Kept", "Labels", "Compare", "Code"]
QUICK = ("rotate", "scale", "median-blur", "cutmix")
"""Transforms that are tried out in the quick tests too: one of each kind of control."""
TWO = Augmentation((Step("rotate", {"degrees": (-30, 30)}, p=1), Step("cutout", {"size": (10, 20)}, p=0.75)))


@pytest.fixture(autouse=True)
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's folder on the path, as `streamlit run` puts it there, with empty caches and no worker."""
    monkeypatch.syspath_prepend(str(DASHBOARD))
    monkeypatch.setattr(launching, "start_worker", lambda: None)
    st.cache_data.clear()
    st.cache_resource.clear()


def open_lab(recipe: Augmentation | str | None = None, **query: str) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    if recipe is not None:
        app.query_params["recipe"] = recipe if isinstance(recipe, str) else recipe.to_token()
    app.switch_page("app_pages/03_augment.py").run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def recipe_of(app: AppTest) -> Augmentation:
    """The recipe in the address."""
    assert not app.exception, app.exception[0].stack_trace
    (token,) = (
        app.query_params["recipe"] if isinstance(app.query_params["recipe"], list) else [app.query_params["recipe"]]
    )
    return from_token(token)


def errors(app: AppTest) -> str:
    return "\n".join(error.value for error in app.error).replace("\\", "")


def press(app: AppTest, key: str) -> AppTest:
    return app.button(key=key).click().run()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workbench that no test of this module writes to, with small, large, coloured and oblong scans."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(folder))
        write_dataset()
        write_sized("grey28", (28, 28, 1))
        write_sized("rgb224", (224, 224, 3))
        write_sized("oblong", (48, 64, 1))
    return folder


@pytest.fixture
def lab(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDWB_HOME", str(shared))
    return shared


def write_sized(name: str, shape: tuple[int, int, int]) -> Dataset:
    table = pd.DataFrame({"a": np.tile([0.0, 1.0], 6), "id": [f"{row}.png" for row in range(12)]})
    table["split"] = ["train"] * 8 + ["val"] * 4
    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (12, *shape))
        images[:] = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
        save_dataset(folder, table, ("a",), images, format="csv", source="made", ingest={"read": 12})
    return open_dataset(name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_loaded_from_the_menu(lab, name):
    app = open_lab(TWO, dataset="tiny")
    app.selectbox(key="lab-load").set_value(name).run()
    assert recipe_of(app) == PRESETS[name]
    assert not app.error
    assert any(PRESETS[name].about[:20] in caption.value.replace("\\", "") for caption in app.caption)
    assert not app.button(key="lab-train").disabled


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in TRANSFORMS.names()],
)
def test_a_transform_is_added_and_set(lab, name):
    entry = TRANSFORMS.get(name)
    app = open_lab(Augmentation(), plain="true", dataset="rgb224" if entry.colour else "tiny")
    app.selectbox(key="lab-add").set_value(name).run()
    assert recipe_of(app).steps == (Step(name),)
    for param in entry.params:
        slider = app.slider(key=f"lab-0-{name}-{param.name}")
        end = type(slider.value if param.until is None else slider.value[0])(param.high)
        slider.set_value(end if param.until is None else (end, end)).run()
    for choice in entry.choices:
        app.selectbox(key=f"lab-0-{name}-{choice.name}").set_value(choice.options[-1]).run()
    app.slider(key=f"lab-0-{name}-p").set_value(1.0).run()
    (step,) = recipe_of(app).steps
    assert not app.error
    assert step.p == 1
    assert all(ends(step.settings[param.name]) == (param.high, param.high) for param in entry.params)
    assert all(step.settings[choice.name] == choice.options[-1] for choice in entry.choices)


def test_one_step_is_reset_and_the_others_stay(lab):
    app = press(open_lab(TWO, dataset="tiny"), "lab-reset")
    assert recipe_of(app).steps == (Step("rotate"), TWO.steps[1])


def test_a_step_that_is_off_stays_off_when_it_is_reset(lab):
    off = TWO.with_step(0, replace(TWO.steps[0], enabled=False))
    assert recipe_of(press(open_lab(off, dataset="tiny"), "lab-reset")).steps[0] == Step("rotate", enabled=False)


def second(app: AppTest) -> AppTest:
    return app.radio(key="lab-pick").set_value(1).run()


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        (["lab-up"], [1, 0]),
        (["lab-up", "lab-down"], [0, 1]),
        (["lab-duplicate"], [0, 1, 1]),
        (["lab-remove"], [0]),
        (["lab-remove", "lab-remove"], []),
        (["lab-duplicate", "lab-up", "lab-up"], [1, 0, 1]),
    ],
)
def test_the_picked_step_is_moved_doubled_and_removed(lab, keys, steps):
    app = second(open_lab(TWO, dataset="tiny"))
    for key in keys:
        press(app, key)
    assert recipe_of(app).steps == tuple(TWO.steps[number] for number in steps)


def test_a_step_is_switched_off_and_on(lab):
    app = press(second(open_lab(TWO, dataset="tiny")), "lab-switch")
    assert [step.enabled for step in recipe_of(app).steps] == [True, False]
    assert recipe_of(press(app, "lab-switch")) == TWO


def test_an_empty_recipe_says_what_to_do(lab):
    app = open_lab(Augmentation(), dataset="tiny")
    assert any("No step yet" in info.value for info in app.info)
    assert app.button(key="lab-train").disabled
    for tab in TABS:
        assert not open_lab(Augmentation(), dataset="tiny", look=tab).error


def test_a_transform_comes_before_those_that_mix(lab):
    app = open_lab(Augmentation((Step("mixup"),)), dataset="tiny")
    app.selectbox(key="lab-add").set_value("rotate").run()
    assert [step.transform for step in recipe_of(app).steps] == ["rotate", "mixup"]
    press(app, "lab-down")
    assert "mixup stands before other steps" in errors(app)
    assert [step.transform for step in recipe_of(app).steps] == ["rotate", "mixup"]


@pytest.mark.parametrize("token", ["nonsense", TWO.to_token()[:-9], "%%%", "A" * 5000])
def test_an_address_that_was_cut_is_explained(lab, token):
    app = open_lab(token, dataset="tiny")
    assert "the recipe in the address cannot be read" in errors(app)
    assert recipe_of(app) == next(iter(PRESETS.values()))


def test_the_recipe_survives_other_pages(lab):
    app = press(open_lab(TWO, dataset="tiny"), "lab-remove")
    for name in ("01_explore.py", "04_train.py", "03_augment.py"):
        app.switch_page(f"app_pages/{name}").run()
        assert not app.exception
    assert recipe_of(app).steps == TWO.steps[1:]


def test_the_address_wins_over_the_session(lab):
    app = open_lab(TWO, dataset="tiny")
    app.query_params["recipe"] = PRESETS["study"].to_token()
    app.run()
    assert recipe_of(app) == PRESETS["study"]
    assert len(app.radio(key="lab-pick").options) == len(PRESETS["study"].steps)


def test_a_recipe_for_colour_on_grey_scans_is_explained(lab):
    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    app = open_lab(Augmentation((Step(colour),)), dataset="tiny")
    assert "changes colours, and the scans are grey" in errors(app)
    assert recipe_of(press(app, "lab-remove")).steps == ()


def test_a_recipe_that_covers_the_scan_is_warned_of(lab):
    assert "of the scan is left" in open_lab(PRESETS["study"], dataset="tiny").warning[0].value
    assert not open_lab(Augmentation((Step("rotate"),)), dataset="tiny").warning


def ids_shown(app: AppTest) -> list[str]:
    return next(frame.value for frame in app.dataframe if "Scan" in frame.value)["Scan"].tolist()


def choose(way: str, **query: str) -> AppTest:
    return open_lab(TWO, dataset="tiny", plain="true", scans=way, **query)


def test_scans_are_chosen_at_random_by_a_number(lab):
    first = ids_shown(choose("At random"))
    assert ids_shown(choose("At random")) == first
    assert ids_shown(choose("At random", choice="1")) != first
    assert len(ids_shown(choose("At random", rows="7"))) == 7
    train = set(open_dataset("tiny").split("train").samples["id"])
    assert set(first) <= train


@pytest.mark.parametrize(("answer", "value"), [("positive", 1), ("negative", 0)])
def test_scans_are_chosen_by_label(lab, answer, value):
    found = ids_shown(choose("By label", **{"of-label": LABELS[1], "of-answer": answer}))
    samples = open_dataset("tiny").samples.set_index("id")
    assert len(found) == 4
    assert (samples.loc[found, LABELS[1]] == value).all()


def test_no_scan_of_a_label_is_said(lab):
    app = choose("By label", **{"of-answer": "unknown"})
    assert any("No training scan is unknown" in info.value for info in app.info)


@pytest.mark.parametrize(
    ("text", "found"),
    [("0007.png", ["0007.png"]), ("0007.png, 0230.png", ["0007.png", "0230.png"]), ("023", 4), ("zebra", [])],
)
def test_scans_are_chosen_by_id(lab, text, found):
    app = choose("By id", **{"of-ids": text})
    if not found:
        assert any("No id is or contains that" in info.value for info in app.info)
    else:
        assert found in (ids_shown(app), len(ids_shown(app)))


def test_the_hardest_scans_of_a_run(tiny):
    assert any("Train one first" in info.value for info in choose("Hardest of a run").info)
    run = finish_run(tiny, 0.6)
    found = run.predictions("val")
    error = np.abs(found.y_true - found.y_score).mean(1)
    assert ids_shown(choose("Hardest of a run")) == found.ids[np.argsort(-error, kind="stable")[:4]].tolist()


def test_a_recipe_is_saved_replaced_and_removed(tiny):
    app = open_lab(TWO)
    assert app.button(key="lab-train").disabled
    app.text_input(key="lab-save-name").set_value("mine").run()
    app.text_area(key="lab-save-about").set_value("Why.").run()
    press(app, "lab-save")
    assert open_augmentation("mine") == replace(TWO, about="Why.")
    assert not app.button(key="lab-train").disabled

    press(app, "lab-remove")
    assert app.button(key="lab-train").disabled
    app.text_input(key="lab-save-name").set_value("mine").run()
    assert app.button(key="lab-save").disabled
    app.checkbox(key="lab-replace").set_value(True).run()
    press(app, "lab-save")
    assert open_augmentation("mine").steps == TWO.steps[1:]

    press(app, "lab-remove-saved")
    assert not app.exception
    assert "mine" not in augmentation_names()
    assert recipe_of(app).steps == TWO.steps[1:]


@pytest.mark.parametrize(("name", "message"), [("study", "comes with medwb"), ("../x", "is not allowed")])
def test_a_name_that_cannot_be_is_explained(tiny, name, message):
    app = open_lab(TWO)
    app.text_input(key="lab-save-name").set_value(name).run()
    assert message in errors(press(app, "lab-save"))
    assert augmentation_names() == list(PRESETS)


def test_a_damaged_recipe_on_disk_is_explained(tiny):
    save_augmentation("bad", TWO)
    path = tiny.path.parent.parent / "augmentations" / "bad.yaml"
    path.write_text("steps: [{transform: rotat}]")
    app = open_lab(TWO)
    app.selectbox(key="lab-load").set_value("bad").run()
    assert "unknown transform 'rotat'" in errors(app)
    assert recipe_of(app) == TWO


def test_train_with_it_leads_to_train(tiny):
    save_augmentation("mine", TWO)
    app = press(open_lab(TWO), "lab-train")
    assert not app.exception
    assert app.title[0].value == "Train"
    assert app.selectbox(key="config-augmentation").value == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"steps: [{transform: zoom}]", "unknown transform"),
        (b"steps: [{transform: rotate, p: 1.2}]", "out of range"),
        (b"steps: [{transform: rotate, degrees: [9, 1]}]", "upside down"),
        (b"steps: [{transform: crop, keep: 120}]", "out of range"),
        (b"{", "no readable YAML"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"#" * 400_001, "x.yaml is larger than 400,000 bytes"),
    ],
)
def test_a_file_that_holds_no_recipe_is_explained(lab, content, message):
    assert message in errors(uploaded("x.yaml", content))


def test_a_recipe_is_taken_from_a_file(lab):
    assert recipe_of(uploaded("mine.yaml", TWO.to_yaml().encode())) == TWO


def uploaded(name: str, content: bytes) -> AppTest:
    app = open_lab(PRESETS["study"], dataset="tiny")
    app.file_uploader(key="lab-upload").set_value([(name, content, "application/yaml")]).run()
    return app


def requests(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Augmentation]:
    """Send what the slider sends; answers the recipe after it."""
    import lab_live
    import lab_recipe

    state: dict = {"lab-recipe": TWO, "lab-step": 0}
    monkeypatch.setattr(st, "session_state", state)

    def send(**request: object) -> Augmentation:
        state["lab-live"] = {"request": {"serial": 1, "panel": "0 rotate", "settled": False, **request}}
        lab_live._take()
        return lab_recipe.current()

    send.state = state  # type: ignore[attr-defined]
    return send


def test_what_the_slider_sends_sets_the_step(lab, monkeypatch):
    open_lab(TWO, dataset="tiny")
    send = requests(monkeypatch)
    assert send(values={"degrees": [0, 45]}).steps == (Step("rotate", {"degrees": (0, 45)}, p=1), TWO.steps[1])
    assert send(values={"degrees": [0, 450]}, serial=2).steps[0].settings["degrees"] == (0, 45)
    assert "out of range" in send.state["lab-note"]
    assert send.state["lab-serial"] == 2
    assert send(values={"size": [1, 1]}, panel="1 cutout", serial=3).steps[1] == TWO.steps[1]
    assert send.state["lab-serial"] == 2
