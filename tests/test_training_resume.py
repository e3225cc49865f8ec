"""A training that is interrupted goes on to the same weights and answers, bit for bit."""

import json
import os
import random
import signal
import time
from contextlib import suppress

import numpy as np
import pytest
from conftest import write_dataset
from test_training import weights
from training_forks import Forks

from medwb.config import make_config
from medwb.errors import RequestError
from medwb.runs import Run, create_run
from medwb.training.checkpoint import CHECKPOINT_FILE, open_checkpoint, remove_checkpoint, save_checkpoint

SETTINGS = {
    "fcnn-2": {"recipe": "reference", "heads": "per-label", "plateau_patience": 1, "augmentation": "study"},
    "rnn-1": {"optimizer": "sgd", "momentum": 0.9, "epochs": 8},
    "cnn-3": {"weight_average": 0.9, "optimizer": "adamw", "weight_decay": 0.01, "precision": "bfloat16"},
}
"""Dropout, normalisation, schedules, heads, averages and what augmentation draws, each in one of them at least."""

KILLS = 7


def queued(dataset, name, **settings) -> Run:
    chosen = {"dataset": dataset.name, "architecture": name, "epochs": 4, "batch_size": 16, **SETTINGS[name]}
    return create_run(make_config({**chosen, **settings}), dataset)


def trained(run):
    """All that a training leaves and that does not depend on the clock."""
    found = {path.name: weights(path) for path in sorted(run.path.glob("*.weights.h5"))}
    found |= {split: {"score": run.predictions(split).y_score} for split in run.predicted_splits()}
    found["history"] = {name: column.to_numpy() for name, column in run.history().drop(columns="seconds").items()}
    if (run.path / "receipt.json").exists():
        found["receipt"] = {"text": np.array((run.path / "receipt.json").read_text())}
        found["receipt"]["picture"] = np.frombuffer((run.path / "receipt.png").read_bytes(), np.uint8)
    return found


def assert_same(run, other):
    mine, theirs = trained(run), trained(other)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].keys() == theirs[name].keys(), name
        for part in mine[name]:
            assert np.array_equal(mine[name][part], theirs[name][part]), f"{name}: {part}"


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_killed_at_random_moments_it_ends_as_an_unbroken_one(home, name):
    """A checkpoint after every batch, so that many kills hit a write."""
    dataset, chance = write_dataset(), random.Random(name)
    unbroken = queued(dataset, name)
    with Forks(checkpoint_every=0) as forks:
        started = time.monotonic()
        forks.start(unbroken)
        assert forks.wait() == 0
        lasts = time.monotonic() - started
        places = []
        while len(places) < KILLS:
            broken = queued(dataset, name)
            places += kill_until_finished(broken, forks, chance, lasts)
            assert_same(broken, unbroken)
            assert not [path.name for path in broken.path.iterdir() if "partial" in path.name]
            assert not (broken.path / CHECKPOINT_FILE).exists()
    assert len(set(places)) > 2


def kill_until_finished(run, forks, chance, lasts):
    """Train a run, kill it, and again; returns where its checkpoints stood at the kills.

    Every other time it is killed soon after it has learned from a batch, for much of the time it builds and exports.
    """
    places = []
    while True:
        process = forks.start(run)
        if len(places) < KILLS:
            if len(places) % 2:
                time.sleep(chance.uniform(0, lasts))
            else:
                before, deadline = written(run), time.monotonic() + lasts
                while written(run) == before and time.monotonic() < deadline:
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.2))
            with suppress(ProcessLookupError):  # it has finished meanwhile
                os.kill(process, signal.SIGKILL)
        status = forks.wait()
        if run.state == "finished":
            return places
        assert status == -signal.SIGKILL, run.log_tail()
        checkpoint = open_checkpoint(run)
        place = checkpoint.facts["place"] if checkpoint else {"epoch": 0, "step": 0}
        places.append((checkpoint.facts["head"] if checkpoint else 0, place["epoch"], place["step"]))
        assert run.state in ("failed", "queued")
        run.update_status(state="queued")


