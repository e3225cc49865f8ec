"""Leaks, the checks of splits, and the certificate of a run."""

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import write_dataset

from medwb.audit import certificate as certificates
from medwb.audit.certificate import Certificate, certify, read_certificate
from medwb.audit.check import ISSUE_COLUMNS
from medwb.audit.checks.splits import leaked_copies, leaked_groups, missing_splits
from medwb.audit.cleaning import make_cleaning, save_cleaning
from medwb.audit.leaks import constant_frames, find_leaks
from medwb.audit.results import Audit, _save
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.config import make_config
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.demo import write_demo
from medwb.errors import RequestError
from medwb.formats import import_dataset
from medwb.runs import create_run, open_run

pytestmark = pytest.mark.filterwarnings("error")


def make_dataset(
    pictures: str, splits: str, labels=None, groups=None, name: str = "made", side: int = 8, channels: int = 1
) -> Dataset:
    """A dataset of named pictures: equal letters are equal frames, "." is black; splits are t, v and e (test)."""
    frames = {
        letter: np.random.default_rng(ord(letter)).integers(1, 256, (side, side, channels)) for letter in pictures
    }
    frames["."] = np.zeros((side, side, channels))
    labels = np.zeros((len(pictures), 1)) if labels is None else np.asarray(labels, float).reshape(len(pictures), -1)
    label_names = [f"label{number}" for number in range(labels.shape[1])]
    table = pd.DataFrame(labels, columns=label_names)
    table["id"] = [f"{number:03d}.png" for number in range(len(pictures))]
    table["split"] = [{"t": "train", "v": "val", "e": "test"}[sign] for sign in splits]
    table["group"] = list(groups) if groups else ""
    with new_dataset(name) as folder:
        images = allocate_images(folder / "images.npy", (len(pictures), side, side, channels))
        images[:] = np.stack([frames[letter] for letter in pictures])
        save_dataset(folder, table, label_names, images, format="csv", source="made", ingest={"read": len(pictures)})
    return open_dataset(name)


def audited(dataset: Dataset, near: list[tuple[int, int]] = [], save: bool = True) -> Audit:  # noqa: B006
    """An audit that holds exact copies and the near ones given as pairs of positions, and nothing else."""
    exact = exact_sets(dataset)
    a, b = np.array(near, np.int64).reshape(-1, 2).T
    copies = exact.joined(DuplicateSets.from_pairs(len(dataset), a, b))
    member = np.flatnonzero(copies.of >= 0)
    ids = dataset.samples["id"].to_numpy(object)
    names = {
        "set": [f"set-{number}" for number in copies.of[member]],
        "exact": [f"exact-{number}" if number >= 0 else "" for number in exact.of[member]],
    }
    audit = Audit(
        dataset,
        issues=pd.DataFrame({column: np.zeros(0, object) for column in ISSUE_COLUMNS}),
        groups=pd.DataFrame({"id": ids[member], **names, "representative": np.isin(member, copies.representatives)}),
        pairs=pd.DataFrame({"a": np.zeros(0, object)}),
        frames=pd.DataFrame({"id": ids}),
        summary={"fingerprint": dataset.fingerprint, "near": {"radius": 0.5, "similarity": 0.96, "mirrored": False}},
    )
    if save:
        _save(audit)
    return audit


def survey(dataset: Dataset) -> SimpleNamespace:
    copies = exact_sets(dataset)
    return SimpleNamespace(
        dataset=dataset,
        copies=copies,
        leaks=find_leaks(dataset, copies),
        set_names=np.array([f"set-{number}" if number >= 0 else "" for number in copies.of], object),
    )


def test_copies_and_groups_that_cross_splits_are_counted(home):
    dataset = make_dataset("aabbcdef", "tvttvtve", groups=["", "", "", "", "p1", "p1", "p2", "p2"])
    leaks = find_leaks(dataset, exact_sets(dataset))
    assert leaks.matrix("copies").to_numpy().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert leaks.matrix("groups").to_numpy().tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert leaks.summary() == {
        "groups": 2,
        "sets": 1,
        "constant_sets": 0,
        "val": {"samples": 3, "by_copy": 1, "by_group": 2, "touched": 3, "share": 1.0, "constant": 0},
        "test": {"samples": 1, "by_copy": 0, "by_group": 1, "touched": 1, "share": 1.0, "constant": 0},
    }
    table = leaks.table()
    assert table[["kind", "name"]].to_numpy().tolist() == [["copies", "set-0"], ["groups", "p1"], ["groups", "p2"]]
    assert table.loc[2, ["train", "val", "test"]].tolist() == [0, 1, 1]
    assert not leaks.clean


def test_blank_groups_tie_nothing_and_copies_within_a_split_are_no_leak(home):
    dataset = make_dataset("aabb", "ttvv", groups=["", "", "", ""])
    leaks = find_leaks(dataset, exact_sets(dataset))
    assert leaks.clean
    assert leaks.summary()["sets"] == leaks.summary()["groups"] == 0
    assert leaks.table().empty


