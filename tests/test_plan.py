import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_dataset
from streamlit.testing.v1 import AppTest

import medwb.plan as planner
from medwb.architectures import ARCHITECTURES
from medwb.budget import Budget, Measurement, Row, Seconds
from medwb.config import make_config, make_configs
from medwb.errors import RequestError
from medwb.plan import plan
from medwb.runs import Run, create_run
from medwb.training.measure import enough, extrapolate, spread

DASHBOARD = Path(__file__).parent.parent / "dashboard"


def network(step=0.1, **facts):
    """Fake: a step in seconds; 100 of them, and nothing else takes time."""
    parts = {"start": 0.0, "data": 0.0, "steps": 100} | facts
    return Measurement(step=Seconds(step, 0.9 * step, 1.2 * step), **parts)


def row(name="cnn-2", measured=None, runs=1, **settings):
    values = {"dataset": "d", "architecture": name, "recipe": "reference"}
    if ARCHITECTURES.get(name).is_network:
        values |= {"early_stopping_patience": 0} | settings
    return Row(make_config(values), runs, measured or network())


def budget(*rows, minutes=None):
    return Budget("d", {}, rows, minutes)


def settings_of(tiny, names=("fcnn-1",), seeds=(0,), **settings):
    return make_configs(tiny.name, [ARCHITECTURES.get(name) for name in names], settings, seeds)


# --- arithmetic


def test_a_run_is_the_sum_of_its_parts():
    measured = network(start=5, data=1, head=3, epoch=0.5, checkpoint=0.25, score=0.01, val=200, scans=1000, heads=3)
    once = 5 + 1 + 3 * (3 + 4 * (0.5 + 0.25))
    often = 3 * (4 * (100 * 0.1 + 200 * 0.01) + 1000 * 0.01)
    found = measured.run_seconds(4)
    expected = (once + often, once + 0.9 * often, once + 1.2 * often)
    assert (found.value, found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "checkpoints"), [(1.0, 1), (1.3, 2), (6.0, 6)])
def test_long_epochs_write_checkpoints_in_between(step, checkpoints):
    measured = network(step, checkpoint=7)
    assert measured.run_seconds(1).value == pytest.approx(100 * step + 7 * checkpoints)


def test_a_baseline_has_no_epochs():
    measured = Measurement(start=3, data=1, whole=Seconds(10, 5, 20))
    assert measured.run_seconds(0) == Seconds(14, 9, 24)
    assert row("k-nn", measured).to_json()["epochs"] is None
    assert row("k-nn", measured).to_json()["step_seconds"] is None


def test_the_total_is_every_run_of_every_row():
    whole = budget(row(runs=3, epochs=6), row("cnn-1", network(0.2), runs=3, epochs=3))
    assert whole.total.value == pytest.approx(3 * (60 + 60))
    assert budget(replace(row(), measured=None)).total is None


@pytest.mark.parametrize(
    ("minutes", "fits"),
    [
        (6, (3, None, ("cnn-2", "cnn-1"), 3)),
        (5.9, (2, (3, 5), ("cnn-2",), 3)),
        (2, (1, (3, 1), (), 1)),
        (1.9, (0, (1, 5), (), 1)),
        (0.9, (0, (1, 1), (), 1)),
        (0.1, (0, None, (), 1)),
    ],
)
def test_what_fits(minutes, fits):
    """cnn-2 takes 60 s a run, cnn-1 as long with half the epochs."""
    whole = budget(row(runs=3, epochs=6), row("cnn-1", network(0.2), runs=3, epochs=3), minutes=minutes)
    seeds, fewer, names, runs = fits
    found = whole.fits()
    assert (found.seeds, found.fewer_epochs) == (seeds, fewer)
    if names:
        assert (found.architectures, found.architecture_seeds) == (names, runs)
    for count, limit in ((found.seeds, True), (found.seeds + 1, False)):
        if 0 < count <= 3:
            assert (sum(one.seconds(count).value for one in whole.rows) <= 60 * minutes) == limit


def test_the_cheapest_come_first_and_with_one_seed_when_none_fits_with_all():
    rows = [row("cnn-1", network(0.3), 2, epochs=1), row("cnn-2", network(0.1), 2, epochs=1)]
    assert budget(*rows, minutes=0.4).fits().architectures == ("cnn-2",)
    assert budget(*rows, minutes=0.4).fits().architecture_seeds == 2
    found = budget(*rows, minutes=0.2).fits()
    assert (found.architectures, found.architecture_seeds) == (("cnn-2",), 1)


NAMES = ("cnn-1", "cnn-2", "cnn-3", "cnn-4", "cnn-5", "fcnn-1", "fcnn-2", "rnn-1")


