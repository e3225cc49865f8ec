import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import answer_with_noise, write_dataset

from medwb.audit import open_audit, run_audit
from medwb.audit.cleaning import (
    POLICIES,
    cleaning_names,
    make_cleaning,
    open_cleaning,
    remove_cleaning,
    save_cleaning,
)
from medwb.audit.contradictions import contradictory_samples
from medwb.augment import PRESETS, TRANSFORMS, Augmentation, Step
from medwb.config import make_config
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.errors import RequestError
from medwb.metrics import average, evaluate
from medwb.runs import Run, create_run, list_runs, open_run
from medwb.statistics import bootstrap_weights
from medwb.studies import STUDIES, Plan, Variant, start_study, study_grid, study_table
from medwb.studies.study import Study
from medwb.table import certificate_notes
from medwb.units import resampling_units


@pytest.fixture(scope="module")
def audited_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MEDWB_HOME with a dataset and its audit: a third of the frames are black, with arbitrary labels."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(folder))
        plain = write_dataset("plain", 90)
        labels = list(plain.label_names)
        samples = plain.samples.reset_index(drop=True).copy()
        dark = np.arange(90) % 3 == 0
        samples["group"] = [f"p{number}" for number in range(90)]
        samples.loc[dark, labels] = (np.random.default_rng(1).random((dark.sum(), 3)) < 0.4).astype(np.float32)
        with new_dataset("black") as staging:
            images = allocate_images(staging / "images.npy", plain.images.shape)
            images[:] = np.where(dark[:, None, None, None], 0, plain.images)
            save_dataset(staging, samples, labels, images, format="csv", source="a test", ingest={})
        run_audit(open_dataset("black"))
    return folder


@pytest.fixture
def black(audited_home, home) -> Dataset:
    shutil.copytree(audited_home, home)
    return open_dataset("black")


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    """Runs stay queued, so that tests may finish them."""
    started: list[None] = []
    monkeypatch.setattr("medwb.launch.start_worker", lambda: started.append(None))
    return started


def finish(run: Run, dataset: Dataset, noise: float) -> None:
    answer_with_noise(run, dataset, noise, [run.config.seed, int(1000 * noise)])


def start(dataset: Dataset, **settings: object):
    return start_study("cleaning", dataset, "fcnn-1", {"epochs": 2, **settings}, (0, 1))


def test_every_study_says_what_it_asks():
    for study in STUDIES:
        assert study.summary.endswith("?")
        assert study.title


def test_the_cleaning_study_trains_each_policy_that_changes_something(black):
    runs = start(black)
    titles = [variant.title for variant in runs.variants]
    assert titles[:2] == ["keep everything", "drop-contradictions"]
    assert "keep-one-soft" in titles
    assert "drop-leaking-train" not in titles
    digests = {open_cleaning(black, title).digest for title in titles[1:]}
    assert len(digests) == len(titles) - 1
    left_out = {policy.name for policy in POLICIES if policy.splits is None} - {"keep-all", *titles}
    assert all(any(note.startswith(name) for note in runs.grid.notes) for name in left_out)
    assert runs.started == len(runs.all_runs) == 2 * len(titles)
    assert [run.config.seed for run in runs.all_runs] == sorted(run.config.seed for run in runs.all_runs)
    for variant, members in zip(runs.variants, runs.runs, strict=True):
        assert [run.config.seed for run in members] == [0, 1]
        assert {run.config.cleaning for run in members} == {variant.settings["cleaning"]}
        assert {run.config.epochs for run in members} == {2}
    expected = ~contradictory_samples(black.labels, open_audit(black).copies)
    assert np.array_equal(runs.grid.scored, expected[(black.samples["split"] == "val").to_numpy()])
    assert 0 < runs.grid.scored.sum() < len(runs.grid.scored)


def test_a_baseline_cannot_learn_shares_and_runs_once(black):
    runs = start_study("cleaning", black, "k-nn", {}, (3, 4))
    assert all(len(members) == 1 for members in runs.runs)
    assert "keep-one-soft" not in [variant.title for variant in runs.variants]
    assert any("keep-one-soft is left out" in note and "shares of votes" in note for note in runs.grid.notes)


