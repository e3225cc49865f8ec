"""The main way through on real scans in the competition's layout: every architecture, the table, a submission."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from medwb.architectures import select_architectures

SIZES = {"--train": 240, "--val": 90, "--test": 60}


@pytest.mark.slow
def test_every_architecture_ends_in_the_table_and_a_submission(home, medwb, realdata, tmp_path):
    maker = [sys.executable, realdata / "make_kaggle_layout.py", realdata / "mednist.zip", tmp_path / "comp"]
    sizes = [str(part) for pair in SIZES.items() for part in pair]
    subprocess.run([*map(str, maker), *sizes], check=True)
    status, out, err = medwb("import", tmp_path / "comp", "--name", "comp", "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["format"] == "kaggle"
    assert facts["image_shape"] == [64, 64, 1]
    assert facts["splits"] == {"train": 240, "val": 90, "test": 60}
    assert all(counts["test"]["unknown"] == 60 for counts in facts["labels"].values())

    trained = [entry.name for entry in select_architectures(["reference", "baseline"])]
    status, out, err = medwb("train", "comp", "-a", "reference,baseline", "--set", "epochs=2", "--json")
    assert status == 0, err
    table = json.loads(medwb("table", "comp", "--draws", 200, "--json")[1])
    rows = {row["architecture"]: row for row in table["rows"]}
    assert set(rows) == set(trained)
    for row in rows.values():
        for score in (*row["f1"].values(), row["macro_f1"], row["average_precision"], row["accuracy"]):
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert rows["always-negative"]["macro_f1"]["value"] == 0
    assert rows["svc"]["macro_f1"]["value"] > 0.3

    best = json.loads(out)["runs"][trained.index("svc")]
    sample = tmp_path / "comp" / "sample_submission.csv"
    status, _, err = medwb("submit", best, "--sample", sample, "--out", tmp_path / "submission.csv")
    assert status == 0, err
    submission, asked = pd.read_csv(tmp_path / "submission.csv"), pd.read_csv(sample)
    assert submission["id"].tolist() == asked["id"].tolist()
    assert list(submission.columns) == list(asked.columns)
    answers = pd.read_csv(tmp_path / "comp" / "test_labels.csv").set_index("id").loc[submission["id"]]
    agreement = (submission.drop(columns="id").to_numpy() == answers.to_numpy()).mean()
    assert agreement > 0.6  # a third of the scans are black, with labels drawn at random
