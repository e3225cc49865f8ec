"""What tests share: an empty MEDWB_HOME, scans to import, a small dataset, a small set of finished runs."""

import csv
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from medwb.config import make_config
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.runs import Predictions, Run, create_run

LABELS = ("edema", "mass", "effusion")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MEDWB_HOME."""
    folder = tmp_path / "home"
    for name in ("MLFLOW_TRACKING_URI", "MEDWB_TENSORBOARD", "MEDWB_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MEDWB_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real scans that MEDWB_REALDATA names."""
    named = os.environ.get("MEDWB_REALDATA")
    if not named or not Path(named).is_dir():
        pytest.skip("MEDWB_REALDATA does not name a folder of real scans")
    return Path(named)


def write_scan(path: Path, seed: int = 0, size: Sequence[int] = (32, 32), channels: int = 1) -> None:
    """Write one image file of noise; the suffix decides its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = tuple(size) if channels == 1 else (*size, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    assert cv2.imwrite(str(path), pixels)


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write rows, the first one the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def zip_folder(folder: Path, archive: Path, top: str = "") -> Path:
    """Pack a folder into a zip, below a top folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, top + str(path.relative_to(folder)))
    return archive


@pytest.fixture
def csv_source(tmp_path: Path) -> Path:
    """A folder with 40 scans, a table with two labels, and 10 patients."""
    folder = tmp_path / "source"
    rows: list[list[object]] = [["id", "patient", "edema", "mass"]]
    for number in range(40):
        write_scan(folder / "images" / f"{number:03d}.png", number)
        rows.append([f"{number:03d}.png", f"p{number // 4}", number % 2, int(number % 3 == 0)])
    write_csv(folder / "labels.csv", rows)
    return folder


def write_dataset(name: str = "tiny", samples: int = 240, side: int = 16, seed: int = 0) -> Dataset:
    """Write a dataset whose three labels are a bright top, a bright left side and a bright centre."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((samples, 3)) < (0.5, 0.4, 0.3)).astype(np.float32)
    pixels = rng.integers(0, 120, (samples, side, side, 1))
    half, quarter = side // 2, side // 4
    pixels[labels[:, 0] == 1, :quarter] += 110
    pixels[labels[:, 1] == 1, :, :quarter] += 110
    pixels[labels[:, 2] == 1, half - 2 : half + 2, half - 2 : half + 2] += 110
    import pandas as pd

    table = pd.DataFrame(labels, columns=list(LABELS))
    table["id"] = [f"{number:04d}.png" for number in range(samples)]
    table["group"] = [f"p{number // 3}" for number in range(samples)]
    cuts = [int(samples * 0.6), int(samples * 0.8)]
    table["split"] = np.repeat(["train", "val", "test"], [cuts[0], cuts[1] - cuts[0], samples - cuts[1]])
    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (samples, side, side, 1))
        images[:] = np.clip(pixels, 0, 255).astype(np.uint8)
        save_dataset(folder, table, LABELS, images, format="csv", source="made for a test", ingest={"read": samples})
    return open_dataset(name)


@pytest.fixture
def tiny(home: Path) -> Dataset:
    """A small dataset that a dense network learns in two epochs."""
    return write_dataset()


def answer_with_noise(run: Run, dataset: Dataset, noise: float, seed: int | list[int]) -> None:
    """Finish a run with scores that are the truth plus noise."""
    rng = np.random.default_rng(seed)
    answers = {}
    for split in dataset.splits:
        part = dataset.split(split)
        truth = np.nan_to_num(part.labels, nan=0.5)
        score = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 1).astype(np.float32)
        answers[split] = Predictions(part.samples["id"].to_numpy(str), part.labels, score)
    run.save_predictions(answers)
    run.update_status(state="finished", epoch=1, train_seconds=1.0)


def finish_run(dataset: Dataset, noise: float = 0.3, **settings: object) -> Run:
    """A run in state finished whose scores are the truth plus noise, without training anything."""
    run = create_run(make_config({"dataset": dataset.name, "architecture": "fcnn-1", **settings}), dataset)
    answer_with_noise(run, dataset, noise, run.config.seed)
    run.update_status(train_seconds=1.5)
    return run


@pytest.fixture
def finished(tiny: Dataset) -> list[Run]:
    """Finished runs of two architectures, one of them with two seeds, and a baseline."""
    return [
        finish_run(tiny, 0.2, architecture="rnn-1", seed=0),
        finish_run(tiny, 0.2, architecture="rnn-1", seed=1),
        finish_run(tiny, 0.6, architecture="fcnn-1"),
        finish_run(tiny, 2.0, architecture="k-nn"),
    ]


Medwb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def medwb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Medwb:
    """Run the command line in this process; returns its exit status, standard output and standard error."""
    from medwb.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["medwb", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        out, err = capsys.readouterr()
        return status, out, err

    return run