def test_the_augmentation_study_compares_every_preset_with_none(black, monkeypatch):
    tinted = Augmentation((Step(next(entry.name for entry in TRANSFORMS if entry.colour)),))
    monkeypatch.setitem(PRESETS, "tinted", tinted)
    runs = start_study("augmentation", black, "fcnn-1", {"epochs": 2}, (0, 1))
    gentle = [name for name in PRESETS if name != "tinted"]
    assert [variant.title for variant in runs.variants] == ["no augmentation", *gentle]
    assert gentle[0] == "study"
    assert [run.config.augmentation for run in runs.all_runs] == 2 * ["none", *gentle]
    assert [run.augmentation_digest for run in runs.all_runs[:2]] == ["", PRESETS["study"].digest]
    assert runs.grid.scored.all()
    assert any(note.startswith("tinted is left out: tinted: step 1") for note in runs.grid.notes)
    assert any("the same epochs" in note for note in runs.grid.notes)
    share = re.search(r"11 steps; of what a scan shows, (\d+)\s%", runs.variants[1].facts)
    assert 10 < int(share[1]) < 60
    assert start_study("augmentation", black, "fcnn-1", {"epochs": 2}, (0, 1)).started == 0
    for members, noise in zip(runs.runs, [0.1, 3.0, 0.1, 0.1, 0.1], strict=False):
        for run in members:
            finish(run, black, noise)
    table = study_table(runs, draws=200)
    assert table.rows["verdict"].tolist()[:2] == ["reference", "worse"]


def test_a_study_of_what_an_architecture_does_not_have_has_nothing_to_compare(black):
    with pytest.raises(RequestError, match="study is left out: for k-nn it is the same as no augmentation"):
        start_study("augmentation", black, "k-nn", {}, (0,))
    assert list_runs() == []


def test_runs_that_did_just_that_are_used_again(black, no_worker):
    first = start(black)
    ids = [run.id for run in first.all_runs]
    for run in first.all_runs[:3]:
        finish(run, black, 0.3)
    again = start(black)
    assert again.started == 0
    assert [run.id for run in again.all_runs] == ids
    assert len(no_worker) == 2  # some are queued still: their worker may have been killed
    assert start(black, learning_rate=0.01).started == len(ids)


def test_a_finished_run_goes_before_a_queued_one(black):
    config = make_config({"dataset": "black", "architecture": "fcnn-1", "epochs": 2})
    done = create_run(config, black)
    finish(done, black, 0.3)
    create_run(config, black)
    assert start(black).runs[0][0].id == done.id


def test_a_run_under_another_cleaning_of_that_name_is_not_used(black):
    audit = open_audit(black)
    save_cleaning(make_cleaning(audit, ["drop-constant"], name="mine"))
    other = replace(make_cleaning(audit, ["keep-one-soft"]), name="drop-contradictions")
    save_cleaning(other)
    with pytest.raises(RequestError, match="'drop-contradictions' was made by keep-one-soft on train; the study"):
        start(black)
    config = make_config(
        {"dataset": "black", "architecture": "fcnn-1", "epochs": 2, "cleaning": "drop-contradictions"}
    )
    finish(create_run(config, black), black, 0.3)
    remove_cleaning(black, "drop-contradictions")
    runs = start(black)
    assert runs.started == len(runs.all_runs)
    assert "mine" in cleaning_names(black)


def test_the_table_pairs_each_variant_with_the_first(black):
    runs = start(black)
    noises = [1.0, 0.1, *([1.0] * len(runs.variants))]
    for members, noise in zip(runs.runs, noises, strict=False):
        for run in members:
            finish(run, black, noise)
    table = study_table(runs, draws=300)
    assert table.rows["variant"].tolist() == [variant.title for variant in runs.variants]
    assert table.rows["verdict"].tolist()[:3] == ["reference", "better", "tie"]
    part = black.split("val")
    weights = np.vstack([np.ones((1, len(part))), bootstrap_weights(resampling_units(part), 300)])
    drawn = np.random.default_rng(1).integers(2, size=(301, 2))
    values = []
    for members in runs.runs[:2]:
        by_seed = []
        for run in members:
            answer = run.predictions("val")
            truth, score = answer.y_true[runs.grid.scored], answer.y_score[runs.grid.scored]
            by_seed.append(average(evaluate("f1", truth, score, weights=weights[:, runs.grid.scored]), "macro"))
        drawn_means = [np.mean([by_seed[seed][row] for seed in drawn[row]]) for row in range(1, 301)]
        all_means = [np.mean([seed[row] for seed in by_seed]) for row in range(1, 301)]
        values.append(np.array(all_means) + np.sqrt(2) * np.subtract(drawn_means, all_means))  # of two seeds
        values.append(np.mean([seed[0] for seed in by_seed]))
    found = table.score(1, "difference")
    assert np.isclose(found.value, values[3] - values[1])
    assert np.allclose((found.low, found.high), np.percentile(np.subtract(values[2], values[0]), [2.5, 97.5]))
    assert np.isclose(table.score(1, "macro_f1").value, values[3])
    everything = [run.predictions("val") for run in runs.runs[1]]
    expected = np.mean([average(evaluate("f1", a.y_true, a.y_score), "macro")[0] for a in everything])
    assert np.isclose(table.score(1, "all_macro_f1").value, expected)
    facts = table.to_json()
    json.dumps(facts, allow_nan=False)
    assert facts["rows"][0]["difference"] == {"value": None, "low": None, "high": None}
    assert facts["samples"] == len(part)
    assert facts["scored"] == runs.grid.scored.sum()
    assert any("keep everything (" in note and runs.runs[0][0].certificate.hash[:8] in note for note in table.notes)


