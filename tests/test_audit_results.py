"""The whole audit: what it keeps, what it finds in the demo, and datasets in which there is little to find."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medwb.audit import CHECKS, ISSUE_COLUMNS, Audit, open_audit, run_audit
from medwb.audit.sets import DuplicateSets
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.demo import write_demo
from medwb.errors import RequestError
from medwb.formats import import_dataset
from medwb.paths import audits_dir

pytestmark = pytest.mark.slow  # audits a demo dataset

TABLES = ("issues", "groups", "pairs", "frames")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, pd.DataFrame]:
    """The audit of a demo of 4,000 scans, and the demo's answer key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(tmp_path_factory.mktemp("home")))
        write_demo("demo", 4000)
        dataset = open_dataset("demo")
        return run_audit(dataset), pd.read_parquet(Path(str(dataset.path)) / "answer_key.parquet")


def flagged(audit: Audit, check: str) -> set[str]:
    return set(audit.issues.loc[audit.issues["check"] == check, "id"])


def planted(key: pd.DataFrame, *faults: str) -> set[str]:
    return set(key.loc[key["fault"].isin(faults), "id"])


def sets_in(names: pd.Series, ids: pd.Series) -> set[frozenset[str]]:
    """The ids of each name."""
    return {frozenset(part) for _, part in ids.groupby(names.to_numpy())}


def pairs_in(names: pd.Series, ids: pd.Series) -> set[frozenset[str]]:
    """Every pair of ids with the same name."""
    table = pd.DataFrame({"name": names.to_numpy(), "id": ids.to_numpy()})
    return {
        frozenset((first, second))
        for _, part in table.groupby("name")
        for place, first in enumerate(part["id"])
        for second in part["id"].iloc[place + 1 :]
    }


def test_exact_copies_are_those_that_were_planted(demo):
    audit, key = demo
    exact = audit.groups[audit.groups["exact"] != ""]
    kinds = ("black", "exact_copy", "contradictory_copy", "exact_leak")
    made = key[key["fault"].isin(kinds)]
    assert sets_in(exact["exact"], exact["id"]) == sets_in(made["set"], made["id"])


def test_near_copies_are_those_that_were_planted(demo):
    audit, key = demo
    made = key[key["fault"].isin(["near_copy", "near_leak"])]
    wanted = pairs_in(made["set"], made["id"])
    near = audit.groups[audit.groups["exact"] == ""]
    found = pairs_in(near["set"], near["id"])
    assert len(found & wanted) >= 0.97 * len(wanted)
    assert len(found & wanted) >= 0.99 * len(found)


@pytest.mark.parametrize("check", ["constant", "black", "inverted"])
def test_bad_frames_are_those_that_were_planted(demo, check):
    audit, key = demo
    faults = ("constant", "black") if check == "constant" else (check,)
    assert flagged(audit, check) == planted(key, *faults)


def test_leaks_are_those_that_were_planted(demo):
    audit, key = demo
    copies = key[key["fault"].isin(["exact_leak", "near_leak"]) & (key["other"] != "")]
    missed = set(copies["id"]) - flagged(audit, "leaked_copy")
    assert len(missed) <= 0.03 * len(copies)
    assert flagged(audit, "leaked_group") >= planted(key, "patient_leak")
    patients = set(key.loc[key["fault"] == "patient_leak", "set"])
    assert audit.summary["leaks"]["groups"] == len(patients)


def test_contradictions_are_those_that_were_planted(demo):
    audit, key = demo
    assert flagged(audit, "contradiction") >= planted(key, "contradictory_copy", "black")
    rest = flagged(audit, "contradiction") - planted(key, "contradictory_copy", "black")
    assert rest <= planted(key, "near_copy", "near_leak", "exact_copy", "exact_leak", "wrong_label")


def test_wrong_labels_are_found_much_better_than_by_chance(demo):
    audit, key = demo
    wrong, suspected = planted(key, "wrong_label"), flagged(audit, "label_error")
    precision = len(wrong & suspected) / len(suspected)
    assert len(wrong & suspected) >= 0.3 * len(wrong)
    assert precision >= 10 * len(wrong) / len(audit.dataset)


def test_the_summary_has_the_documented_keys(demo):
    audit, _ = demo
    summary = audit.summary
    assert summary["checks"] == audit.issues["check"].value_counts().reindex(CHECKS.names(), fill_value=0).to_dict()
    assert {"sets", "samples"} <= set(summary["exact"])
    assert {"sets", "samples", "radius"} <= set(summary["near"])
    assert {"sets", "samples"} <= set(summary["contradictions"])
    assert {"groups", "sets"} <= set(summary["leaks"])
    assert summary["constant"] == summary["checks"]["constant"]
    assert set(summary["ceiling"]) == {"train", "val", "test"}
    for scores in summary["ceiling"].values():
        assert scores["macro_f1"] < 0.9
        assert set(scores["f1"]) == set(audit.dataset.label_names)


