"""A storage in a bucket, `s3://bucket/prefix`, is a folder of every machine that is a copy of it.

    ~/.cache/genlib-s3-copies/bucket/prefix/<study or sweep>/<key>/…    the same files, read and written here

Who holds a lease works in the copy, as in any folder, and a thread carries what is new to the bucket (`cluster.
carrying`). Leases alone are taken in the bucket: the object of the next epoch is put only where there is none
(`If-None-Match`), which one process can do; putting it again is the heartbeat, and its time is the sign that others
watch. The folder of the copy says which bucket it is of, so its path means the same on every machine.

The functions here do nothing for paths that are no copies.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cluster.bucket import Bucket, BucketFailed, Object
from cluster.files import Damaged, unsealed
from cluster.processes import is_here
from genlib import InputError

COPIES = "genlib-s3-copies"
"""Name of the folder that holds copies; found in a path, it says that the path is in one."""
MARK = "storage.json"
"""Name of the file that says that a folder, or a prefix, is a storage."""
LOOK = 2.0
"""Seconds for which a look at a lease in the bucket counts."""


class Place(NamedTuple):
    """Where a file or folder of a copy is in its bucket."""

    bucket: Bucket
    key: str


@cache
def _bucket(name: str, quick: bool) -> Bucket:
    return Bucket(name, quick=quick)


def place_of(path: Path, *, quick: bool = False) -> Place | None:
    """Where a path is in a bucket; None where it is in no copy.

    Arguments:
        quick: for a request about a lease.
    """
    if COPIES not in path.parts:
        return None
    at = path.parts.index(COPIES)
    if len(path.parts) < at + 2:
        return None
    return Place(_bucket(path.parts[at + 1], quick), "/".join(path.parts[at + 2 :]))


def is_copy(path: Path) -> bool:
    """Whether a path is in the copy of a bucket."""
    return COPIES in path.parts


def located(storage: str | Path) -> Path:
    """The folder of a storage: the storage itself, or this machine's copy of `s3://bucket/prefix`."""
    named = re.fullmatch(r"s3:/{1,2}([^/]*)/*(.*?)/*", str(storage))  # a Path has lost one of the slashes
    if named is None:
        if match := re.match(r"([a-z][a-z0-9+.-]*):/", str(storage)):
            raise InputError(f"a storage at {match[1]}:// is not known: give a folder, or s3://bucket/prefix.")
        return Path(storage).absolute()
    bucket, prefix = named[1], named[2]
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise InputError(f"'{bucket}' is no name of a bucket: give s3://bucket/prefix.")
    if ".." in Path(prefix).parts:
        raise InputError(f"'{prefix}' is no prefix of keys: give s3://bucket/prefix.")
    root = Path(os.environ.get("GENLIB_COPIES") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place_of(folder := root.absolute() / COPIES / bucket / prefix)  # says at once where obstore is missing
    return folder


def shown(path: Path) -> str:
    """A path as people know it: of a copy, its address in the bucket."""
    place = place_of(path)
    return str(path) if place is None else f"s3://{place.bucket.name}/{place.key}".rstrip("/")


# -- the storage as a whole --------------------------------------------------------------------------------------------

_OPENED: set[Path] = set()


def bring_mark(storage: Path) -> None:
    """Bring a storage's mark here, where it has one; refuse a prefix that holds something else."""
    if (place := place_of(storage)) is None:
        return
    try:
        write(storage / MARK, place.bucket.get(_under(place.key, MARK)))
    except FileNotFoundError:
        if any(name[0] != "." for name in place.bucket.listed(place.key)):
            raise BucketFailed("it holds objects that genlib did not write") from None


def open_copy(storage: Path, mark: bytes) -> None:
    """Mark a bucket's prefix as a storage, unless it is one; refuse a bucket that cannot have leases."""
    place = place_of(storage)
    if place is None or storage in _OPENED:
        return
    bring_mark(storage)
    probe = _under(place.key, f".probe-{uuid.uuid4().hex[:8]}")
    if place.bucket.put_new(probe, b"1") is None or place.bucket.put_new(probe, b"2") is not None:
        raise BucketFailed(
            f"the bucket '{place.bucket.name}' puts objects over others also when asked not to (If-None-Match): "
            "two writers could not be told apart"
        )
    place.bucket.delete([probe])
    place.bucket.put_new(_under(place.key, MARK), mark)
    bring_mark(storage)
    _OPENED.add(storage)


def share(path: Path) -> None:
    """Put one small file into the bucket at once."""
    if place := place_of(path):
        place.bucket.put(place.key, path.read_bytes())


def drop(path: Path) -> None:
    """Delete from the bucket what has been deleted here, its leases last."""
    if place := place_of(path):
        names = sorted(place.bucket.listed(place.key), key=lambda name: LEASE_FILE.search(name) is not None)
        place.bucket.delete([*(f"{place.key}/{name}" for name in names), place.key])


def move(path: Path, to: Path) -> None:
    """Move in the bucket what has been moved here, its leases last: until they are gone, nobody begins there anew."""
    place, new = place_of(path), place_of(to)
    if place is None or new is None:
        return
    names = list(place.bucket.listed(place.key))
    for last in (False, True):
        with ThreadPoolExecutor(16) as pool:
            moved = [
                pool.submit(place.bucket.move, f"{place.key}/{name}", f"{new.key}/{name}")
                for name in names
                if (LEASE_FILE.search(name) is not None) is last
            ]
            for one in moved:
                one.result()


# -- leases ------------------------------------------------------------------------------------------------------------

_LOOKED: dict[Path, float] = {}
_BLIND: set[Path] = set()
_TAGS: dict[Path, str] = {}
LEASE_FILE = re.compile(r"(?:^|/)\d{8}\.(?:json|stop)$")


def look(folder: Path, *, within: float = LOOK) -> None:
    """Bring the files of a lease here, unless they were looked at within some seconds; raises `BucketFailed`."""
    place, began = place_of(folder, quick=True), time.monotonic()
    if place is None or began - _LOOKED.get(folder, -1e9) < within:
        return
    try:
        take_over(folder, place.bucket.listed(place.key))
    except BucketFailed:
        _BLIND.add(folder)
        raise
    finally:
        looked_at(folder, began)
    _BLIND.discard(folder)


def looked_at(folder: Path, when: float) -> None:
    """Note that the files of a lease are those of a moment, also where there are none."""
    _LOOKED[folder] = when


def answers(folder: Path) -> bool:
    """Whether the bucket answered when it was last asked for a lease."""
    return folder not in _BLIND


def take_over(folder: Path, listed: Mapping[str, Object]) -> None:
    """Bring the files of a lease here as they were listed: the time of each is that of its last heartbeat."""
    place = place_of(folder, quick=True)
    assert place is not None
    for name, there in listed.items():
        path = folder / name
        if not LEASE_FILE.fullmatch(name):
            continue
        if name.endswith(".stop"):
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                path.touch()
            continue
        if _TAGS.get(path) != there.tag or not path.exists():
            with suppress(FileNotFoundError):
                content = place.bucket.get(f"{place.key}/{name}")
                mine = _content(path)
                # One of this place that is the same claim is written by the process that holds it.
                said = _words(content)
                if not is_here(mine) or mine.get("claim") != said.get("claim") or "released" in said:
                    write(path, content)
                _TAGS[path] = there.tag
        with suppress(FileNotFoundError):
            os.utime(path, (there.changed, there.changed))
    for path in folder.glob("*.json"):
        if LEASE_FILE.fullmatch(path.name) and path.name not in listed and not _is_just_made(path):
            path.unlink(missing_ok=True)
            path.with_suffix(".stop").unlink(missing_ok=True)


def claim(path: Path, content: bytes) -> str | None:
    """Take the epoch of a lease in the bucket: its tag there; None where somebody else has it."""
    place = place_of(path, quick=True)
    if place is None:
        return ""
    tag = place.bucket.put_new(place.key, content)
    if tag is not None:
        _TAGS[path] = tag
    return tag


def beat(path: Path, before: bytes, content: bytes, tag: str) -> str | None:
    """Put a lease's object in its own place: with the same content its time tells others that the holder lives.

    Returns its tag; None where the lease is not this one any more.
    """
    place = place_of(path, quick=True)
    if place is None:
        return tag
    put = place.bucket.put_over(place.key, content, tag)
    for known in (content, before) if put is None else ():  # an answer was lost
        if put is None and (there := place.bucket.tag_of(place.key, known)):
            put = there if known == content else place.bucket.put_over(place.key, content, there)
    if put is not None:
        _TAGS[path] = put
    return put


def forget(paths: list[Path]) -> None:
    """Delete the objects of files that are needed no more."""
    if places := [place for path in paths if (place := place_of(path, quick=True))]:
        with suppress(BucketFailed):  # they are in nobody's way
            places[0].bucket.delete(place.key for place in places)


def _content(path: Path) -> dict[str, Any]:
    try:
        return _words(path.read_bytes())
    except OSError:
        return {}


def _words(content: bytes) -> dict[str, Any]:
    try:
        return unsealed(content.decode(errors="replace"))
    except Damaged:
        return {}


def _is_just_made(path: Path) -> bool:
    """Whether a lease that was not listed may be younger than the listing: its holder touches it."""
    try:
        return is_here(_content(path)) and abs(time.time() - path.stat().st_mtime) < 10
    except OSError:
        return False


# -- small things ------------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> None:
    """Replace a file of a copy; it need not survive a crash, for the bucket has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _under(key: str, name: str) -> str:
    return f"{key}/{name}" if key else name
