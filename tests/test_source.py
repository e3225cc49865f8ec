import os
import zipfile

import pytest
from conftest import write_scan, zip_folder

from medwb.errors import RequestError
from medwb.source import Source


@pytest.fixture
def folder(tmp_path):
    for path in ("a/1.png", "a/2.jpg", "b/1.png", ".hidden/3.png"):
        write_scan(tmp_path / "set" / path)
    (tmp_path / "set" / "labels.csv").write_text("id\n")
    return tmp_path / "set"


@pytest.mark.parametrize("top", ["", "unpacked/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_lists_and_reads_alike(folder, tmp_path, zipped, top):
    source = Source(zip_folder(folder, tmp_path / "set.zip", top) if zipped else folder)
    assert source.files == ["a/1.png", "a/2.jpg", "b/1.png", "labels.csv"]
    assert source.images == ["a/1.png", "a/2.jpg", "b/1.png"]
    assert source.read("a/2.jpg") == (folder / "a/2.jpg").read_bytes()
    assert source.matching("*.csv") == ["labels.csv"]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("a/1.png", "a/1.png"),
        ("a/1", "a/1.png"),
        ("a/1.jpg", "a/1.png"),
        ("set/a/1.png", "a/1.png"),
        ("b/2.jpg", ""),  # never a file from another folder than the one named
        ("other/patient/1.png", ""),
        ("2.1", ""),
        ("2.jpg", "a/2.jpg"),
        ("2", "a/2.jpg"),
        ("1.png", ""),
        ("9", ""),
    ],
)
def test_find(folder, key, found):
    assert Source(folder).find(key) == found


@pytest.mark.parametrize("key", ["../x.png", "a/../../x", "/etc/passwd", "C:/x.png", "..\\x.png"])
def test_find_refuses_to_leave(folder, key):
    with pytest.raises(RequestError, match="leads out of"):
        Source(folder).find(key)


def test_links_out_are_left_out(folder, tmp_path):
    write_scan(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "inside.png").symlink_to(folder / "a/1.png")
    source = Source(folder)
    assert source.refused == ["link.png"]
    assert "inside.png" in source.files


@pytest.mark.parametrize("entry", ["../evil.png", "a/../../evil.png", "/abs.png"])
def test_zip_entries_that_leave_are_refused(tmp_path, entry):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(entry, b"x")
    with pytest.raises(RequestError, match="leads out of it"):
        Source(tmp_path / "x.zip")


def test_damaged_zip_entries_are_errors(folder, tmp_path):
    archive = zip_folder(folder, tmp_path / "set.zip")
    source = Source(archive)
    start = source._entries["a/1.png"].header_offset
    data = bytearray(archive.read_bytes())
    data[start + 60] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(OSError, match="damaged zip entry"):
        Source(archive).read("a/1.png")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(RequestError, match="no such file or folder"):
        Source(tmp_path / "nothing")


def test_pipes_loops_and_odd_names_are_passed_over(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    with open(os.fsencode(folder) + b"/\xff.png", "wb"):  # noqa: PTH123
        pass
    source = Source(folder)
    assert "pipe.png" not in source.files
    assert sorted(source.refused) == ["\\xff.png", "loop.png"]
    with pytest.raises(RequestError, match="no such file or folder"):
        Source(folder / "pipe.png")