def test_frames_of_one_value_are_counted_but_are_no_leak(home):
    dataset = make_dataset("...abb", "tveeve")
    leaks = find_leaks(dataset, exact_sets(dataset))
    summary = leaks.summary()
    assert (summary["sets"], summary["constant_sets"]) == (2, 1)
    assert summary["val"] | {"share": 0.5} == {
        "samples": 2,
        "by_copy": 1,
        "by_group": 0,
        "touched": 1,
        "share": 0.5,
        "constant": 1,
    }
    assert leaks.table()["constant"].tolist() == [True, False]
    black_alone = dataset.subset(np.arange(6) < 3)
    assert find_leaks(black_alone, exact_sets(black_alone)).clean


def test_a_near_copy_of_a_black_frame_with_something_on_it_is_a_leak(home):
    dataset = make_dataset(".a", "tv")
    assert not find_leaks(dataset, DuplicateSets(np.array([0, 0]))).clean


def test_constant_frames_of_colour(home):
    dataset = make_dataset("a.b", "ttt", channels=3)
    assert constant_frames(dataset, np.arange(3)).tolist() == [False, True, False]
    images = np.array(dataset.images)
    images[0] = (10, 20, 30)
    assert constant_frames(replace(dataset, images=images), np.array([0, 2])).tolist() == [True, False]


def test_evidence_names_where_and_how_many(home):
    dataset = make_dataset("aaaab", "ttvev", groups=["p", "", "", "", "p"])
    found = leaked_copies(survey(dataset))
    assert found["id"].tolist() == ["002.png", "003.png"]
    assert found["evidence"][0] == "copies in train: 000.png and 1 more; in test: 003.png"
    assert found["set"].tolist() == ["set-0", "set-0"]
    assert leaked_groups(survey(dataset))["evidence"].tolist() == ["group p is also in train: 000.png"]


def test_thousands_of_black_frames_are_one_issue(home):
    found = leaked_copies(survey(make_dataset("......", "ttvvee")))
    assert found["id"].tolist() == [""]
    assert "6 frames of one and the same value: 2 in train, 2 in val, 2 in test" in found["evidence"][0]
    assert found["score"][0] < 0.5


@pytest.mark.parametrize(
    ("splits", "labels", "words"),
    [
        ("tt", [0, 1], ["no val split"]),
        ("ee", [0, 1], ["no train split", "no val split"]),
        ("tv", [0, np.nan], ["no label of the val split"]),
        ("tv", [0, 1], []),
    ],
)
def test_missing_splits(home, splits, labels, words):
    found = missing_splits(survey(make_dataset("ab", splits, labels)))
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found["evidence"], strict=True))


@pytest.mark.parametrize(
    ("pictures", "splits", "labels"),
    [
        ("a", "t", None),
        (".", "v", None),
        ("aaaa", "ttve", None),
        ("....", "ttve", None),
        ("abcd", "tttt", None),
        ("abab", "ttve", np.zeros((4, 0))),
        ("abab", "ttve", np.full((4, 2), np.nan)),
    ],
    ids=["one", "one-black", "all-alike", "all-black", "one-split", "no-labels", "unknown-labels"],
)
@pytest.mark.parametrize(("side", "channels"), [(8, 1), (40, 3)])
def test_degenerate_datasets_give_a_report(home, pictures, splits, labels, side, channels):
    dataset = make_dataset(pictures, splits, labels, side=side, channels=channels)
    leaks = find_leaks(dataset, exact_sets(dataset))
    json.dumps(leaks.summary(), allow_nan=False)
    assert len(leaks.matrix("groups")) == 3
    leaks.table()
    for check in (leaked_copies, leaked_groups, missing_splits):
        assert set(check(survey(dataset))) >= {"id", "set", "score", "evidence"}
    assert read_certificate(certify(dataset).to_json()) == certify(dataset)


def test_the_demo_s_leaks_are_those_of_its_answer_key(home):
    write_demo("demo", 3000, 3)
    dataset = open_dataset("demo")
    key = pd.read_parquet(dataset.path / "answer_key.parquet")
    place = pd.Series(np.arange(len(dataset)), dataset.samples["id"])
    near = key[key["fault"].isin(["near_copy", "near_leak"]) & (key["other"] != "")]
    pairs = list(zip(place[near["id"]], place[near["other"]], strict=True))
    leaks = find_leaks(dataset, audited(dataset, pairs, save=False).copies)
    for kind, faults in (("copies", ["exact_leak", "near_leak"]), ("groups", ["patient_leak"])):
        planted = key.loc[key["fault"].isin(faults), ["id", "set"]]
        evaluated = (dataset.samples["split"] != "train").to_numpy()
        touched = set(leaks.ids[leaks.meets[kind].any(axis=1) & evaluated])
        assert touched == {sample for sample in planted["id"] if dataset.samples["split"][place[sample]] != "train"}
        assert len(leaks.table().query("kind == @kind and not constant")) == planted["set"].nunique() > 0


