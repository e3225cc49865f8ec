"""The audit's page: every tab, wrong states, cleaning; and its tables and pictures."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from medwb.audit import CHECKS, open_audit, run_audit
from medwb.audit.cleaning import cleaning_names, make_cleaning, open_cleaning, save_cleaning
from medwb.audit.results import _save
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.errors import RequestError
from medwb.paths import audits_dir

pytestmark = pytest.mark.slow

DASHBOARD = Path(__file__).parent.parent / "dashboard"
TABS = ["Checks", "Copies", "Radius", "Contradictions", "Leaks", "Ceiling", "Labels", "Cleaning"]
VIEWS = ["Prevalence", "Together", "Suspected errors", "Shortcuts"]
NAN = float("nan")


@pytest.fixture(autouse=True)
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's folder on the path, as `streamlit run` puts it there, with empty caches."""
    monkeypatch.syspath_prepend(str(DASHBOARD))
    st.cache_data.clear()
    st.cache_resource.clear()


def write(
    name: str, images: np.ndarray, labels: np.ndarray, splits: list[str], groups: list[str] | str = ""
) -> Dataset:
    names = [f"l{index}" for index in range(labels.shape[1])]
    table = pd.DataFrame(labels.astype(np.float32), columns=names)
    table["id"] = [f"{row}.png" for row in range(len(images))]
    table["split"], table["group"] = splits, groups
    with new_dataset(name) as folder:
        stored = allocate_images(folder / "images.npy", images.shape)
        stored[:] = images
        save_dataset(
            folder, table, names, stored, format="csv", source="made for a test", ingest={"read": len(images)}
        )
    return open_dataset(name)


def write_scans() -> Dataset:
    """Twelve samples: three black frames that contradict, a pair of copies across splits, seven that stand alone."""
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 1), np.uint8)
    images[:3] = 0
    images[8] = images[3]
    labels = np.tile([[1, 0], [0, 1]], (6, 1))
    splits = ["train"] * 6 + ["val"] * 4 + ["test"] * 2
    return write("scans", images, labels, splits, [f"p{row}" for row in range(12)])


@pytest.fixture
def scans(home: Path) -> Dataset:
    return write_scans()


@pytest.fixture(scope="module")
def audited_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(folder))
        run_audit(write_scans())
    return folder


@pytest.fixture
def audited(audited_home: Path, home: Path) -> Dataset:
    """`scans` with its audit, copied because tests change it."""
    shutil.copytree(audited_home, home)
    return open_dataset("scans")


def open_page(**query: str) -> AppTest:
    """The page by itself: half as long as through the menu."""
    app = AppTest.from_file(str(DASHBOARD / "app_pages" / "02_audit.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def shown(app: AppTest) -> str:
    kinds = ("markdown", "caption", "error", "warning", "info", "success")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind)).replace("\\", "")


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


@pytest.mark.slow
def test_without_an_audit_there_is_a_button_that_runs_one(scans):
    app = open_page()
    assert not app.tabs
    press(app, "Audit")
    assert [tab.label for tab in app.tabs] == TABS
    assert open_audit(scans).summary["near"] == open_audit(scans).summary["near"] | {
        "radius": 0.35,
        "mirrored": False,
    }


@pytest.mark.slow
def test_the_options_reach_the_audit(scans):
    app = open_page()
    app.slider(key="audit-radius").set_value(0.2)
    app.toggle(key="audit-mirrored").set_value(True)
    press(app, "Audit")
    near = open_audit(scans).summary["near"]
    assert (near["radius"], near["mirrored"]) == (pytest.approx(0.2), True)
    assert any("within radius 0.2, with mirror images" in expander.label for expander in app.expander)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('print(\'{"error": "no room in <b>x</b>"}\')', "no room in"),
        ("raise ValueError('odd')", "the audit failed: ValueError: odd"),
        ("import os; os.abort()", "the audit failed: "),
    ],
)
def test_an_audit_that_fails_says_why(scans, tmp_path, monkeypatch, script, message):
    import audit_run

    (tmp_path / "child.py").write_text(script)
    monkeypatch.setattr(audit_run, "_CHILD", tmp_path / "child.py")
    app = press(open_page(), "Audit")
    assert message in app.error[0].value.replace("\\", "")
    assert "<b>" not in app.error[0].value


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_opens(audited, tab):
    app = open_page(audit=tab)
    assert not app.error
    assert [t.label for t in app.tabs] == TABS


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_labels_opens(audited, view):
    assert not open_page(audit="Labels", facts=view).error


def test_the_headline(audited):
    facts = metrics(open_page())
    assert facts["Sets of copies"] == "2"
    assert facts["Contradictory"] == "5"
    assert facts["Constant frames"] == "3"


@pytest.mark.slow
def test_a_changed_dataset_makes_the_audit_stale(audited):
    path = audits_dir() / "scans" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 16}))
    app = open_page()
    assert "has changed since" in app.warning[0].value.replace("\\", "")
    press(app, "Audit")
    assert app.tabs


@pytest.mark.parametrize("file", ["summary.json", "groups.parquet", "issues.parquet"])
def test_a_damaged_audit_is_named_and_another_offered(audited, file):
    (audits_dir() / "scans" / file).write_text("{")
    app = open_page()
    assert "damaged" in app.warning[0].value
    assert any(button.label == "Audit" for button in app.button)


