"""The data folder: verified, downloaded, continued; a good file is never touched, a bad one never used."""

import errno
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from genlib import InputError
from genlib.data import files
from genlib.data.files import Source, data_folder, fetch, listening

CONTENT = bytes(range(256)) * 4_000
NAME = "set/file.bin"


class Server(ThreadingHTTPServer):
    """Serves one file, or part of it; remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        self.content, self.cut, self.ranges, self.asked = CONTENT, None, True, []
        super().__init__(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut] if self.server.cut else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path))


def source(server=None, content=CONTENT):
    return Source(NAME, len(content), hashlib.md5(content).hexdigest(), (server.url,) if server else ())


def place():
    return data_folder() / NAME


def put(content, path=None):
    path = path or place()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_good_file_is_used_as_it_is(server):
    put(CONTENT)
    before = place().stat().st_mtime_ns
    assert fetch(source(server)) == place()
    assert place().stat().st_mtime_ns == before
    assert not server.asked


def test_a_missing_file_is_downloaded_and_told(server):
    heard = []
    with listening(lambda *said: heard.append(said)):
        assert fetch(source(server)).read_bytes() == CONTENT
    assert heard[-1] == (NAME, len(CONTENT), len(CONTENT))
    assert [name.name for name in place().parent.iterdir()] == ["file.bin"]


def test_a_script_shows_its_downloads(server, capsys):
    from experiments.command.exits import exit_with_a_sentence

    with exit_with_a_sentence():
        fetch(source(server))
    assert f"{NAME}: " in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended, exit_with_a_sentence():
        fetch(source(content=b"not there"))
    assert ended.value.code == 2
    assert "put file.bin" in capsys.readouterr().err


def test_without_a_network_the_sentence_says_what_goes_where():
    with pytest.raises(InputError) as caught:
        fetch(source())
    said = str(caught.value)
    assert str(place()) in said
    assert "is missing" in said
    assert f"put file.bin ({len(CONTENT):,} bytes" in said
    assert not list(place().parent.iterdir())  # nothing half made is left


@pytest.mark.parametrize(
    ("content", "said"),
    [(CONTENT[:-5], "is damaged .* bytes instead of"), (b"x" + CONTENT[1:], "is damaged .md5 .* instead of")],
    ids=["truncated", "wrong checksum"],
)
def test_a_damaged_file_is_said_and_the_next_call_repairs_it(server, content, said):
    put(content)
    with pytest.raises(InputError, match=said):
        fetch(source())
    assert place().read_bytes() == content
    assert fetch(source(server)).read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_where_it_was(server):
    server.cut = 300_000
    with pytest.raises(InputError, match="300,000 bytes; the next call goes on"):
        fetch(source(server))
    assert not place().exists()
    server.cut = None
    assert fetch(source(server)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_without_ranges_starts_over(server):
    put(CONTENT[:1_000], place().with_name("file.bin.part"))
    server.ranges = False
    assert fetch(source(server)).read_bytes() == CONTENT


def test_a_wrong_download_is_refused_and_the_next_call_repairs_it(server):
    server.content = b"y" * len(CONTENT)
    with pytest.raises(InputError, match="what was downloaded is damaged"):
        fetch(source(server))
    assert not place().exists()
    server.content = CONTENT
    assert fetch(source(server)).read_bytes() == CONTENT


def test_the_second_address_is_tried(server):
    dead = source(server)._replace(urls=("http://127.0.0.1:9/none", server.url))
    assert fetch(dead).read_bytes() == CONTENT


def test_a_full_disk_is_one_sentence_and_the_next_call_goes_on(server, monkeypatch):
    written, real = [0], os.write

    def full(descriptor, chunk):
        if written[0] + len(chunk) > 500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written[0] += len(chunk)
        return real(descriptor, chunk)

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(InputError, match="no space left for"):
        fetch(source(server))
    monkeypatch.setattr(files.os, "write", real)
    assert fetch(source(server)).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={written[0]}-"


def test_two_at_once_download_once(server):
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(source(server)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 4
    assert len(server.asked) == 1
