"""What a run asks of its storage, a local or shared file system: create exclusively, replace whole, append synced.

An object store has neither append nor exclusive create; it would need segments written once and a manifest written
last. The journal's segments and the names of the leases are made so that this can follow.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genlib import InputError
from genlib.durable import sync_folder, write_new


class RunFailed(InputError):
    """A run could not go on; what it kept before is whole."""


class StorageFailed(RunFailed):
    """The storage took no more in the middle of a run; what it took before is whole."""


class Stopped(Exception):
    """A run was asked to stop, and kept its state."""


class Damaged(InputError):
    """A file is not what was written."""


@contextmanager
def storage_failures(path: Path) -> Iterator[None]:
    """Turn a full or failing disk into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "mend it"
        raise StorageFailed(
            f"the storage took no more at {path} ({error.strerror}): earlier checkpoints are whole; "
            f"{remedy} and give the same command again."
        ) from error


def replace(path: Path, content: bytes) -> None:
    """Replace a file whole: after a crash there is the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        write_new(aside, content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Create a file with its content in one step; False where it exists already. Works over NFS too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    write_new(aside, content)
    try:
        os.link(aside, path)
    except FileExistsError:
        return os.stat(aside).st_nlink == 2  # the server had made it, and its answer was lost
    finally:
        aside.unlink()
    return True


def append(path: Path, line: str, *, synced: bool = True) -> None:
    """Add one line, and wait until it is on disk unless the caller will see to that."""
    with open(path, "a") as file:
        file.write(line + "\n")
        file.flush()
        if synced:
            os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until what was added to a file is on disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def set_aside(path: Path, folder: Path | None = None) -> Path:
    """Move a damaged or replaced thing out of the way, never delete it."""
    aside = (folder or path.parent) / f"aside-{path.name}-{time.time_ns()}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    path.rename(aside)
    return aside


# -- JSON that notices a flipped bit -----------------------------------------------------------------------------------


def sealed(content: Mapping[str, Any]) -> str:
    """One line of JSON with a checksum of the rest of it. Non-finite numbers are the words `inf`, `-inf`, `nan`."""
    text = _compact(content)
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}'


def unsealed(line: str) -> dict[str, Any]:
    """The content of a line that `sealed` made; raises `Damaged`."""
    try:
        content = dict(json.loads(line))
        crc = content.pop("crc32")
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged("it is no line of JSON with its checksum.") from error
    if f"{zlib.crc32(_compact(content).encode()):08x}" != crc:
        raise Damaged("its checksum is another.")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file whole, with a hash of its content in it."""
    replace(path, json_bytes(content))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON file, with a hash of its content in it."""
    digest = hashlib.sha256(_compact(content).encode()).hexdigest()
    return json.dumps({**_worded(content), "sha256": digest}, indent=2).encode()


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file that `write_json` wrote, checked; raises `Damaged`, or `FileNotFoundError`."""
    try:
        content = dict(json.loads(path.read_bytes()))
        digest = content.pop("sha256")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged: it is not the JSON that was written.") from error
    if hashlib.sha256(_compact(content).encode()).hexdigest() != digest:
        raise Damaged(f"{path} is damaged: its content has another hash than the one written with it.")
    return content


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as read from JSON, non-finite ones as numbers again."""
    return {name: float(value) for name, value in metrics.items()}


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compact(content: Mapping[str, Any]) -> str:
    return json.dumps(_worded(content), sort_keys=True, allow_nan=False)


def _worded(content: Any) -> Any:
    """The content with words for its non-finite numbers: JSON has none."""
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, Mapping):
        return {key: _worded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_worded(value) for value in content]
    return content
