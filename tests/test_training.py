"""Trains small networks for real, in processes of their own."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import write_dataset
from test_audit_leaks import audited

from medwb.architectures import ARCHITECTURES
from medwb.audit.cleaning import make_cleaning, save_cleaning
from medwb.augment.receipt import open_receipt
from medwb.config import RunConfig, make_config
from medwb.runs import create_run
from medwb.scoring import Scorer
from medwb.training.data import RunData

pytestmark = pytest.mark.slow


def train(dataset, **settings):
    run = create_run(make_config({"dataset": dataset.name, **settings}), dataset)
    process = subprocess.run([sys.executable, "-m", "medwb.training", str(run.path)], capture_output=True, text=True)
    return run, process


def weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_run_leaves_all_that_is_documented(tiny):
    run, process = train(tiny, architecture="fcnn-1", epochs=3, learning_rate=1e-3)
    assert process.returncode == 0, process.stderr
    status = run.status()
    assert status["state"] == "finished"
    assert status["epoch"] == 3
    assert not status["collapsed"]
    history = run.history()
    assert history["epoch"].tolist() == [1, 2, 3]
    assert {"train_loss", "val_loss", "train_f1", "val_f1", "train_accuracy", "val_accuracy"} <= set(history)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert json.loads((run.path / "architecture.json").read_text())["layers"][-1]["output_shape"] == [3]
    assert weights(run.path / "model.weights.h5")
    for split in ("train", "val", "test"):
        answer = run.predictions(split)
        assert answer.y_score.shape == answer.y_true.shape == (len(tiny.split(split)), 3)
        assert 0 <= answer.y_score.min() <= answer.y_score.max() <= 1
    assert "val_f1" in (run.path / "log.txt").read_text()
    assert status["onnx_difference"] <= 1e-4
    assert "onnx" not in process.stderr


def test_same_seed_same_bits(tiny):
    """Dropout, batch normalisation and shuffling included."""
    one, two, other = (train(tiny, architecture="fcnn-2", epochs=2, seed=seed)[0] for seed in (7, 7, 8))
    first, second, third = (weights(run.path / "model.weights.h5") for run in (one, two, other))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], third[name]) for name in first)
    assert np.array_equal(one.predictions("test").y_score, two.predictions("test").y_score)


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": "per-label", "loss": "categorical", "class_weights": "balanced"},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05, "monitor": "loss", "channels": 3},
        {"plateau_patience": 1, "schedule": "constant", "monitor": "accuracy", "image_size": 32, "epochs": 7},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_way_to_set_the_problem_learns(tiny, settings):
    run, process = train(tiny, architecture="fcnn-1", batch_size=16, **{"epochs": 6, **settings})
    assert process.returncode == 0, process.stderr
    assert run.history().groupby("head")["val_f1"].max().mean() > 0.75
    if settings.get("heads") == "per-label":
        assert sorted(path.name for path in run.path.glob("*.h5")) == [f"model.{n}.weights.h5" for n in range(3)]
        assert run.history()["head"].unique().tolist() == list(tiny.label_names)


@pytest.mark.parametrize("name", [entry.name for entry in ARCHITECTURES if entry.estimator])
def test_every_baseline_answers(tiny, name):
    run, process = train(tiny, architecture=name)
    assert process.returncode == 0, process.stderr
    score = run.predictions("val").y_score
    if ARCHITECTURES.get(name).constant:
        assert np.ptp(score, axis=0).max() == 0
    else:
        truth = tiny.split("val").labels
        assert ((score >= 0.5) == truth).mean() > 0.8
    assert not run.status()["collapsed"]


def test_a_dead_network_is_called_collapsed(tiny):
    settings = {"recipe": "reference", "optimizer": "sgd", "learning_rate": 1e-9, "epochs": 1, "scale": False}
    run, process = train(tiny, architecture="fcnn-1", **settings)
    assert process.returncode == 0
    assert not run.status()["collapsed"]  # untrained, but alive
    run, process = train(tiny, architecture="fcnn-1", optimizer="adam", learning_rate=5, epochs=2)
    assert run.status()["collapsed"] or run.state == "failed"


def test_stopping_keeps_weights_and_answers(tiny):
    settings = {"dataset": "tiny", "architecture": "fcnn-1", "epochs": 10_000, "augmentation": "study"}
    run = create_run(make_config({**settings, "early_stopping_patience": 0}), tiny)
    process = subprocess.Popen([sys.executable, "-m", "medwb.training", str(run.path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while run.status()["epoch"] < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert run.state == "stopped"
    assert run.predictions("val").y_score.shape == (48, 3)
    assert (run.path / "model.weights.h5").exists()
    assert Scorer(run).shape == (16, 16, 1)
    receipt = open_receipt(run)
    epochs = receipt.epochs["shared"]
    assert epochs - len(run.history()) in (0, 1)  # the one under way has no row yet
    assert 144 * (epochs - 1) < receipt.scans <= 144 * epochs


def test_a_changed_dataset_is_refused(tiny):
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)
    facts = tiny.path / "dataset.json"
    facts.write_text(facts.read_text().replace(tiny.fingerprint, "0" * 16))
    process = subprocess.run([sys.executable, "-m", "medwb.training", str(run.path)], capture_output=True, text=True)
    assert process.returncode == 2
    assert "dataset 'tiny' has changed since run" in process.stderr
    assert "Traceback" not in process.stderr
    assert run.status()["state"] == "failed"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    process = subprocess.run([sys.executable, "-m", "medwb.training", str(tmp_path)], capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("usage: ")


def run_data(dataset, cleaning=None, **settings):
    return RunData(dataset, RunConfig(dataset=dataset.name, architecture="fcnn-1", **settings), cleaning)


def test_an_epoch_sees_every_sample_once_in_an_order_of_its_own(tiny):
    data = run_data(tiny, batch_size=32)
    labels = np.arange(3)
    epochs = [[batch.images for batch in data.epoch(epoch, labels, 0)] for epoch in (1, 1, 2)]
    assert len(epochs[0]) == data.steps == 5
    one, same, other = (np.concatenate(images) for images in epochs)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    expected = tiny.images[tiny.split("train").rows]
    assert np.array_equal(np.sort(one.sum((1, 2, 3))), np.sort(expected.sum((1, 2, 3))))


def test_of_equal_scans_one_is_scored(tiny):
    images = np.array(tiny.images)
    rows = tiny.split("val").rows
    images[rows[[4, 9, 30]]] = images[rows[17]]
    data = run_data(replace(tiny, images=images))
    pictures, picture_of = data.pictures("val")
    assert len(pictures) == len(rows) - 3
    assert (np.diff(pictures) > 0).all()
    assert np.array_equal(data.images("val", pictures)[picture_of], data.images("val", slice(None)))
    assert len(data.pictures("train")[0]) == len(data.split("train"))


def test_unknown_labels_weigh_nothing_and_balance_weighs_classes_alike(tiny):
    tiny.samples.loc[tiny.samples.index[:10], "edema"] = np.nan
    data = run_data(tiny, class_weights="balanced", batch_size=1000)
    (batch,) = data.epoch(1, np.arange(3), 0)
    assert (batch.weights[:, 0] == 0).sum() == 10
    positive, negative = (batch.weights[:, 0] * (batch.targets[:, 0] == value) for value in (1, 0))
    assert positive.sum() == pytest.approx(negative.sum(), rel=1e-5)
    assert batch.weights[:, 0].sum() == pytest.approx(134, rel=1e-5)


def test_a_run_is_trained_once(tiny):
    run, process = train(tiny, architecture="prevalence")
    assert process.returncode == 0
    again = subprocess.run([sys.executable, "-m", "medwb.training", str(run.path)], capture_output=True, text=True)
    assert again.returncode == 2
    assert f"run {run.id} is finished; launch a new one" in again.stderr
    assert run.state == "finished"


def test_stopping_between_labels_keeps_no_half_answers(tiny):
    settings = {"dataset": "tiny", "architecture": "fcnn-1", "epochs": 10_000, "heads": "per-label"}
    run = create_run(make_config({**settings, "early_stopping_patience": 0}), tiny)
    process = subprocess.Popen([sys.executable, "-m", "medwb.training", str(run.path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while run.state != "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # while it still loads, too
    assert process.wait(60) == 0
    assert run.state == "stopped"
    assert run.predicted_splits() == []


def disputing(dataset):
    """An audit that takes the first ten train samples, and the first two val samples, for near copies."""
    train, val = (np.flatnonzero(dataset.samples["split"] == split) for split in ("train", "val"))
    return audited(dataset, [(train[0], other) for other in train[1:10]] + [(val[0], val[1])])


def test_a_cleaned_epoch_teaches_shares_of_votes_and_leaves_out_what_leaves(tiny):
    audit = disputing(tiny)
    cleaning = make_cleaning(audit, ["keep-one-soft"])
    data = run_data(tiny, cleaning, batch_size=1000)
    (batch,) = data.epoch(1, np.arange(3), 0)
    assert len(batch.images) == 144 - 9
    share = tiny.labels[:10].mean(axis=0)
    assert (np.abs(batch.targets - share) < 1e-6).all(axis=1).sum() == 1
    assert len(data.split("train")) == 144
    assert np.array_equal(data.split("train").labels, tiny.split("train").labels)
    assert data.train_positions.tolist() == [0, *range(10, 144)]
    assert len(data.val) == len(data.split("val"))
    assert "135 of 144 samples stay" in data.describe()[0]
    assert run_data(tiny).describe() == []


def test_what_is_watched_is_cleaned_only_when_the_cleaning_touches_it(home):
    tiny = write_dataset(seed=1)
    cleaning = make_cleaning(disputing(tiny), ["drop-contradictions"], splits=("val",))
    data = run_data(tiny, cleaning)
    assert len(data.train) == 144
    assert data.val_positions.tolist() == list(range(2, 48))
    assert len(data.split("val")) == 48


def test_shares_of_votes_weigh_as_their_parts(tiny):
    cleaning = make_cleaning(disputing(tiny), ["keep-one-soft"])
    (batch,) = run_data(tiny, cleaning, class_weights="balanced", batch_size=1000).epoch(1, np.arange(3), 0)
    yes = batch.targets.sum(axis=0, dtype=float)
    expected = batch.targets * 135 / (2 * yes) + (1 - batch.targets) * 135 / (2 * (135 - yes))
    assert np.allclose(batch.weights, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["binary", "categorical"])
def test_networks_learn_under_a_cleaning_and_answer_all_samples_as_imported(tiny, loss):
    cleaning = make_cleaning(disputing(tiny), ["keep-one-soft"], splits=("train", "val"), name="soft")
    save_cleaning(cleaning)
    run, process = train(tiny, architecture="fcnn-1", epochs=6, batch_size=16, loss=loss, cleaning="soft")
    assert process.returncode == 0, process.stderr
    assert run.history()["val_f1"].max() > 0.75
    assert np.isfinite(run.history()[["train_loss", "val_loss"]]).all(axis=None)
    for split in ("train", "val", "test"):
        answer = run.predictions(split)
        assert answer.ids.tolist() == tiny.split(split).samples["id"].tolist()
        assert np.array_equal(answer.y_true, tiny.split(split).labels)
    log = (run.path / "log.txt").read_text()
    assert f"cleaning soft ({cleaning.digest}): train: 135 of 144 samples stay" in log
    assert "touches val: 1 sample out" in log
    assert "the cleaning leaves out samples (1 of val)" in log


def test_a_baseline_learns_under_a_cleaning(tiny):
    save_cleaning(make_cleaning(disputing(tiny), ["drop-contradictions"]))
    run, process = train(tiny, architecture="logistic-regression", cleaning="drop-contradictions")
    assert process.returncode == 0, process.stderr
    assert "fitting edema on 134 samples" in (run.path / "log.txt").read_text()
    assert len(run.predictions("train").ids) == 144


def test_a_cleaning_that_was_changed_since_the_launch_is_refused(tiny):
    audit = disputing(tiny)
    save_cleaning(make_cleaning(audit, ["drop-contradictions"], name="mine"))
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1", "cleaning": "mine"}), tiny)
    save_cleaning(make_cleaning(audit, ["contradictions-unknown"], name="mine"))
    process = subprocess.run([sys.executable, "-m", "medwb.training", str(run.path)], capture_output=True, text=True)
    assert process.returncode == 2
    assert f"cleaning 'mine' has changed since run {run.id} was made" in process.stderr
    assert "Traceback" not in process.stderr
    assert run.state == "failed"


def test_equal_scans_are_learned_once_with_the_share_of_their_votes(tiny):
    train = np.flatnonzero(tiny.samples["split"] == "train")
    images = np.array(tiny.images)
    images[train[1:6]] = images[train[0]]
    images[train[6]] = images[np.flatnonzero(tiny.samples["split"] == "val")[0]]  # another split is no copy
    tiny.samples.loc[train[:6], "edema"] = [1, 1, 0, np.nan, 0, 1]
    tiny.samples.loc[train[:6], "mass"] = np.nan
    copied = replace(tiny, images=images, samples=tiny.samples.copy())
    once, all_ = (run_data(copied, copies=copies) for copies in ("once", "all"))
    assert len(all_.train) - len(once.train) == 5
    first = once.train.labels[0]
    assert first[0] == pytest.approx(3 / 5)
    assert np.isnan(first[1])
    assert np.array_equal(once.train.rows[1:], all_.train.rows[6:])
    assert np.array_equal(once.train.labels[1:], all_.train.labels[6:], equal_nan=True)
    (batch,) = run_data(copied, copies="once", batch_size=1000).epoch(1, np.arange(3), 0)
    order = np.random.default_rng((0, 1)).permutation(len(once.train))
    assert np.array_equal(batch.images, images[once.train.rows[order]])
    assert np.array_equal(batch.targets, np.nan_to_num(once.train.labels[order]))
    assert once.describe() == [f"of scans that are equal one is learned: {len(once.train)} scans"]


def test_what_is_left_of_an_epoch_is_its_end(tiny):
    data = run_data(tiny, batch_size=32)
    whole = list(data.epoch(3, np.arange(3), 1))
    rest = list(data.epoch(3, np.arange(3), 1, start=2))
    assert len(rest) == len(whole) - 2
    for mine, theirs in zip(rest, whole[2:], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