def test_an_audit_whose_groups_are_not_of_the_dataset_is_damaged(audited):
    path = audits_dir() / "scans" / "groups.parquet"
    pd.read_parquet(path).assign(set="nonsense").to_parquet(path)
    assert "damaged" in open_page().warning[0].value


def test_a_new_audit_is_shown_at_once(audited):
    assert metrics(open_page())["Sets of copies"] == "2"
    _save(replace(open_audit(audited), groups=open_audit(audited).groups[:0]))
    assert metrics(open_page())["Sets of copies"] == "0"


def test_the_scoreboard_has_every_check(audited):
    table = next(frame.value for frame in open_page().dataframe if "Check" in frame.value)
    assert list(table["Check"]) == [check.title for area in ("images", "copies", "splits", "labels")
                                    for check in CHECKS if check.area == area]  # fmt: skip
    assert table.set_index("Check").loc["Black frames", "Issues"] == 3
    assert table.set_index("Check").loc["Black frames", "Affected"] == "3 samples"


@pytest.mark.parametrize("check", ["black", "exact_copy", "clipped"])
def test_the_check_in_the_address_is_shown(audited, check):
    app = open_page(check=check)
    assert app.subheader[0].value == CHECKS.get(check).title


@pytest.mark.parametrize(("kind", "sets"), [("all", 2), ("contradictory", 2), ("leaking", 1), ("near", 0)])
def test_sets_are_filtered(audited, kind, sets):
    app = open_page(audit="Copies", sets=kind)
    assert len(re.findall(r"\*\*set-\d+\*\*", shown(app))) == sets


def test_leaks_and_the_certificate(audited):
    app = open_page(audit="Leaks")
    assert metrics(app)["Sets of copies in several splits"] == "1"
    assert "the splits leak" in shown(app)
    assert re.fullmatch(r"[0-9a-f]{32}", app.code[0].value)


def test_a_cleaning_is_previewed_saved_and_removed(audited):
    app = open_page(audit="Cleaning")
    app.multiselect(key="policies").set_value(["drop-contradictions"]).run()
    samples = next(frame.value for frame in app.dataframe if "excluded" in frame.value)
    assert samples.set_index("split").loc["train", ["before", "after"]].tolist() == [6, 3]
    app.text_input[0].set_value("mine").run()
    press(app, "Save")
    assert cleaning_names(audited) == ["mine"]
    assert open_cleaning(audited, "mine").policies == ("drop-contradictions",)
    assert any(text.value.startswith("mine\n3 leave") for text in app.text)
    app.button(key="remove-mine").click().run()
    assert cleaning_names(audited) == []


def test_a_cleaning_that_touches_validation_says_so(audited):
    app = open_page(audit="Cleaning")
    app.multiselect(key="policies").set_value(["drop-leaking-eval"]).run()
    assert "touches val" in shown(app)


@pytest.mark.parametrize("name", ["none", "../x", ""])
def test_a_name_that_a_cleaning_cannot_have_is_refused(audited, name):
    app = open_page(audit="Cleaning")
    app.text_input[0].set_value(name).run()
    press(app, "Save")
    assert app.error
    assert cleaning_names(audited) == []


def test_a_damaged_cleaning_can_be_removed(audited):
    save_cleaning(make_cleaning(open_audit(audited), ["drop-contradictions"], name="mine"))
    (audits_dir() / "scans" / "cleanings" / "mine.parquet").write_text("x")
    app = open_page(audit="Cleaning")
    assert any("damaged" in text.value for text in app.text)
    app.button(key="remove-mine").click().run()
    assert cleaning_names(audited) == []


def test_a_run_can_choose_a_saved_cleaning(audited):
    save_cleaning(make_cleaning(open_audit(audited), ["drop-contradictions"], name="mine"))
    app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60).run()
    app.switch_page("app_pages/04_train.py").run()
    assert app.selectbox(key="config-cleaning").options == ["none", "mine"]
    app.selectbox(key="config-cleaning").set_value("mine").run()
    assert any("cleaning=mine" in text.value for text in app.text)


NOISE = np.random.default_rng(1).integers(0, 256, (6, 16, 16, 3), np.uint8)
DEGENERATE = {
    "one image": (NOISE[:1], np.ones((1, 1)), ["train"]),
    "all the same": (np.repeat(NOISE[:1], 6, axis=0), np.tile([[0], [1]], (3, 1)), ["train", "val"] * 3),
    "no labels": (NOISE, np.zeros((6, 0)), ["train"] * 4 + ["val"] * 2),
    "nothing known": (NOISE, np.full((6, 2), NAN), ["train"] * 4 + ["test"] * 2),
    "one split": (NOISE, np.ones((6, 1)), ["test"] * 6),
    "large": (NOISE.repeat(16, 1).repeat(16, 2), np.ones((6, 1)), ["train"] * 5 + ["val"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_datasets_have_every_tab(home, case):
    images, labels, splits = DEGENERATE[case]
    run_audit(write("odd", images, labels, splits))
    for tab in TABS:
        assert not open_page(audit=tab).error, tab
    for view in VIEWS:
        assert not open_page(audit="Labels", facts=view).error, view


def test_what_is_cached_of_an_audit_that_is_gone_is_refused(scans):
    import loaders

    with pytest.raises(RequestError, match="not been audited"):
        loaders.audited(("scans", scans.fingerprint, ""))


def test_a_long_id_keeps_both_ends():
    import audit_pictures

    assert audit_pictures.short("short.png") == "short.png"
    assert audit_pictures.short("patient_0123456789_slice_17.png") == "pati…ce_17.png"
