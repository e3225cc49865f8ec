import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import LABELS, write_csv, write_scan

from medwb.cli import app
from medwb.config import make_config
from medwb.launch import launch, watch
from medwb.runs import open_run

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(medwb, command):
    status, out, _ = medwb(command, "--help")
    assert status == 0
    assert "Usage" in out


def test_import_and_describe(home, medwb, csv_source):
    status, out, err = medwb("import", csv_source, "--name", "x", "--split", "0.5,0.25,0.25", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["samples"] == 40
    assert sum(facts["splits"].values()) == 40
    assert facts["ingest"]["read"] == 40
    status, out, _ = medwb("describe", "x", "--json")
    assert json.loads(out) == facts
    status, out, err = medwb("describe", "x")
    assert "edema" in out
    assert "fingerprint" in err


def test_nih1000_as_documented(home, medwb, realdata):
    status, out, err = medwb("import", realdata / "nih1000", "--name", "nih1000", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["samples"] == 1000
    assert len(facts["labels"]) == 14
    effusion = sum(split["positive"] for split in facts["labels"]["Effusion"].values())
    assert effusion == 170
    assert facts["splits"] == {"train": 600, "val": 200, "test": 200}


def test_datasets(home, medwb, csv_source):
    assert "no dataset yet" in medwb("datasets")[2]
    medwb("import", csv_source, "--name", "x")
    assert json.loads(medwb("datasets", "--json")[1])[0]["name"] == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nowhere", "--name", "x"], "medwb: no such file or folder: nowhere"),
        (["describe", "x"], "medwb: unknown dataset 'x'"),
        (["table", "x"], "medwb: unknown dataset 'x'"),
        (["train", "x", "-a", "fcnn-1"], "medwb: unknown dataset 'x'"),
        (["train", "x", "-a", "fcn-1"], "medwb: unknown architecture 'fcn-1'; did you mean"),
        (["train", "x", "-a", "fcnn-1", "--seeds", "1,b"], "medwb: seeds '1,b' are not whole numbers"),
        (["train", "x", "-a", "fcnn-1", "--set", "epoch=3"], "unknown setting 'epoch'; did you mean epochs"),
        (
            ["train", "x", "-a", "fcnn-1", "--config", "none.yaml"],
            "medwb: none.yaml is no readable JSON or YAML file",
        ),
        (["stop", "x"], "medwb: unknown run 'x'"),
        (["submit", "x", "--sample", "a", "--out", "b"], "medwb: unknown run 'x'"),
        (["architectures", "--diagram", "cnn-9"], "medwb: unknown architecture 'cnn-9'"),
        (["architectures", "--diagram", "cnn-4", "--size", "9"], "cannot take 9 x 9 pixels"),
        (["demo", "--samples", "3"], "--samples 3 is out of range"),
        (["download", "chestmist"], "medwb: unknown MedMNIST set 'chestmist'; did you mean chestmnist"),
        (["download", "chestmnist", "--size", "32"], "medwb: chestmnist does not come in 32 pixels"),
        (["import", ".", "--name", "a/b"], "dataset name 'a/b' is not allowed"),
        (["import", ".", "--name", "x", "--split", "1,1,1"], "--split '1,1,1' is not three shares"),
        (["frobnicate"], "No such command"),
        (["train"], "Missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_line_and_status_2(home, medwb, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = medwb(*arguments)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    if err.startswith("medwb:"):
        assert err.count("\n") == 1


def test_architectures(medwb):
    rows = json.loads(medwb("architectures", "--json")[1])
    by_name = {row["name"]: row for row in rows}
    assert by_name["cnn-5"]["reference_score"] == 0.91
    assert by_name["fcnn-1"]["parameters"] == 1_115_395
    assert by_name["svc"]["parameters"] is None
    assert medwb("architectures", "--diagram", "cnn-5")[1].lstrip().startswith("<svg")


def test_formats(medwb):
    status, out, _ = medwb("formats")
    assert status == 0
    for name in ("kaggle", "csv", "nih", "chexpert", "medmnist", "folders"):
        assert name in out


def test_table_in_four_ways(medwb, finished):
    assert "RNN-1" in medwb("table", "tiny", "--draws", 100)[1]
    assert json.loads(medwb("table", "tiny", "--draws", 100, "--json")[1])["rows"][0]["architecture"] == "rnn-1"
    assert medwb("table", "tiny", "--draws", 100, "--csv")[1].startswith("architecture,")
    assert medwb("table", "tiny", "--draws", 100, "--markdown")[1].startswith("| Architecture |")
    assert medwb("table", "tiny", "--csv", "--json")[0] == 2


def test_runs_and_stop(medwb, finished):
    rows = json.loads(medwb("runs", "tiny", "--json")[1])["runs"]
    assert {"id", "dataset", "architecture", "heads", "seed", "state", "epoch", "collapsed"} <= set(rows[0])
    assert len(rows) == 4
    status, _, err = medwb("stop", rows[0]["id"])
    assert status == 2
    assert "is finished; there is nothing to stop" in err


def test_submit(medwb, finished, tiny, tmp_path):
    ids = tiny.split("test").samples["id"].tolist()
    write_csv(tmp_path / "sample.csv", [["id", *LABELS], *([image_id, 0, 0, 0] for image_id in ids)])
    arguments = ["--sample", tmp_path / "sample.csv", "--out", tmp_path / "out.csv", "--json"]
    status, out, err = medwb("submit", finished[0].id, *arguments)
    assert status == 0, err
    assert json.loads(out)["rows"] == 48
    assert pd.read_csv(tmp_path / "out.csv", dtype={"id": str})["id"].tolist() == ids


@pytest.mark.slow
def test_from_a_folder_of_scans_to_a_table_and_a_submission(home, medwb, tmp_path):
    """The whole way, as a user goes it, on the competition's layout."""
    rng = np.random.default_rng(0)
    for split, first, count in (("train", 10000, 120), ("val", 40000, 40), ("test", 70000, 30)):
        rows = [["id", "label1", "label2", "label3"]]
        for offset in range(count):
            write_scan(tmp_path / "comp" / f"{split}_images" / f"{first + offset}.png", offset, channels=3)
            rows.append([f"{first + offset}.png", *(rng.random(3) < (0.5, 0.4, 0.3)).astype(int)])
        write_csv(tmp_path / "comp" / ("sample_submission.csv" if split == "test" else f"{split}_labels.csv"), rows)
    assert medwb("import", tmp_path / "comp", "--name", "comp", "--channels", 1)[0] == 0
    status, out, err = medwb("train", "comp", "-a", "fcnn-1,baseline", "--set", "epochs=1", "--json")
    assert status == 0, err
    runs = json.loads(out)["runs"]
    assert len(runs) == 6
    assert all(open_run(run).state == "finished" for run in runs)
    assert len(json.loads(medwb("table", "comp", "--draws", 100, "--json")[1])["rows"]) == 6
    status, _, err = medwb("table", "comp", "--split", "test")
    assert status == 2
    assert "no label of the split 'test' of 'comp' is known" in err
    sample = tmp_path / "comp" / "sample_submission.csv"
    assert medwb("submit", runs[0], "--sample", sample, "--out", tmp_path / "submission.csv")[0] == 0
    assert len(pd.read_csv(tmp_path / "submission.csv")) == 30


@pytest.mark.slow
def test_detach_returns_at_once_and_a_failed_run_says_why(medwb, tiny):
    status, out, _ = medwb("train", "tiny", "-a", "prevalence", "--detach")
    assert status == 0
    run = open_run(out.strip())
    assert run.state in ("queued", "running", "finished")
    (broken,) = launch([make_config({"dataset": "tiny", "architecture": "fcnn-1"})])
    (tiny.path / "samples.parquet").unlink()
    *_, last = watch([broken])
    assert last[0]["state"] == "failed"
    assert "is damaged" in last[0]["error"]


def test_the_installed_command_runs():
    process = subprocess.run([sys.executable, "-m", "medwb.cli", "--help"], capture_output=True, text=True)
    assert process.returncode == 0
    assert "medical-image" in process.stdout