def check_audit(audit: Audit) -> None:
    """What holds for every audit."""
    assert list(audit.issues.columns) == list(ISSUE_COLUMNS)
    assert audit.issues["score"].between(0, 1).all()
    assert set(audit.issues["check"]) <= set(CHECKS.names())
    ids = set(audit.dataset.samples["id"])
    assert set(audit.issues["id"]) <= ids | {""}
    assert set(audit.groups["id"]) <= ids
    assert list(audit.frames["id"]) == list(audit.dataset.samples["id"])
    assert audit.groups.groupby("set")["representative"].sum().eq(1).all()
    again = open_audit(audit.dataset)
    assert again.summary == json.loads(json.dumps(audit.summary)) or "NaN" in json.dumps(audit.summary)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(again, name), getattr(audit, name), check_dtype=False)
    assert np.array_equal(again.copies.of, audit.copies.of)
    assert np.array_equal(again.exact.of, audit.exact.of)


def make(pixels: np.ndarray, labels: np.ndarray, split: object = "train", group: object = "") -> Dataset:
    """A dataset of these frames (n, h, w, c) and labels (n, l)."""
    names = [f"finding{number}" for number in range(labels.shape[1])]
    table = pd.DataFrame(labels.astype(np.float32), columns=names)
    table["id"] = [f"{number:03d}.png" for number in range(len(pixels))]
    table["split"], table["group"] = split, group
    with new_dataset("odd") as folder:
        images = allocate_images(folder / "images.npy", pixels.shape)
        images[:] = pixels
        save_dataset(folder, table, names, images, format="csv", source="made for a test", ingest={})
    return open_dataset("odd")


def noise(samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (samples, *(shape or (16, 16, 1))), dtype=np.uint8)


def answers(samples: int, labels: int = 2) -> np.ndarray:
    return (np.random.default_rng(1).random((samples, labels)) < 0.4).astype(np.float32)


ODD = {
    "one image": lambda: make(noise(1), answers(1)),
    "two images": lambda: make(noise(2), answers(2), split=["train", "val"]),
    "all the same": lambda: make(np.repeat(noise(1), 50, axis=0), answers(50), split=["train", "val"] * 25),
    "all black": lambda: make(np.zeros((50, 16, 16, 1), np.uint8), answers(50)),
    "no labels": lambda: make(noise(40), answers(40, 0), split=["train"] * 30 + ["test"] * 10),
    "all unknown": lambda: make(noise(40), np.full((40, 3), np.nan), split=["train"] * 30 + ["val"] * 10),
    "one answer": lambda: make(noise(40), np.ones((40, 2)), split=["train"] * 30 + ["val"] * 10),
    "one split": lambda: make(noise(40), answers(40), split="test"),
    "blank groups": lambda: make(noise(40), answers(40), group=["p1", ""] * 20, split=["train", "val"] * 20),
    "colour": lambda: make(noise(30, 24, 20, 3), answers(30)),
    "tiny": lambda: make(noise(30, 8, 8, 1), answers(30)),
    "large": lambda: make(noise(6, 512, 512, 1), answers(6)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_odd_datasets_give_a_report(home, kind):
    dataset = ODD[kind]()
    check_audit(run_audit(dataset))


def test_progress_goes_forward_to_the_end(tiny):
    seen: list[tuple[int, int]] = []
    audit = run_audit(tiny, progress=lambda done, total: seen.append((done, total)))
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    check_audit(audit)


def test_an_audit_that_is_stopped_leaves_the_older_one(tiny):
    run_audit(tiny)
    before = {path.name: path.read_bytes() for path in (audits_dir() / "tiny").iterdir()}

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_audit(tiny, radius=0.5, progress=stop)
    assert {path.name: path.read_bytes() for path in (audits_dir() / "tiny").iterdir()} == before


def test_there_is_no_audit_yet(tiny):
    with pytest.raises(RequestError, match="has not been audited yet; run `medwb audit tiny`"):
        open_audit(tiny)


def test_an_audit_of_other_data_is_not_used(tiny):
    run_audit(tiny)
    path = audits_dir() / "tiny" / "summary.json"
    path.write_text(path.read_text().replace(tiny.fingerprint, "0" * 16))
    with pytest.raises(RequestError, match="has changed since it was audited"):
        open_audit(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["summary.json", *(f"{table}.parquet" for table in TABLES)])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe garbage"])
def test_a_damaged_audit_is_named(tiny, name, content):
    run_audit(tiny)
    (audits_dir() / "tiny" / name).write_bytes(content)
    with pytest.raises(RequestError, match=r"is damaged .*medwb audit tiny"):
        _ = open_audit(tiny).copies


def test_a_new_audit_takes_the_place_of_a_damaged_one(tiny):
    folder = audits_dir() / "tiny"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{")
    check_audit(run_audit(tiny))


def test_copies_of_an_audit_are_sets(demo):
    audit, _ = demo
    assert isinstance(audit.copies, DuplicateSets)
    assert len(audit.exact) == audit.summary["exact"]["sets"]


@pytest.mark.slow
def test_patients_of_the_chest_x_rays_stand_in_several_splits(home, realdata):
    audit = run_audit(import_dataset(realdata / "nih1000", "nih1000"))
    assert audit.summary["leaks"]["groups"] == 30
    assert audit.summary["exact"] == {"sets": 0, "samples": 0}
    assert audit.summary["near"]["sets"] == 0
    check_audit(audit)


def test_a_table_that_was_changed_is_not_believed(tiny):
    run_audit(tiny)
    path = audits_dir() / "tiny" / "frames.parquet"
    pd.read_parquet(path)[:3].to_parquet(path, index=False)
    with pytest.raises(RequestError, match=r"frames\.parquet is not the one"):
        open_audit(tiny)
