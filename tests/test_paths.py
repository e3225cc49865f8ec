import os
import stat
import subprocess
import sys

import pytest

from medwb.errors import RequestError
from medwb.paths import check_name, home, replacing, sweep_files, write_text


def test_home_is_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDWB_HOME", str(tmp_path / "x"))
    assert home() == tmp_path / "x"


def test_home_is_the_checkouts_data_from_any_folder_of_it(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDWB_HOME", raising=False)
    for path in ("data/README.md", "pyproject.toml", "notebooks/01.ipynb"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert home() == tmp_path / "data"


def test_home_is_data_here_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDWB_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "data"


@pytest.mark.parametrize("name", ["a/b", "../a", "", ".hidden", "a b", "a\\b", "x" * 81, "a\n"])
def test_names_that_are_no_folder_name_are_refused(name):
    with pytest.raises(RequestError, match="not allowed"):
        check_name(name, "dataset")


def test_a_failed_replacement_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_in_one_process_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "file.txt"
    with replacing(path) as outer:
        outer.write_text("outer")
        with replacing(path) as inner:
            inner.write_text("inner")
        assert path.read_text() == "inner"
        assert outer.read_text() == "outer"
    assert path.read_text() == "outer"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="no regular file"):
            write_text(tmp_path / name, "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_what_killed_writers_left_of_files_is_swept_up(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    (tmp_path / f".{gone.pid}.0a1b.partial.status.json").touch()
    (tmp_path / f".{os.getpid()}.0a1b.partial.status.json").touch()  # its writer lives
    (tmp_path / "status.json").touch()
    sweep_files(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f".{os.getpid()}.0a1b.partial.status.json", "status.json"]