def written(run):
    """When its checkpoint was written; 0 for none."""
    path = run.path / CHECKPOINT_FILE
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("heads", ["shared", "per-label"])
def test_stopped_after_a_batch_it_goes_on(home, heads):
    dataset = write_dataset()
    settings = {"heads": heads, "epochs": 40, "early_stopping_patience": 0, "plateau_patience": 0}
    unbroken, stopped = (queued(dataset, "fcnn-2", **settings) for _ in range(2))
    with Forks() as forks:
        forks.start(unbroken)
        assert forks.wait() == 0
        process = forks.start(stopped)
        while len(stopped.history()) < (2 if heads == "shared" else 42):  # in the second head
            time.sleep(0.01)
        os.kill(process, signal.SIGTERM)
        assert forks.wait() == 0
        assert stopped.state == "stopped"
        history = len(stopped.history())
        assert history < len(unbroken.history())
        assert bool(stopped.predicted_splits()) == (heads == "shared")
        stopped.update_status(state="queued")
        forks.start(stopped)
        assert forks.wait() == 0
    assert_same(stopped, unbroken)
    assert "goes on with epoch" in (stopped.path / "log.txt").read_text()
    assert stopped.status()["train_seconds"] > 0


def test_a_checkpoint_comes_back(tiny):
    run = queued(tiny, "fcnn-2")
    assert open_checkpoint(run) is None
    arrays = {"a/0": np.arange(3, dtype=np.int8), "a/1": np.float32(2), "b": np.zeros((0, 2))}
    save_checkpoint(run, arrays, {"head": 1})
    checkpoint = open_checkpoint(run)
    assert checkpoint.facts["head"] == 1
    assert [array.tolist() for array in checkpoint.group("a")] == [[0, 1, 2], 2.0]
    assert checkpoint.arrays["b"].shape == (0, 2)
    assert checkpoint.elsewhere == ""
    remove_checkpoint(run)
    assert open_checkpoint(run) is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", None], ids=["empty", "no zip", "cut"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tiny, damage):
    run = queued(tiny, "fcnn-2")
    save_checkpoint(run, {"a/0": np.arange(1000)}, {"head": 0})
    path = run.path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-50] if damage is None else damage)
    with pytest.raises(RequestError, match=rf"checkpoint.npz is damaged .*`medwb retry {run.id}`"):
        open_checkpoint(run)


def test_flipped_bits_in_a_checkpoint_are_found(tiny):
    run = queued(tiny, "fcnn-2")
    save_checkpoint(run, {"a/0": np.zeros(1000)}, {"head": 0})
    path = run.path / CHECKPOINT_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RequestError, match="is damaged"):
        open_checkpoint(run)


def test_a_config_that_was_edited_meanwhile_is_refused(tiny):
    run = queued(tiny, "fcnn-2")
    save_checkpoint(run, {}, {"head": 0})
    record = json.loads((run.path / "config.json").read_text())
    record["config"]["learning_rate"] = 0.5
    (run.path / "config.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match=r"config\.json was changed after"):
        open_checkpoint(Run(run.path))


def test_another_machine_is_told(tiny, monkeypatch):
    run = queued(tiny, "fcnn-2")
    save_checkpoint(run, {}, {"head": 0})
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert open_checkpoint(run).elsewhere == "oneDNN 1 then, 0 now"


def test_a_full_disk_leaves_the_old_checkpoint(tiny, monkeypatch):
    run = queued(tiny, "fcnn-2")
    save_checkpoint(run, {}, {"head": 3})
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(run, {}, {"head": 4})
    assert open_checkpoint(run).facts["head"] == 3
    assert sorted(path.name for path in run.path.iterdir() if "partial" in path.name) == []
