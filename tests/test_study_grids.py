from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import write_dataset

from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.runs import create_run, list_runs
from medwb.studies import find_runs, start_runs, study_grid


@pytest.fixture(autouse=True)
def no_worker(monkeypatch):
    """Runs stay queued."""
    monkeypatch.setattr("medwb.launch.start_worker", lambda: None)


def test_two_commands_at_once_train_each_arm_once(tiny):
    grid = study_grid("epochs", tiny, "fcnn-1", {}, (0, 1))
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(start_runs, grid) for _ in range(4)]
        found = {tuple(run.id for run in future.result().all_runs) for future in futures}
    assert len(found) == 1
    assert len(list_runs()) == 6


def test_looking_at_a_study_starts_nothing(tiny):
    grid = study_grid("epochs", tiny, "fcnn-1", {}, (0, 1))
    assert [len(members) for members in find_runs(grid).runs] == [0, 0, 0]
    assert list_runs() == []
    create_run(grid.configs[1][1], tiny)
    assert [len(members) for members in find_runs(grid).runs] == [0, 1, 0]
    assert find_runs(grid).all_runs[0].config.seed == 1


def settings_of(name: str, dataset: Dataset, key: str) -> list[object]:
    return [getattr(configs[0], key) for configs in study_grid(name, dataset, "fcnn-1", {}, (0,)).configs]


def test_the_grids_are_those_of_the_field(tiny):
    assert settings_of("epochs", tiny, "epochs") == [10, 5, 15]
    assert settings_of("learning-rate", tiny, "learning_rate") == [1e-3, 1e-2, 1e-1]
    assert settings_of("optimizer", tiny, "optimizer") == ["adam", "sgd", "adamw"]
    assert settings_of("loss", tiny, "loss") == ["binary", "categorical", "focal", "asymmetric"]
    assert settings_of("monitor", tiny, "monitor") == ["f1", "accuracy", "loss"]
    assert settings_of("batch-size", tiny, "batch_size") == [32, 16, 64, 128]
    assert settings_of("image-size", tiny, "image_size") == [64, 32]
    assert settings_of("channels", tiny, "channels") == [None, 3]  # None: as the dataset has them
    assert settings_of("heads", tiny, "heads") == ["shared", "per-label"]
    assert settings_of("recipe", tiny, "recipe") == ["reference", "stable"]


def test_the_depth_study_goes_from_shallow_to_deep(home):
    big = write_dataset("big", 60, side=64)
    grid = study_grid("depth", big, None, {}, (0,))
    assert [variant.title for variant in grid.variants] == ["CNN-1", "CNN-4", "CNN-2", "CNN-3", "CNN-5"]
    assert [configs[0].architecture for configs in grid.configs] == ["cnn-1", "cnn-4", "cnn-2", "cnn-3", "cnn-5"]
    assert grid.variants[-1].facts.startswith("8 convolutions")
    assert grid.architecture == "cnn-1, cnn-4, cnn-2, cnn-3, cnn-5"
    with pytest.raises(RequestError, match="the architecture is what the study 'depth' varies; leave out cnn-2"):
        study_grid("depth", big, "cnn-2", {}, (0,))


def test_networks_that_are_too_large_for_the_scans_are_left_out_of_depth(tiny):
    grid = study_grid("depth", tiny, None, {}, (0,))
    assert any(note.startswith("CNN-4 is left out: cnn-4 cannot take 16 x 16 pixels") for note in grid.notes)