def test_variants_are_compared_on_the_seeds_that_both_finished(black):
    runs = start(black)
    with pytest.raises(RequestError, match="no run of the study is finished"):
        study_table(runs, draws=100)
    finish(runs.runs[0][0], black, 0.5)
    finish(runs.runs[1][0], black, 0.2)
    finish(runs.runs[1][1], black, 0.2)
    finish(runs.runs[2][1], black, 0.2)
    runs.runs[3][0].update_status(state="failed", error="out of memory")
    table = study_table(runs, draws=100)
    assert table.rows["runs"].tolist()[:4] == [1, 2, 1, 0]
    assert not np.isnan(table.rows["difference"][1])
    assert table.rows["verdict"].tolist()[2:4] == ["unknown", "unknown"]
    assert np.isnan(table.rows["macro_f1"][3])
    assert f"{runs.variants[3].title}, seed 0 is failed: out of memory" in table.notes


def test_a_new_study_is_one_function(black, monkeypatch):
    def epochs(dataset: Dataset) -> Plan:
        return Plan([Variant(f"{count} epochs", {"epochs": count}) for count in (10, 5)])

    monkeypatch.setattr(STUDIES, "_entries", {"epochs": Study("epochs", "Epochs", "How long?", epochs)})
    runs = start_study("epochs", black, "fcnn-1", {}, (0,))
    assert [run.config.epochs for run in runs.all_runs] == [10, 5]
    assert runs.grid.scored.all()
    with pytest.raises(RequestError, match="epochs is what the study 'epochs' varies; leave it out"):
        start_study("epochs", black, "fcnn-1", {"epochs": 3}, (0,))


def test_nothing_to_compare_is_said_and_queues_nothing(home):
    plain = write_dataset("plain", 60)
    with pytest.raises(RequestError, match="has not been audited yet"):
        start(plain)
    run_audit(plain)
    with pytest.raises(RequestError, match="no policy changes the train split of 'plain'"):
        start(plain)
    assert list_runs() == []


def test_notes_name_the_rows_that_were_trained_on_leaking_splits(home):
    clean = create_run(make_config({"dataset": "clean", "architecture": "fcnn-1"}), write_dataset("clean", 90))
    tight = write_dataset("tight", 100)  # a patient has three samples in a row, and 60 and 80 are no multiples
    leaking = [
        create_run(make_config({"dataset": "tight", "architecture": "fcnn-1", "seed": n}), tight) for n in (0, 1)
    ]
    stamp = leaking[0].certificate.hash[:8]
    notes = certificate_notes({"A": leaking, "B": [clean], "C": leaking[:1]})
    assert len(notes) == 2
    assert notes[0].startswith("the splits leak: ")
    assert notes[0].endswith(f"scores on these are too good: A ({stamp}), C ({stamp})")
    assert notes[1] == f"certified to have no leak, near copies not looked at: B ({clean.certificate.hash[:8]})"
    record = json.loads((clean.path / "config.json").read_text())
    record["certificate"]["leaks"]["sets"] = 7
    (clean.path / "config.json").write_text(json.dumps(record))
    assert "is damaged (its hash does not fit)" in certificate_notes({"B": [open_run(clean.id)]})[0]


def test_when_no_run_of_a_study_finishes_the_status_is_1(black, medwb):
    arguments = ["study", "black", "cleaning", "-a", "fcnn-1", "--set", "epochs=3", "--seeds", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "medwb.cli.studies.watch_runs",
            lambda runs: [run.update_status(state="failed", error="x") for run in runs],
        )
        status, out, err = medwb(*arguments)
    assert status == 1
    assert out == ""
    assert "no run of the study has finished" in err


def test_the_command_line_shows_the_table(black, medwb):
    arguments = ["study", "black", "cleaning", "-a", "fcnn-1", "--set", "epochs=2", "--seeds", "0,1", "--draws", 100]
    status, out, err = medwb(*arguments, "--detach")
    assert status == 0, err
    ids = out.split()
    for run in list_runs("black"):
        finish(run, black, 0.3)
    status, out, err = medwb(*arguments, "--json")
    assert status == 0, err
    assert f"0 runs are queued, {len(ids)} were there already" in err
    rows = json.loads(out)["rows"]
    assert sorted(name for row in rows for name in row["run_ids"]) == sorted(ids)
    status, out, err = medwb(*arguments)
    assert status == 0, err
    assert "Difference to keep everything" in out
    assert "drop-contradictions" in out
    assert re.search(r"verdicts hold for all \d comparisons together", err)
    assert "Does it matter what is done about contradictory copies" in out
    assert "The reference study removed all black scans but one" in out
    assert "note: the splits leak" in err or "certified to have no leak" in err
    status, out, _ = medwb("runs", "black")
    assert "drop-contradictions" in out
    listed = pd.DataFrame(json.loads(medwb("runs", "black", "--json")[1])["runs"])
    assert {"cleaning", "warnings"} <= set(listed)