@pytest.mark.parametrize(
    ("rows", "minutes", "answer"),
    [
        (1, None, "One architecture with 3 seeds takes about 5 min 0 s."),
        (1, 6, "One architecture with 3 seeds takes about 5 min 0 s; that fits into 6 minutes."),
        (
            1,
            4,
            "One architecture with 3 seeds takes about 5 min 0 s; in 4 minutes it fits with 2 seeds, "
            "or with 3 seeds at 8 epochs.",
        ),
        (
            2,
            1,
            "Two architectures with 3 seeds take about 10 min 0 s; in 1 minute fit both with 1 seed at 3 epochs.",
        ),
        (
            8,
            10,
            "Eight architectures with 3 seeds take about 40 min 0 s; in 10 minutes fit all eight with 1 seed at "
            "7 epochs, or 2 of them with 3 seeds.",
        ),
        (
            8,
            0.01,
            "Eight architectures with 3 seeds take about 40 min 0 s; in 0.01 minutes nothing fits: one run of cnn-1 "
            "alone takes about 1 min 40 s.",
        ),
    ],
)
def test_the_answer_is_a_plain_sentence(rows, minutes, answer):
    assert budget(*(row(name, runs=3, epochs=10) for name in NAMES[:rows]), minutes=minutes).answer == answer


def test_the_answer_says_what_is_an_upper_bound_and_what_is_missing():
    rows = [row(early_stopping_patience=2), replace(row("cnn-1"), measured=None, error="too small")]
    assert budget(*rows).answer == "One architecture with 1 seed takes at most 1 min 40 s, not counting cnn-1."
    assert "Nothing is measured" in budget(rows[1]).answer


def test_a_busy_machine_and_several_workers_are_mentioned():
    assert budget(row()).notes == []
    assert "load 3.0 a core" in budget(row(measured=network(load=3.0))).notes[0]
    assert "2 runs train at once" in replace(budget(row(runs=2)), at_once=2).notes[0]


def test_json_has_what_is_documented():
    facts = budget(row(), replace(row("cnn-1"), measured=None, error="no"), minutes=1).to_json()
    keys = {"dataset", "machine", "rows", "total_seconds", "minutes", "fits", "answer", "notes"}
    assert keys == set(facts)
    row_keys = {"architecture", "heads", "step_seconds", "steps", "epochs", "run_seconds", "runs", "error"}
    assert all(row_keys <= set(one) for one in facts["rows"])
    assert set(facts["total_seconds"]) == {"value", "low", "high"}
    assert facts["rows"][1]["run_seconds"] is None
    json.dumps(facts, allow_nan=False)


# --- how steps are summed up


def test_the_mean_of_groups_counts_steps_that_wait_for_their_batch():
    steps = [0.01] * 100
    steps[::8] = [0.09] * 13
    found = spread(steps)
    assert found["value"] == pytest.approx(np.mean(steps), rel=0.15)
    assert found["low"] <= found["value"] <= found["high"]


def test_no_step_is_quicker_than_its_batch():
    assert spread([0.01] * 5, batch=0.02) == {"value": 0.02, "low": 0.02, "high": 0.02}


def test_steady_steps_are_enough_soon_and_nothing_takes_longer_than_three_seconds():
    assert not enough([0.1] * 4, 0.6)
    assert not enough([0.1] * 5, 0.4)
    assert enough([0.1] * 5, 0.5)
    assert not enough([0.1, 0.4, 0.2, 0.5, 0.1, 0.3], 1.5)
    assert enough([1.7, 0.4], 3.1)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_exponent_of_two_sizes_is_gone_on_with(exponent):
    sizes = [100, 200, 400]
    found = extrapolate(sizes, [1e-3 * size**exponent for size in sizes], 3200)
    assert found["value"] == pytest.approx(1e-3 * 3200**exponent, rel=1e-6)
    assert found["low"] <= found["value"] < found["high"]


def test_no_figure_is_better_than_a_guess():
    assert extrapolate([50], [2.0], 50) == {"value": 2.0, "low": 2.0, "high": 2.0}
    for sizes, seconds, size in (([100], [1.0], 200), ([100, 200], [1.0, 2.0], 100_000)):
        with pytest.raises(RequestError, match="says nothing of"):
            extrapolate(sizes, seconds, size)


# --- measuring, with a child that only pretends


