"""The data folder: official files, verified by their published checksums, downloaded where they are missing.

`GENLIB_DATA` names the folder; by default it is a cache folder in the home. A file is never used unverified, a good one
never touched. A download goes to a `.part` beside its place, is verified whole and then renamed; what is cut short is
continued by the next call.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from genlib.errors import InputError

Listener = Callable[[str, int, int], None]
"""(file, bytes so far, bytes in all): called now and then during a download."""
CHUNK = 1 << 18
TIMEOUT = 20.0
"""Seconds that a server may be silent."""
_listeners: list[Listener] = []


class Source(NamedTuple):
    """A file of the data folder."""

    path: str
    """Path of the file in the data folder."""
    size: int
    md5: str
    """MD5 checksum, as published with the data set."""
    urls: tuple[str, ...]
    """Addresses that the file can be had from, best first."""
    cut: Callable[[bytes], bytes] | None = None
    """Function that gives the part to keep of the downloaded file; None keeps all of it."""


def data_folder() -> Path:
    """The folder named by `GENLIB_DATA`, else a cache folder in the home."""
    named = os.environ.get("GENLIB_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "genlib"


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have a listener told how downloads go."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def fetch(source: Source) -> Path:
    """The verified file, downloaded if it is not there.

    Raises:
        InputError: the file is missing or damaged, and could not be had; the message says which file goes where.
    """
    path = data_folder() / source.path
    part = path.with_name(f"{path.name}.part")
    damage = _damage(path, source)
    if damage is None:
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one process at a time; the others find it done
            if _damage(path, source) is None:
                return path
            try:
                if source.cut:
                    _download_part(source, source.cut, part)
                else:
                    _download(source, file.fileno(), part)
                _verify(part, source)
                os.replace(part, path)
            finally:
                if part.exists() and not part.stat().st_size:
                    part.unlink()
    except _Unreachable as error:
        raise InputError(
            f"{path} {damage}, and it cannot be downloaded ({error}): put {Path(source.path).name} "
            f"({source.size:,} bytes, md5 {source.md5}) there, or set GENLIB_DATA to the folder that has it."
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(f"no space left for {path}: free some and give the same command again.") from error
        raise InputError(f"{path} {damage} and cannot be written ({error.strerror}): set GENLIB_DATA.") from error
    return path


def _damage(path: Path, source: Source) -> str | None:
    """What is wrong with a file, in words; None for a good one."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if size != source.size:
        return f"is damaged ({size:,} bytes instead of {source.size:,})"
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    return None if digest == source.md5 else f"is damaged (md5 {digest} instead of {source.md5})"


class _Unreachable(Exception):
    """No server gave the file."""


def _download(source: Source, descriptor: int, part: Path) -> None:
    """Complete the part from where it ends, from the first address that answers."""
    reasons = []
    for url in source.urls:
        have = part.stat().st_size
        if have == source.size:
            return
        if have > source.size:
            os.truncate(descriptor, have := 0)
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                if have and answer.status != 206:  # the server sends the whole file again
                    os.truncate(descriptor, have := 0)
                while chunk := answer.read(CHUNK):
                    os.write(descriptor, chunk)
                    have += len(chunk)
                    for listener in _listeners:
                        listener(source.path, have, source.size)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reasons.append(str(getattr(error, "reason", error)) or type(error).__name__)
            continue
        if have >= source.size:
            return
        reasons.append(f"the connection ended after {have:,} bytes; the next call goes on from there")
    raise _Unreachable("; ".join(dict.fromkeys(reasons)) or "it has no address")


def _download_part(source: Source, cut: Callable[[bytes], bytes], part: Path) -> None:
    """Download a small file, and write what is kept of it to the part."""
    reasons = []
    for url in source.urls:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                part.write_bytes(cut(answer.read()))
            return
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reasons.append(str(getattr(error, "reason", error)) or type(error).__name__)
    raise _Unreachable("; ".join(dict.fromkeys(reasons)) or "it has no address")


def _verify(part: Path, source: Source) -> None:
    """Empty a part of the wrong content, which is of no use, and raise."""
    damage = _damage(part, source)
    if damage:
        os.truncate(part, 0)
        raise _Unreachable(f"what was downloaded {damage}")