def test_real_scans_hold_thirty_patients_in_several_splits(home, realdata):
    source = realdata / "nih1000"
    if not source.exists():
        pytest.skip("no nih1000 among the real scans")
    dataset = import_dataset(source, "nih", size=16)
    assert find_leaks(dataset, exact_sets(dataset)).summary()["groups"] == 30


# The certificate


def test_a_certificate_is_reproducible_and_tells_leaks_apart(home):
    dataset = make_dataset("aabbcd", "tvttve")
    one = certify(dataset)
    certificates._certificates.clear()
    certificates._exact.clear()
    assert certify(dataset) == one
    assert len(one.hash) == 32
    assert not one.clean
    assert one.fingerprint == dataset.fingerprint
    assert "1 set of copies and 0 groups stand in more than one, and touch 1 of 2 val samples" in one.warnings[0]
    assert one.checked == {"exact": True, "near": None, "groups": 0}
    other = certify(make_dataset("abbbcd", "tttvve", name="other"))
    assert other.hash != one.hash


def test_near_copies_are_checked_when_there_is_a_fresh_audit(home):
    dataset = make_dataset("abcd", "tvve")
    assert certify(dataset).clean
    audited(dataset, near=[(0, 1)])
    certificate = certify(dataset)
    assert not certificate.clean
    assert certificate.checked["near"] == {"radius": 0.5, "similarity": 0.96, "mirrored": False}
    summary = home / "audits" / "made" / "summary.json"
    summary.write_text(summary.read_text().replace(dataset.fingerprint, "0" * 16))
    assert certify(dataset).clean  # the audit is of other data
    assert "near copies not looked at" in certify(dataset).text


def test_a_certificate_that_was_changed_is_not_believed(home):
    record = json.loads(json.dumps(certify(make_dataset("aabc", "tvve")).to_json()))
    assert isinstance(read_certificate(record), Certificate)
    for damaged in ({**record, "clean": True}, {**record, "more": 1}, [], {}, {**record, "leaks": None}):
        with pytest.raises(RequestError, match="leak certificate is damaged"):
            read_certificate(damaged)


def queued(dataset, **settings):
    return create_run(make_config({"dataset": dataset.name, "architecture": "fcnn-1", **settings}), dataset)


def test_every_run_keeps_its_certificate_and_warns_of_leaks(home):
    leaking = make_dataset("aabbcdef", "tvttvtve", labels=[0, 1] * 4)
    run = queued(leaking)
    assert open_run(run.id).certificate == certify(leaking)
    assert "the splits leak" in run.warnings[0]
    assert run.status()["warnings"] == run.warnings
    assert queued(make_dataset("abcdefgh", "tttvvtve", labels=[0, 1] * 4, name="fine")).warnings == []


def test_a_run_without_a_certificate_or_with_a_false_one_still_opens(home):
    run = queued(make_dataset("aabbcdef", "tvttvtve", labels=[0, 1] * 4))
    file = run.path / "config.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "certificate": {**record["certificate"], "clean": True}}))
    assert "its hash does not fit" in open_run(run.id).warnings[0]
    del record["certificate"], record["cleaning"], record["config"]["cleaning"]
    file.write_text(json.dumps(record))
    old = open_run(run.id)
    assert old.certificate is None
    assert old.warnings == []
    assert old.config.cleaning == "none"


def test_the_certificate_is_of_what_the_cleaning_keeps(home):
    dataset = make_dataset("aabbcdef", "tvttvtve", labels=[0, 1] * 4, groups=["", "", "", "", "p", "p", "", ""])
    audit = audited(dataset)
    before = certify(dataset)
    cleaning = make_cleaning(audit, ["drop-leaking-train"])
    certificate = certify(dataset, cleaning)
    assert certificate.clean
    assert certificate.cleaning == cleaning.digest
    assert certificate.hash != before.hash
    assert certificate.warnings == []
    cleaning = make_cleaning(audit, ["drop-leaking-eval"])
    certificate = certify(dataset, cleaning)
    assert certificate.clean
    assert certificate.left_out == {"val": 2, "test": 0}
    assert "leaves out samples (2 of val) that predictions and tables still hold" in certificate.warnings[0]
    save_cleaning(cleaning)
    assert queued(dataset, cleaning="drop-leaking-eval").certificate == certificate


def test_many_runs_hash_the_pixels_once(home, monkeypatch):
    dataset = write_dataset("many")
    calls = []
    monkeypatch.setattr(certificates, "exact_sets", lambda data: calls.append(1) or exact_sets(data))
    hashes = {queued(dataset, seed=seed).certificate.hash for seed in range(5)}
    assert len(hashes) == 1
    assert len(calls) == 1
    certify(dataclasses.replace(dataset, fingerprint="1" * 16))
    assert len(calls) == 2