CHILD = """
import json, os, signal, sys, time
request = json.load(sys.stdin)
for number, config in enumerate(request["configs"]):
    name = config["architecture"]
    print(json.dumps({"at": number, "doing": "timing steps"}), flush=True)
    if name == "cnn-5":
        time.sleep(60)
    if name == "cnn-4":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "cnn-3":
        print(json.dumps({"at": number, "error": "no such weights"}), flush=True)
        continue
    step = {"value": 0.1, "low": 0.1, "high": 0.1}
    facts = {"start": 1.0, "data": 0.0, "step": step, "steps": 10, "val": 5, "scans": 9}
    print(json.dumps({"at": number, "measured": facts}), flush=True)
"""


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """A child that takes no time; the list of what each child was asked."""
    (tmp_path / "child.py").write_text(CHILD)
    start, asked = subprocess.Popen, []

    def pretend(command, **files):
        assert command[1:] == ["-m", "medwb.training.measure"]
        asked.append([one["architecture"] for one in json.load(files["stdin"])["configs"]])
        files["stdin"].seek(0)
        child = start([sys.executable, str(tmp_path / "child.py")], **files)
        children.append(child)
        return child

    children = []
    monkeypatch.setattr(planner, "subprocess", SimpleNamespace(Popen=pretend))
    yield asked
    assert all(child.poll() is not None for child in children)


def test_what_was_measured_is_kept_for_a_day(tiny, home, pretended, monkeypatch):
    found = plan(settings_of(tiny, seeds=(0, 1), epochs=3))
    assert found.rows[0].runs == 2
    assert found.total.value == pytest.approx(2 * (1 + 3 * 1))
    assert plan(settings_of(tiny, seeds=(4,), epochs=9)).total.value == pytest.approx(10)
    assert pretended == [["fcnn-1"]]
    plan(settings_of(tiny, batch_size=8))
    plan(settings_of(tiny), fresh=True)
    assert len(pretended) == 3
    real = time.time
    monkeypatch.setattr(planner.time, "time", lambda: real() + planner.KEPT_S + 1)
    plan(settings_of(tiny))
    assert len(pretended) == 4
    assert not (home / "runs").exists()


@pytest.mark.parametrize("change", ["fingerprint", "cores", "damaged"])
def test_another_dataset_or_machine_or_a_damaged_file_is_measured_anew(tiny, home, pretended, monkeypatch, change):
    plan(settings_of(tiny))
    if change == "fingerprint":
        facts = tiny.path / "dataset.json"
        facts.write_text(facts.read_text().replace(tiny.fingerprint, "0" * 16))
    elif change == "cores":
        monkeypatch.setattr(planner, "machine", lambda: {"cores": 1000})
    else:
        next((home / "cache" / "plan").glob("*.json")).write_text('{"time": 1}')
    plan(settings_of(tiny))
    assert len(pretended) == 2


def test_one_that_cannot_be_built_hides_no_other(tiny, home, pretended):
    names = ("fcnn-1", "cnn-3", "cnn-4", "cnn-2")
    found = plan(settings_of(tiny, names, image_size=64))
    errors = {one.config.architecture: one.error for one in found.rows}
    assert errors["cnn-3"] == "no such weights"
    assert "killed" in errors["cnn-4"]
    assert errors["fcnn-1"] == errors["cnn-2"] == ""
    assert [one.config.architecture for one in found.known] == ["fcnn-1", "cnn-2"]
    assert pretended == [list(names), ["cnn-2"]]
    assert not list((home / "cache" / "plan").glob(".scratch*"))


def test_scans_that_are_too_small_are_said_without_measuring(tiny, pretended):
    found = plan(settings_of(tiny, ("cnn-5", "fcnn-1")))
    assert "cannot take 16 x 16 pixels" in found.rows[0].error
    assert found.rows[1].measured
    assert pretended == [["fcnn-1"]]


def test_whoever_watches_can_end_it_and_what_was_found_is_kept(tiny, home, pretended):
    configs = settings_of(tiny, ("fcnn-1", "cnn-5"), image_size=64)

    def report(done, total, doing):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan(configs, report=report)
    found = plan(configs, measure=False)
    assert [bool(one.measured) for one in found.rows] == [True, False]
    assert not list((home / "cache" / "plan").glob(".scratch*"))


