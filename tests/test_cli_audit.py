"""medwb audit, clean and split, as a user meets them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_dataset

from medwb.audit import CHECKS, open_audit, run_audit
from medwb.audit.certificate import certify
from medwb.audit.cleaning import POLICIES, cleaning_names, open_cleaning
from medwb.audit.contradictions import black_sets
from medwb.dataset import allocate_images, new_dataset, open_dataset, save_dataset
from medwb.demo import write_demo


@pytest.fixture(scope="module")
def audited_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MEDWB_HOME with a small demo and its audit; tests get a copy."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(folder))
        write_demo("demo", 240)
        run_audit(open_dataset("demo"))
    return folder


@pytest.fixture
def demo(audited_home, home):
    shutil.copytree(audited_home, home)
    return open_dataset("demo")


def test_audit_prints_its_summary_as_json(home, medwb):
    write_demo("demo", 60)
    status, out, err = medwb("audit", "demo", "--radius", 0.3, "--similarity", 0.97, "--mirrored", "--json")
    assert status == 0, err
    summary = json.loads(out)
    assert summary == open_audit(open_dataset("demo")).summary
    assert {"dataset", "checks", "exact", "near", "constant", "contradictions", "leaks", "ceiling"} <= set(summary)
    assert {"radius": 0.3, "similarity": 0.97, "mirrored": True}.items() <= summary["near"].items()


def test_audit_reports_every_check_and_what_the_black_frames_alone_cost(demo, home, medwb, monkeypatch):
    found = open_audit(demo)
    assert black_sets(demo, found.exact).sum() == 1
    monkeypatch.setattr("medwb.audit.run_audit", lambda *_, **__: found)
    status, out, err = medwb("audit", "demo")
    assert status == 0, err
    for check in CHECKS:
        assert check.title in out
    assert "val, black frames alone" in out
    assert f"{found.summary['ceiling']['val']['macro_f1']:.3f}" in out
    assert str(home / "audits" / "demo") in err
    assert "next: medwb clean demo" in err


def test_ctrl_c_keeps_the_old_audit(demo, medwb, monkeypatch):
    before = open_audit(demo).summary

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medwb.audit.survey.find_near_copies", interrupted)
    status, out, err = medwb("audit", "demo", "--json")
    assert status == 130
    assert out == ""
    assert "stopped" in err
    assert open_audit(demo).summary == before


def write_odd(images: np.ndarray, labels: dict[str, list[float]], splits: list[str]) -> None:
    table = pd.DataFrame(labels, index=range(len(images)), dtype=np.float32)
    table["id"] = [f"{number}.png" for number in range(len(images))]
    table["split"] = splits
    with new_dataset("odd") as folder:
        stored = allocate_images(folder / "images.npy", images.shape)
        stored[:] = images
        save_dataset(folder, table, list(labels), stored, format="csv", source="a test", ingest={})


NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), dtype=np.uint8)
THREE = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
ODD = {
    "one image": (NOISE[:1], {"a": [1]}, ["train"]),
    "all the same": (np.repeat(NOISE[:1], 12, axis=0), {"a": [0, 1] * 6}, THREE),
    "all black": (np.zeros((12, 16, 16, 1), np.uint8), {"a": [0, 1] * 6, "b": [1] * 12}, THREE),
    "no labels": (NOISE, {}, THREE),
    "all unknown": (NOISE, {"a": [np.nan] * 12}, THREE),
    "one split": (NOISE, {"a": [0, 1] * 6}, ["test"] * 12),
    "one in val": (NOISE, {"a": [0, 1] * 6}, ["train"] * 11 + ["val"]),
    "colour, 8 x 8": (np.repeat(NOISE[:, :8, :8], 3, axis=3), {"a": [0, 1] * 6}, THREE),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ODD)
def test_odd_datasets_get_a_report(home, medwb, kind):
    write_odd(*ODD[kind])
    status, out, err = medwb("audit", "odd")
    assert status == 0, err
    assert "Exact copies" in out
    assert ("no label is known" in err) == (kind in ("no labels", "all unknown"))
    policies = [word for policy in POLICIES if policy.splits is None for word in ("--policy", policy.name)]
    splits = ",".join(open_dataset("odd").splits)
    status, out, err = medwb("clean", "odd", *policies, "--splits", splits, "--name", "all")
    assert status == 0, err
    status, _, err = medwb("split", "odd", "--name", "new", "--no-keep-test")
    assert status == 0, err
    status, out, err = medwb("study", "odd", "cleaning")
    assert status == 2
    assert err.count("\n") == 1


def test_clean_previews_and_writes(demo, medwb, tmp_path):
    status, out, err = medwb("clean", "demo", "--policy", "keep-one-soft", "--csv", tmp_path / "list.csv", "--json")
    assert status == 0, err
    facts = json.loads(out)
    made = open_cleaning(demo, "keep-one-soft")
    assert facts["digest"] == made.digest
    assert facts["excluded"] == made.excluded
    assert {"samples", "prevalence", "ceiling", "leaks"} == set(facts["preview"])
    assert len(pd.read_csv(tmp_path / "list.csv")) == len(made.table) > 0
    status, out, err = medwb("clean", "demo", "-p", "keep-one-majority+drop-train-copies", "--splits", "train,val")
    assert status == 0, err
    assert "ceiling of macro F1, val" in out
    assert "note: touches val" in err
    assert "keep-one-majority.drop-train-copies.on-train-val" in cleaning_names(demo)


def test_a_saved_cleaning_is_shown_listed_and_removed(demo, medwb):
    assert "no cleaning of demo yet" in medwb("clean", "demo", "--list")[2]
    medwb("clean", "demo", "-p", "drop-contradictions", "--name", "mine")
    status, out, err = medwb("clean", "demo", "--name", "mine", "--json")
    assert status == 0, err
    shown = json.loads(out)
    (listed,) = json.loads(medwb("clean", "demo", "--list", "--json")[1])
    assert listed["digest"] == shown["digest"]
    assert "mine" in medwb("clean", "demo", "--list")[1]
    assert medwb("clean", "demo", "--remove", "mine")[0] == 0
    assert cleaning_names(demo) == []
    assert medwb("clean", "demo", "--remove", "mine")[0] == 2


def test_clean_without_a_policy_lists_them(demo, medwb):
    status, out, err = medwb("clean", "demo")
    assert status == 0
    assert "choose: medwb clean demo --policy" in err
    for name in POLICIES.names():
        assert name in out
    status, out, err = medwb("clean", "demo", "--json")
    assert (status, out) == (2, "")
    assert "no policy is named" in err


def test_split_draws_splits_that_do_not_leak(demo, medwb):
    assert not certify(demo).clean
    status, out, err = medwb("split", "demo", "--name", "new", "--split", "0.6,0.2,0.2", "--json")
    assert status == 0, err
    facts = json.loads(out)
    new = open_dataset("new")
    assert facts["fingerprint"] == new.fingerprint
    assert facts["splits"] == pytest.approx({"train": 144, "val": 48, "test": 48}, abs=3)
    assert facts["certificate"]["clean"]
    assert {row["split"] for row in facts["balance"]} == {"train", "val", "test"}
    status, out, err = medwb("split", "demo", "--name", "kept", "--keep-test")
    assert status == 0, err
    assert "are left out" in err
    assert "label1 positive" in out
    assert "no leak" in err
    kept = open_dataset("kept")
    assert set(kept.split("test").samples["id"]) == set(demo.split("test").samples["id"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit", "dmo"], "medwb: unknown dataset 'dmo'; did you mean demo?"),
        (["clean", "demo", "-p", "keep-one-sof"], "medwb: unknown policy 'keep-one-sof'; did you mean keep-one-soft"),
        (
            ["clean", "demo", "-p", "keep-all", "--splits", "tran"],
            "unknown split of demo 'tran'; did you mean train?",
        ),
        (["clean", "demo", "-p", "keep-all", "--name", "a/b"], "cleaning name 'a/b' is not allowed"),
        (["clean", "demo", "-p", "keep-all", "--csv", "no/x.csv"], "medwb: cannot write no/x.csv"),
        (["clean", "demo", "--name", "nope"], "medwb: unknown cleaning of demo 'nope'"),
        (["clean", "demo", "--list", "--remove", "x"], "--list and --remove stand alone"),
        (
            ["clean", "tiny", "-p", "keep-all"],
            "medwb: dataset 'tiny' has not been audited yet; run `medwb audit tiny`",
        ),
        (["split", "tiny", "--name", "x"], "medwb: dataset 'tiny' has not been audited yet; run `medwb audit tiny`"),
        (["split", "demo", "--name", "tiny"], "medwb: dataset 'tiny' exists"),
        (["split", "demo", "--name", "x", "--split", "1,1"], "--split '1,1' is not three shares"),
        (["split", "demo", "--name", "x", "--seed", "-1"], "medwb: seed -1 is negative"),
        (["study", "demo", "clening"], "medwb: unknown study 'clening'; did you mean cleaning or learning-rate?"),
        (["study", "tiny", "cleaning"], "medwb: dataset 'tiny' has not been audited yet; run `medwb audit tiny`"),
        (["study", "demo", "cleaning", "--set", "cleaning=x"], "medwb: cleaning is what the study 'cleaning' varies"),
        (["study", "demo", "cleaning", "-a", "fcn-1"], "medwb: unknown architecture 'fcn-1'; did you mean fcnn-1"),
        (["study", "demo", "cleaning", "--set", "epoch=1"], "unknown setting 'epoch'; did you mean epochs"),
        (["study", "demo", "cleaning", "--seeds", "0,0"], "medwb: seeds 0,0 repeat one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_line_and_status_2(demo, medwb, tmp_path, monkeypatch, arguments, message):
    write_dataset("tiny")
    monkeypatch.chdir(tmp_path)
    status, out, err = medwb(*arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_stale_audit_is_refused(demo, medwb):
    record = json.loads((demo.path / "dataset.json").read_text())
    record["fingerprint"] = "0" * 16
    (demo.path / "dataset.json").write_text(json.dumps(record))
    for arguments in (
        ["clean", "demo", "-p", "keep-all"],
        ["split", "demo", "--name", "x"],
        ["study", "demo", "cleaning"],
    ):
        status, _, err = medwb(*arguments)
        assert status == 2
        assert "has changed since it was audited; run `medwb audit demo`" in err
