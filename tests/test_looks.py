import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import finish_run

import medwb.looks as looks
from medwb.errors import RequestError
from medwb.looks import count_looks, list_looks, record_look


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """As if another process looked each time: only the file remembers."""
    monkeypatch.setattr(looks, "_recent", {})


@pytest.fixture
def run(tiny):
    return finish_run(tiny)


def pass_a_minute(run):
    path = run.path / "looks.json"
    path.write_text(json.dumps([{**look, "when": look["when"] - 61} for look in json.loads(path.read_text())]))
    looks._recent.clear()


def test_looks_are_counted_with_time_and_kind(run):
    assert count_looks(run) == 0
    begun = time.time()
    record_look([run], "table")
    record_look([run], "errors")
    assert count_looks(run) == 2
    found = list_looks(run)
    assert [look["what"] for look in found] == ["table", "errors"]
    assert all(begun <= look["when"] <= time.time() for look in found)


def test_one_kind_within_a_minute_is_one_look(run):
    for _ in range(3):
        looks._recent.clear()
        record_look([run], "table")
    assert count_looks(run) == 1
    pass_a_minute(run)
    record_look([run], "table")
    assert count_looks(run) == 2


def test_a_redrawn_page_reads_nothing(run, monkeypatch):
    record_look([run], "table")
    monkeypatch.setattr(looks, "_append", lambda *_: pytest.fail("looked again"))
    record_look([run], "table")


def test_each_run_counts_its_own(tiny):
    runs = [finish_run(tiny, seed=seed) for seed in range(3)]
    record_look(runs[:2], "compare")
    assert [count_looks(run) for run in runs] == [1, 1, 0]


def test_looks_at_once_are_all_kept(run):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: record_look([run], f"kind-{number}"), range(40)))
    assert count_looks(run) == 40


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"when": "x", "what": "table"}]', "[" * 100_000])
def test_a_damaged_record_is_said_and_kept(run, text, caplog):
    path = run.path / "looks.json"
    path.write_text(text)
    with pytest.raises(
        RequestError, match=rf"run {run.id}: looks.json is damaged .*remove .*looks.json to count anew"
    ):
        count_looks(run)
    with caplog.at_level(logging.WARNING):
        record_look([run], "table")
    assert "a look at the test split is not counted" in caplog.text
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_to_is_a_warning(run, caplog, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(run.path))

    monkeypatch.setattr(looks, "write_text", refuse)
    with caplog.at_level(logging.WARNING):
        record_look([run], "table")
    assert "Permission denied" in caplog.text
    assert count_looks(run) == 0