def test_a_stopped_or_failed_arm_goes_on_and_is_not_trained_anew(black, no_worker):
    first = start(black)
    ids = [run.id for run in first.all_runs]
    for run in first.all_runs[:3]:
        finish(run, black, 0.3)
    first.all_runs[3].update_status(state="stopped")
    first.all_runs[-1].update_status(state="failed", error="out of memory")
    again = start(black)
    assert (again.started, again.continued) == (0, 2)
    assert [run.id for run in again.all_runs] == ids
    assert {run.state for run in again.all_runs[3:]} == {"queued"}


def test_an_arm_that_cannot_go_on_is_launched_anew(black, monkeypatch):
    def refuse(run: Run) -> None:
        raise RequestError("its folder is read-only")

    first = start(black)
    monkeypatch.setattr("medwb.launch.resume", refuse)
    first.all_runs[-1].update_status(state="failed", error="disk full")
    again = start(black)
    assert (again.started, again.continued) == (1, 0)
    assert [run.id for run in again.all_runs[:-1]] == [run.id for run in first.all_runs[:-1]]


KILLED_STUDY = """
import os, signal
import medwb.launch
medwb.launch.start_worker = lambda: None
import medwb.terminal
from medwb.dataset import open_dataset
from medwb.studies import start_study
runs = start_study("epochs", open_dataset("black"), "fcnn-1", {}, (0, 1))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_study_that_was_killed_trains_only_the_rest(black, medwb, monkeypatch):
    killed = subprocess.run([sys.executable, "-c", KILLED_STUDY], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = list_runs("black")
    assert len(before) == 6
    for run in before[:2]:
        finish(run, black, 0.3)
    before[2].update_status(state="failed", error="the process is gone: it was killed")
    answered = {run.id: (run.path / "predictions.npz").read_bytes() for run in before[:2]}
    watched: list[str] = []

    def train(runs: list[Run]) -> None:
        for run in runs:
            assert run.state == "queued"
            watched.append(run.id)
            finish(run, black, 0.3)

    monkeypatch.setattr("medwb.cli.studies.watch_runs", train)
    arguments = ["study", "black", "epochs", "-a", "fcnn-1", "--seeds", "0,1", "--draws", 200]
    status, _, err = medwb(*arguments)
    assert status == 0, err
    assert "0 runs are queued, 1 go on, 5 were there already" in err
    assert sorted(watched) == sorted(run.id for run in before[2:])
    assert [run.id for run in list_runs("black")] == [run.id for run in before]
    assert {run.id: (run.path / "predictions.npz").read_bytes() for run in before[:2]} == answered


@pytest.mark.parametrize("name", STUDIES.names())
def test_every_study_can_be_started(name, black):
    grid = study_grid(name, black, None if name == "depth" else "fcnn-1", {}, (0, 1, 2))
    assert len(grid.variants) == len(grid.configs) >= 2
    assert len(set(grid.order)) == len(grid.order) == 3 * len(grid.variants)
    assert len({variant.title for variant in grid.variants}) == len(grid.variants)
    assert grid.study.finding.endswith(".")
    assert grid.study.finding.count(". ") == 0
    for variant, configs in zip(grid.variants, grid.configs, strict=True):
        assert [config.seed for config in configs] == [0, 1, 2]
        assert all(getattr(configs[0], key) == value for key, value in variant.settings.items())


def test_the_command_line_lists_studies(medwb, home):
    status, out, _ = medwb("studies", "--json")
    assert status == 0
    listed = json.loads(out)
    assert [entry["name"] for entry in listed] == STUDIES.names()
    assert all(entry["question"].endswith("?") and entry["finding"] for entry in listed)
    assert "How many epochs are enough?" in medwb("studies")[1]


def test_a_setting_of_all_variants_is_checked_before_anything_is_queued(black, medwb):
    assert medwb("study", "black", "epochs", "--set", "epochs=4")[0] == 2
    assert medwb("study", "black", "epochs", "--json", "--csv")[0] == 2
    status, _, err = medwb("study", "black", "epoch")
    assert status == 2
    assert "did you mean epochs" in err
    assert list_runs() == []