def test_a_home_that_cannot_be_written_is_measured_each_time(tiny, home, pretended):
    (home / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        assert plan(settings_of(tiny)).known
    assert len(pretended) == 2


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_that_are_no_time_are_refused(tiny, minutes):
    with pytest.raises(RequestError, match="no time to plan for"):
        plan(settings_of(tiny), minutes=minutes)


# --- command line and page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "-a", "fcnn-1"), "unknown dataset 'nowhere'"),
        (("tiny", "-a", "fcnn"), "did you mean fcnn-"),
        (("tiny", "-a", "fcnn-1", "--minutes", "0"), "minutes=0 is no time to plan for"),
        (("tiny", "-a", "cnn-5,fcnn-1"), "cannot take 16 x 16 pixels"),
        (("tiny", "-a", "fcnn-1", "--set", "epoch=3"), "did you mean epochs?"),
    ],
)
def test_a_wrong_request_is_one_line(medwb, tiny, pretended, arguments, message):
    status, out, err = medwb("plan", *arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert pretended == []


def test_the_command_answers_in_a_table_and_in_json(medwb, tiny, pretended):
    arguments = (
        "plan",
        "tiny",
        "-a",
        "fcnn-1,fcnn-2",
        "--seeds",
        "0,1",
        "--minutes",
        "0.3",
        "--set",
        "recipe=reference",
    )
    status, out, err = medwb(*arguments)
    assert status == 0, err
    assert "fcnn-2" in out
    assert "Two architectures with 2 seeds take at most 44 s; in 0.3 minutes fit" in out
    facts = json.loads(medwb(*arguments, "--json")[1])
    assert facts["minutes"] == 0.3
    assert [one["runs"] for one in facts["rows"]] == [2, 2]
    assert len(pretended) == 1


def test_the_command_fails_when_nothing_could_be_measured(medwb, tiny, pretended):
    status, out, _ = medwb("plan", "tiny", "-a", "cnn-3", "--set", "image_size=64")
    assert status == 1
    assert "no such weights" in out


PAGE = """
import plan_panel
import streamlit as st
from medwb.dataset import open_dataset
settings = {"image_size": 64, "epochs": 2, "recipe": "reference"}
plan_panel.panel(open_dataset("tiny"), st.session_state.get("names", []), (0, 1), settings)
"""


def test_the_page_measures_and_answers(tiny, pretended, monkeypatch):
    monkeypatch.syspath_prepend(str(DASHBOARD))
    app = AppTest.from_string(PAGE, default_timeout=30).run()
    assert "Choose architectures" in app.info[0].value
    app.session_state["names"] = ["fcnn-1", "cnn-3"]
    app.run()
    assert app.dataframe[0].value["Note"].tolist() == ["not measured yet"] * 2
    app.button(key="measure-plan").click().run()
    deadline = time.monotonic() + 20
    while not app.dataframe and time.monotonic() < deadline:
        time.sleep(0.2)
        app.run()
    assert not app.exception
    assert app.dataframe[0].value["Note"].tolist() == ["", "no such weights"]
    assert "One architecture with 2 seeds takes at most" in app.text[0].value
    app.number_input(key="plan-minutes").set_value(60.0).run()
    assert "that fits into 60 minutes" in app.text[0].value
    assert len(pretended) == 1


def test_the_page_stops_measuring(tiny, pretended, monkeypatch):
    monkeypatch.syspath_prepend(str(DASHBOARD))
    app = AppTest.from_string(PAGE, default_timeout=30)
    app.session_state["names"] = ["cnn-5"]
    app.run()
    app.button(key="measure-plan").click().run()
    app.button(key="stop-plan").click().run()
    deadline = time.monotonic() + 20
    while not app.dataframe and time.monotonic() < deadline:
        time.sleep(0.2)
        app.run()
    assert app.dataframe[0].value["Note"].tolist() == ["not measured yet"]


# --- for real


@pytest.mark.slow
def test_a_plan_is_borne_out_by_the_training(home):
    data = write_dataset(samples=1500)
    settings = {"recipe": "reference", "epochs": 12, "early_stopping_patience": 0, "batch_size": 16}
    configs = settings_of(data, ("fcnn-1", "k-nn"), **settings)
    found = plan(configs)
    assert not any(one.error for one in found.rows), [one.error for one in found.rows]
    for one in found.rows:
        run, begun = create_run(one.config, data), time.monotonic()
        subprocess.run([sys.executable, "-m", "medwb.training", str(run.path)], check=True, capture_output=True)
        ratio = one.seconds(1).value / (time.monotonic() - begun)
        assert 1 / 3 < ratio < 3, f"{one.config.architecture}: predicted / actual {ratio:.2f}: {asdict(one.measured)}"
        if one.epochs:
            measured = one.measured
            epoch = measured.steps * measured.step.value
            assert 1 / 3 < epoch / np.median(Run(run.path).history()["seconds"]) < 3


@pytest.mark.slow
def test_a_child_that_nobody_listens_to_ends(tiny, tmp_path):
    config = settings_of(tiny, image_size=64)[0].model_dump()
    request = {"configs": [config] * 50, "folder": str(tmp_path), "spawned": time.monotonic()}
    (tmp_path / "request").write_text(json.dumps(request))
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "medwb.training.measure"], stdin=open(r"{tmp_path}/request"),
                         stdout=open(r"{tmp_path}/output", "w"), stderr=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        deadline = time.monotonic() + 120
        while "doing" not in (tmp_path / "output").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        parent.kill()
        parent.wait()
        while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.wait()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
