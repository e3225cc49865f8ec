import pandas as pd
import pytest
from conftest import LABELS, finish_run, write_csv

from medwb.errors import RequestError
from medwb.metrics import tune_thresholds
from medwb.submission import write_submission


@pytest.fixture
def run(tiny):
    return finish_run(tiny, 0.2)


@pytest.fixture
def sample(tiny, tmp_path):
    """The test split's ids in an order of their own, the columns too."""
    ids = tiny.split("test").samples["id"].tolist()[::-1]
    write_csv(tmp_path / "sample.csv", [["id", *LABELS[::-1]], *([image_id, 0, 0, 0] for image_id in ids)])
    return tmp_path / "sample.csv"


def test_same_ids_order_and_columns(run, sample, tmp_path):
    written = write_submission(run, sample, tmp_path / "out.csv")
    asked, given = (pd.read_csv(path, dtype={"id": str}) for path in (sample, tmp_path / "out.csv"))
    assert list(given.columns) == list(asked.columns)
    assert given["id"].tolist() == asked["id"].tolist()
    assert set(given[LABELS[0]]) <= {0, 1}
    assert written.notes == []


def test_thresholds_come_from_validation(run, sample, tmp_path):
    written = write_submission(run, sample, tmp_path / "out.csv")
    validation = run.predictions("val")
    tuned = tune_thresholds(validation.y_true, validation.y_score)
    assert list(written.thresholds.values()) == tuned.tolist()
    answers = run.predictions("test")
    expected = pd.DataFrame(answers.y_score >= tuned, index=answers.ids, columns=list(LABELS))
    for label in LABELS:
        assert written.table[label].tolist() == expected.loc[written.table["id"], label].astype(int).tolist()


def change(sample, function):
    table = pd.read_csv(sample, dtype=str)
    function(table).to_csv(sample, index=False)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: table.drop(columns="mass"), "unknown column in sample.csv 'mass'"),
        (lambda table: table.assign(nodule=0), "columns that run .* does not predict: nodule"),
        (lambda table: pd.concat([table, table.head(1)]), "lists '0239.png' more than once"),
        (lambda table: table.assign(id="x" + table["id"]), "has no answer for 48 of 48 ids, such as 'x0239.png'"),
    ],
)
def test_mismatches_are_named_and_nothing_is_written(run, sample, tmp_path, function, message):
    change(sample, function)
    with pytest.raises(RequestError, match=message):
        write_submission(run, sample, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_scans_that_the_sample_leaves_out_are_said(run, sample, tmp_path):
    change(sample, lambda table: table.head(40))
    assert (
        "8 scans of the test split are not in the sample"
        in write_submission(run, sample, tmp_path / "o.csv").notes[0]
    )


def test_missing_files_are_named(run, sample, tmp_path):
    with pytest.raises(RequestError, match="no such sample submission"):
        write_submission(run, tmp_path / "none.csv", tmp_path / "out.csv")
    with pytest.raises(RequestError, match="no such folder to write to"):
        write_submission(run, sample, tmp_path / "none" / "out.csv")
