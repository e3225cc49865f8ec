"""Cleaning policies, their table on disk, and what they do to a dataset."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_audit_leaks import audited, make_dataset

from medwb.audit.cleaning import (
    CLEANING_COLUMNS,
    POLICIES,
    Cleaning,
    cleaning_names,
    make_cleaning,
    open_cleaning,
    preview_cleaning,
    read_policies,
    remove_cleaning,
    save_cleaning,
)
from medwb.dataset import open_dataset
from medwb.errors import RequestError

pytestmark = pytest.mark.filterwarnings("error")
NAN = float("nan")


@pytest.fixture
def disputed(home):
    """Four black frames and two pictures of a in train that contradict one another, black ones in val and test."""
    labels = [[1, 0], [0, 0], [1, 0], [1, NAN], [0, 1], [1, 1], [0, 1], [1, 0], [0, 0], [0, 0], [NAN, NAN]]
    return make_dataset("....aab..c.", "ttttttvvvve", labels)


def cleaned(dataset, *policies, **settings):
    cleaning = make_cleaning(audited(dataset), policies, **settings)
    return cleaning, cleaning.apply(dataset)


def labels_of(dataset):
    return dict(zip(dataset.samples["id"].str[:3].astype(int), dataset.labels.tolist(), strict=True))


def same(labels, expected):
    return np.array_equal(np.array(labels, np.float32), np.array(expected, np.float32), equal_nan=True)


@pytest.mark.parametrize(
    ("policy", "black", "a"),
    [
        ("keep-one-negative", [0, 0], [0, 0]),
        ("keep-one-positive", [1, 1], [1, 1]),
        ("keep-one-majority", [1, 0], [NAN, 1]),
        ("keep-one-soft", [0.75, 0], [0.5, 1]),
    ],
)
def test_one_of_each_contradictory_set_stays(disputed, policy, black, a):
    cleaning, after = cleaned(disputed, policy)
    left = labels_of(after)
    assert sorted(left) == [0, 4, 6, 7, 8, 9, 10]
    assert same(left[0], black)
    assert same(left[4], a)
    assert same([left[number] for number in (6, 7, 8, 9, 10)], disputed.labels[6:])
    assert cleaning.excluded == {"train": 4, "val": 0, "test": 0}
    assert cleaning.soft == (policy == "keep-one-soft")
    assert after.fingerprint != disputed.fingerprint
    assert after.images is disputed.images


def test_labels_that_no_copy_knows_stay_unknown(home):
    dataset = make_dataset("aab", "ttv", [[0, NAN], [1, NAN], [0, 0]])
    for policy in ("keep-one-negative", "keep-one-positive", "keep-one-majority", "keep-one-soft"):
        assert np.isnan(cleaned(dataset, policy)[1].labels[0, 1])


def test_contradictory_sets_leave(disputed):
    assert sorted(labels_of(cleaned(disputed, "drop-contradictions")[1])) == [6, 7, 8, 9, 10]


def test_disputed_labels_alone_become_unknown(disputed):
    cleaning, after = cleaned(disputed, "contradictions-unknown")
    assert len(after) == len(disputed)
    assert same(after.labels[:6], [[NAN, 0], [NAN, 0], [NAN, 0], [NAN, NAN], [NAN, 1], [NAN, 1]])
    assert cleaning.relabelled["train"] == 6
    assert cleaning.table["action"].eq("label").all()


def test_a_split_is_cleaned_by_itself(disputed):
    """Validation labels never decide those of train."""
    _, after = cleaned(disputed, "keep-one-soft", splits=("train", "val"))
    left = labels_of(after)
    assert sorted(left) == [0, 4, 6, 7, 9, 10]
    assert same(left[0], [0.75, 0])  # of train's four frames alone
    assert same(left[7], [0.5, 0])


def test_what_touches_evaluation_is_said(disputed):
    assert cleaned(disputed, "drop-contradictions")[0].notes == []
    cleaning, _ = cleaned(disputed, "drop-contradictions", splits=("val",))
    assert "touches val: 2 samples out, 0 labels changed" in cleaning.notes[0]
    assert cleaning.name == "drop-contradictions.on-val"
    assert "baselines cannot" in cleaned(disputed, "keep-one-soft")[0].notes[0]


def test_keep_all_changes_nothing(disputed):
    cleaning, after = cleaned(disputed, "keep-all")
    assert after is disputed
    assert cleaning.table.empty
    assert cleaning.notes == ["nothing leaves and nothing changes"]


def test_constant_frames_leave(disputed):
    assert sorted(labels_of(cleaned(disputed, "drop-constant")[1])) == [4, 5, 6, 7, 8, 9, 10]


@pytest.fixture
def leaking(home):
    groups = ["", "", "p", "p", "", "q", "q", "", ""]
    return make_dataset("aabcdeff.", "tvtvtveet", np.arange(9) % 2, groups)


@pytest.mark.parametrize(
    ("policy", "stay"),
    [
        ("drop-train-copies", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("drop-leaking-train", [1, 3, 4, 5, 6, 7, 8]),
        ("drop-leaking-eval", [0, 2, 4, 6, 7, 8]),
    ],
)
def test_one_side_of_a_leak_leaves(leaking, policy, stay):
    cleaning, after = cleaned(leaking, policy)
    assert sorted(labels_of(after)) == stay
    assert bool(cleaning.notes) == (policy == "drop-leaking-eval")
    assert cleaning.table["reason"].str.contains(r"in (?:train|val|test): \d{3}\.png").all()


def test_constant_frames_do_not_leave_as_copies(disputed):
    assert cleaned(disputed, "drop-train-copies")[0].table.empty


def test_near_copies_count_as_copies(home):
    dataset = make_dataset("abcd", "ttvv", [0, 1, 0, 1])
    audit = audited(dataset, near=[(0, 1), (0, 2)])
    assert make_cleaning(audit, ["drop-contradictions"]).excluded["train"] == 2
    assert make_cleaning(audit, ["drop-train-copies"]).excluded["train"] == 2


def test_policies_act_one_after_the_other(disputed):
    both, after = cleaned(disputed, "keep-one-soft", "drop-constant")
    assert both.name == "keep-one-soft.drop-constant"
    assert sorted(labels_of(after)) == [4, 6, 7, 8, 9, 10]
    rows = both.table.set_index(["id", "action"])
    assert rows.loc[("000.png", "exclude"), "policy"] == "drop-constant"
    assert rows.loc[("001.png", "exclude"), "policy"] == "keep-one-soft"
    turned, _ = cleaned(disputed, "drop-constant", "keep-one-soft")
    assert turned.digest == both.digest  # the same changes, whatever made them


def test_the_table_says_what_and_why(disputed):
    table = cleaned(disputed, "keep-one-soft")[0].table
    assert tuple(table.columns) == CLEANING_COLUMNS
    assert table["id"].is_monotonic_increasing
    first = table.iloc[0]
    assert (first["action"], first["label"], first["old"], first["new"]) == ("label", "label0", 1, 0.75)
    assert first["reason"].startswith("stays: one of 4 copies in train (set-0) that disagree on label0")
    assert table.iloc[1]["reason"].endswith("000.png stays")


@pytest.mark.parametrize("policy", [entry.name for entry in POLICIES])
@pytest.mark.parametrize(
    ("pictures", "splits", "labels"),
    [
        ("a", "t", None),
        ("....", "ttve", [0, 1, 0, 1]),
        ("abab", "ttve", np.zeros((4, 0))),
        ("abab", "ttve", np.full((4, 2), np.nan)),
        ("aaaa", "tttt", [[0, NAN], [1, 1], [NAN, NAN], [1, 0]]),
    ],
    ids=["one", "all-black", "no-labels", "unknown", "one-split"],
)
@pytest.mark.slow
def test_every_policy_takes_degenerate_datasets_and_comes_back_from_disk(home, policy, pictures, splits, labels):
    dataset = make_dataset(pictures, splits, labels)
    audit = audited(dataset)
    cleaning = make_cleaning(audit, [policy], splits=dataset.splits)
    save_cleaning(cleaning)
    opened = open_cleaning(dataset, cleaning.name)
    assert opened.digest == cleaning.digest
    assert opened.describe() == cleaning.describe()
    pd.testing.assert_frame_equal(opened.table, cleaning.table, check_dtype=False)
    assert opened.apply(dataset).fingerprint == cleaning.apply(dataset).fingerprint
    preview = preview_cleaning(opened, audit)
    assert preview["samples"]["before"].sum() - preview["samples"]["excluded"].sum() == len(opened.apply(dataset))


def test_every_policy_says_what_it_does():
    assert all(entry.summary.endswith(".") and entry.title for entry in POLICIES)


def test_a_preview_compares_before_and_after(disputed):
    audit = audited(disputed)
    preview = preview_cleaning(make_cleaning(audit, ["keep-one-soft"]), audit)
    assert preview["samples"].set_index("split").loc["train"].tolist() == [6, 2, 4, 2]
    prevalence = preview["prevalence"].set_index(["label", "split"])
    assert prevalence.loc[("label0", "train"), "before"] == pytest.approx(4 / 6)
    assert prevalence.loc[("label0", "train"), "after"] == pytest.approx((0.75 + 0.5) / 2)
    assert prevalence.loc[("label0", "val"), ["before", "after"]].tolist() == [0.25, 0.25]
    ceiling = preview["ceiling"].set_index(["split", "score"])
    assert ceiling.loc[("train", "F1 label0"), "before"] < 1
    assert ceiling.loc[("val", "macro F1"), "before"] == ceiling.loc[("val", "macro F1"), "after"]
    leaks = preview["leaks"].set_index("what")
    assert leaks.loc["sets of constant frames", ["before", "after"]].tolist() == [1, 1]


def test_cleanings_are_listed_and_removed(disputed):
    audit = audited(disputed)
    for policy in ("keep-all", "drop-constant"):
        save_cleaning(make_cleaning(audit, [policy]))
    assert cleaning_names(disputed) == ["drop-constant", "keep-all"]
    remove_cleaning(disputed, "keep-all")
    assert cleaning_names(disputed) == ["drop-constant"]
    with pytest.raises(RequestError, match="unknown cleaning of made 'drop-constan'; did you mean drop-constant"):
        remove_cleaning(disputed, "drop-constan")


@pytest.mark.parametrize(
    ("policies", "settings", "message"),
    [
        ([], {}, "no policy is named"),
        (["keep-al"], {}, "unknown policy 'keep-al'; did you mean keep-all"),
        (["keep-all", "keep-all"], {}, "'keep-all' is named twice"),
        (["keep-all"], {"splits": ("train", "dev")}, "unknown split of made 'dev'"),
        (["keep-all"], {"name": "none"}, "cannot be called 'none'"),
        (["keep-all"], {"name": "../evil"}, "cleaning name '../evil' is not allowed"),
    ],
)
def test_bad_requests_are_named(disputed, policies, settings, message):
    with pytest.raises(RequestError, match=message):
        make_cleaning(audited(disputed), policies, **settings)


def test_policies_are_read_from_a_text():
    assert read_policies("keep-one-soft + drop-train-copies") == ["keep-one-soft", "drop-train-copies"]
    with pytest.raises(RequestError, match="unknown policy ''"):
        read_policies("keep-all+")


def test_a_cleaning_of_other_data_is_stale(disputed):
    cleaning = make_cleaning(audited(disputed), ["drop-constant"])
    save_cleaning(cleaning)
    facts = disputed.path / "dataset.json"
    facts.write_text(facts.read_text().replace(disputed.fingerprint, "0" * 16))
    changed = open_dataset("made")
    with pytest.raises(RequestError, match=r"is stale.*medwb clean made --policy drop-constant"):
        open_cleaning(changed, "drop-constant")
    with pytest.raises(RequestError, match="was made for other data"):
        cleaning.apply(changed)
    with pytest.raises(RequestError, match="of all of 'made'"):
        cleaning.apply(disputed.subset(np.arange(len(disputed)) > 3))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", "999.png", "a sample that 'made' does not have"),
        ("action", "delete", "an action that is neither"),
        ("label", "label9", "a label"),
        ("new", 1.5, "a value outside of 0..1"),
        ("new", -1.0, "a value outside of 0..1"),
        ("new", np.inf, "a value outside of 0..1"),
        ("new", 0.1, "its digest does not fit"),
        ("old", 0.0, "an old label that is not the dataset's"),
        ("split", "val", "another split"),
        ("id", "001.png", "labels of a sample that leaves"),
        ("id", "", "a sample that"),
    ],
)
def test_hostile_tables_are_refused(disputed, column, value, message):
    cleaning = make_cleaning(audited(disputed), ["keep-one-soft"])
    path = save_cleaning(cleaning)
    assert cleaning.table.loc[0, "action"] == "label"
    cleaning.table.loc[0, column] = value
    columns = {name: cleaning.table[name].to_numpy() for name in CLEANING_COLUMNS}
    stored = pq.read_table(path)
    import pyarrow as pa

    pq.write_table(pa.table(columns, stored.schema), path)
    with pytest.raises(RequestError, match=message):
        open_cleaning(disputed, "keep-one-soft")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table"])
def test_damaged_files_are_refused(disputed, content):
    path = save_cleaning(make_cleaning(audited(disputed), ["keep-one-soft"]))
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"keep-one-soft\.parquet is damaged"):
        open_cleaning(disputed, "keep-one-soft")
    pd.DataFrame({"id": ["a"]}).to_parquet(path)
    with pytest.raises(RequestError, match=r"keep-one-soft\.parquet is damaged"):
        open_cleaning(disputed, "keep-one-soft")


def test_a_cleaning_that_was_made_anew_is_read_anew(disputed):
    audit = audited(disputed)
    save_cleaning(make_cleaning(audit, ["keep-one-positive"], name="mine"))
    first = open_cleaning(disputed, "mine")
    assert open_cleaning(disputed, "mine") is first
    save_cleaning(make_cleaning(audit, ["keep-one-negative"], name="mine"))
    assert open_cleaning(disputed, "mine").digest != first.digest


def test_the_file_says_what_it_is(disputed):
    cleaning = make_cleaning(audited(disputed), ["keep-one-soft"])
    path = save_cleaning(cleaning)
    assert path.parent.name == "cleanings"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    facts = json.loads(pq.read_schema(path).metadata[b"medwb"])
    assert (facts["fingerprint"], facts["digest"]) == (disputed.fingerprint, cleaning.digest)
    assert cleaning.to_csv().splitlines()[0] == ",".join(CLEANING_COLUMNS)
    assert isinstance(open_cleaning(disputed, "keep-one-soft"), Cleaning)


def test_a_cleaning_does_not_take_the_name_of_another_policy(home):
    with pytest.raises(RequestError, match="'keep-all' is the name of a policy"):
        make_cleaning(audited(make_dataset("aab", "ttv")), ["drop-constant"], name="keep-all")
