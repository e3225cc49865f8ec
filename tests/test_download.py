import functools
import hashlib
import http.server
import threading
from typing import ClassVar

import pytest

from medwb import download
from medwb.errors import RequestError

CONTENT = bytes(range(256)) * 9000


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves one file, with ranges, and remembers what it was asked for."""

    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        if not self.path.endswith("pneumoniamnist_64.npz"):
            return self.send_error(404)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def home_page(monkeypatch):
    Handler.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    facts = {"pneumoniamnist": {"md5": {"64": hashlib.md5(CONTENT).hexdigest(), "28": "0"}}}
    monkeypatch.setattr(download, "medmnist_facts", lambda: facts)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_fetches_and_verifies(home_page, tmp_path):
    calls = []
    progress = lambda done, total: calls.append((done, total))  # noqa: E731
    path = download.download_medmnist("pneumoniamnist", 64, tmp_path, progress, home_page)
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == [path]
    download.download_medmnist("pneumoniamnist", 64, tmp_path, home=home_page)
    assert len(Handler.asked) == 1  # what is complete is not fetched again


@pytest.mark.parametrize("done", [1000, len(CONTENT)])
def test_continues_where_it_broke_off(home_page, tmp_path, done):
    (tmp_path / "pneumoniamnist_64.npz.part").write_bytes(CONTENT[:done])
    path = download.download_medmnist("pneumoniamnist", 64, tmp_path, home=home_page)
    assert path.read_bytes() == CONTENT
    assert Handler.asked == [f"bytes={done}-"]


def test_a_wrong_checksum_is_refused_and_removed(home_page, tmp_path):
    (tmp_path / "pneumoniamnist_64.npz.part").write_bytes(b"x" * 1000)
    with pytest.raises(RequestError, match="its MD5 is"):
        download.download_medmnist("pneumoniamnist", 64, tmp_path, home=home_page)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named(home_page, tmp_path):
    with pytest.raises(RequestError, match="answered 404"):
        download.download_medmnist("pneumoniamnist", 28, tmp_path, home=home_page)


def test_no_network_is_said(home_page, tmp_path):
    with pytest.raises(RequestError, match="without a network, fetch the file elsewhere"):
        download.download_medmnist("pneumoniamnist", 64, tmp_path, home="http://127.0.0.1:9")


def test_no_such_folder(home_page, tmp_path):
    with pytest.raises(RequestError, match="no such folder"):
        download.download_medmnist("pneumoniamnist", 64, tmp_path / "x", home=home_page)
