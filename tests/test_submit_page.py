"""The submission desk in the dashboard."""

import re

import pandas as pd
import pytest
from conftest import LABELS, finish_run, write_csv
from test_dashboard import markdown, open_page, page, served  # noqa: F401  the fixture

from medwb.paths import datasets_dir
from medwb.submission import list_submissions
from medwb.thresholds import cross_fit_thresholds, save_thresholds
from medwb.validation import validation_of

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tiny):
    return finish_run(tiny, 0.2)


@pytest.fixture
def sample(tiny, tmp_path):
    ids = tiny.split("test").samples["id"].tolist()
    write_csv(tmp_path / "sample.csv", [["id", *LABELS], *([image_id, 0, 0, 0] for image_id in ids)])
    return tmp_path / "sample.csv"


@pytest.fixture
def app(run, sample):
    return open_page(page("submit")).text_input(key="sample-path").set_value(str(sample)).run()


def frame(app, column) -> pd.DataFrame:
    return next(frame.value for frame in app.dataframe if column in frame.value)


def unescaped(app) -> str:
    return markdown(app).replace("\\", "")


def test_every_check_is_a_line(app):
    assert not app.exception
    checks = frame(app, "Check")
    assert set(checks[""]) == {"✓"}
    assert len(checks) == 8
    scores = frame(app, "Expected, 95 %")
    assert scores["Score"].tolist()[:2] == ["Macro F1", "Micro F1"]
    assert all(re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", cell) for cell in scores["Expected, 95 %"])
    assert "Thresholds are cross-fitted" in unescaped(app)


def test_a_check_that_fails_is_named_and_nothing_can_be_written(app, sample):
    sample.write_text(sample.read_text().replace("mass", "nodule"))
    app.run()
    assert "unknown column in sample.csv 'mass'" in unescaped(app)
    assert frame(app, "Check")[""].tolist() == ["✓", "✓", "✓", "✗", "–", "–", "–", "–"]
    assert not app.get("download_button")


def test_what_is_downloaded_is_kept_and_compared_with_what_follows(app):
    app.get("download_button")[0].click().run()
    assert not app.exception
    ((kept,), _) = list_submissions("tiny")
    assert f"Kept as {kept.path}" in unescaped(app)
    assert "the same answers for all 48 ids in common" in unescaped(app)
    assert len(frame(app, "Expected macro F1")) == 1
    app.segmented_control(key="submit-thresholds").set_value("0.5 for every label").run()
    assert frame(app, "Threshold")["Threshold"].tolist() == [0.5] * 3
    assert "of 48 ids answered otherwise" in unescaped(app)
    assert frame(app, "0 to 1")["Changed, %"].max() > 0


def test_thresholds_by_hand(app, run):
    app.segmented_control(key="submit-thresholds").set_value("Chosen by hand").run()
    app.number_input(key=f"threshold-{run.id}-mass").set_value(0.9).run()
    assert not app.exception
    chosen = frame(app, "Threshold").set_index("Label")["Threshold"]
    assert chosen["mass"] == 0.9
    assert "Thresholds are cross-fitted" not in unescaped(app)


def test_saved_thresholds_are_the_runs_own(app, run, tiny):
    save_thresholds(run, cross_fit_thresholds(validation_of(run, tiny), "sensitivity", 0.8, deals=1, draws=10))
    app.run()
    assert "Fixed sensitivity 0.8 on validation, as saved" in unescaped(app)


@pytest.mark.parametrize("name", ["thresholds.json", "predictions.npz"])
def test_damage_is_explained(app, run, name):
    (run.path / name).write_text("{")
    app.run()
    assert not app.exception
    assert "is damaged" in unescaped(app)


def test_a_stale_run_is_not_offered(run, tiny):
    record = datasets_dir() / "tiny" / "dataset.json"
    record.write_text(record.read_text().replace(run.fingerprint, "f" * 16))
    app = open_page(page("submit"))
    assert "cannot be handed in" in app.warning[0].value
    assert "Train one first" in app.info[0].value


def test_compare_leads_here(run):
    links = open_page(page("compare")).get("page_link")
    assert any("Hand in" in link.proto.label for link in links)
