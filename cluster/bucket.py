"""A bucket of S3-compatible storage, by obstore: what a run asks of it, and its failures as sentences.

Its address is `s3://bucket/prefix`. Keys, endpoint and region come from the environment, as for every tool of S3's:
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, `AWS_REGION`; on a cloud's machine from its role.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from genlib import InputError

TIMEOUT, QUICK = timedelta(seconds=60), timedelta(seconds=4)
"""How long a request with a part of a file may take, and one about a lease: others wait for its heart to beat."""
REST = 1.5
"""Seconds for which a bucket that did not answer about a lease is not asked again."""
CHUNK = 8 * 2**20
"""Bytes that one request brings or takes."""


class BucketFailed(OSError):
    """A bucket that does not answer, or refuses."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.EIO, sentence)


class Object(NamedTuple):
    """What a listing says of an object."""

    size: int
    tag: str
    """Changes with the content."""
    changed: float
    """When it was last put, by the bucket's clock."""


class Bucket:
    """A bucket. Every method but `get` raises `BucketFailed` and nothing else.

    Arguments:
        quick: give a request up soon: it is about a lease.
    """

    def __init__(self, name: str, *, quick: bool = False) -> None:
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise InputError("a storage in a bucket needs the obstore package: pip install 'genlib[s3]'.") from error
        self.name, self._away = name, 0.0
        self._quick = quick
        self._endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options: dict[str, Any] = {"endpoint": self._endpoint} if self._endpoint else {}
        if "AWS_REGION" not in os.environ:
            options["region"] = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        plain = bool(self._endpoint and self._endpoint.startswith("http://"))
        self._store = S3Store(
            name,
            **options,
            client_options={"allow_http": plain, "timeout": QUICK if quick else TIMEOUT, "connect_timeout": QUICK},
            retry_config={"max_retries": 1 if quick else 3, "retry_timeout": QUICK if quick else TIMEOUT / 2},
        )

    def listed(self, prefix: str) -> dict[str, Object]:
        """Every object whose key begins with a folder's name, by what follows it."""
        import obstore

        start = len(f"{prefix}/") if prefix else 0
        with self._asked():
            return {
                one["path"][start:]: Object(one["size"], one["e_tag"] or "", one["last_modified"].timestamp())
                for page in obstore.list(self._store, prefix or None)
                for one in page
                if len(one["path"]) > start  # else it is what a console calls a folder
            }

    def get(self, key: str, size: int = 0) -> bytes:
        """An object's content, in parts where its size is known to be large; raises `FileNotFoundError` without one."""
        import obstore

        with self._asked():
            if size <= CHUNK:
                return bytes(obstore.get(self._store, key).bytes())
            starts = range(0, size, CHUNK)
            parts = (obstore.get_range(self._store, key, start=s, length=min(CHUNK, size - s)) for s in starts)
            return b"".join(map(bytes, parts))

    def put(self, key: str, content: bytes) -> str:
        """Put an object in the place of what is there; returns its tag."""
        import obstore

        with self._asked():
            return str(obstore.put(self._store, key, content, chunk_size=CHUNK, max_concurrency=2)["e_tag"] or "")

    def put_over(self, key: str, content: bytes, tag: str) -> str | None:
        """Put an object in the place of the one with this tag; returns its tag, None where that one is not there."""
        import obstore
        from obstore.exceptions import PreconditionError

        try:
            with self._asked(PreconditionError):
                put = obstore.put(self._store, key, content, mode={"e_tag": tag}, use_multipart=False)
        except PreconditionError:
            return None
        return str(put["e_tag"] or "")

    def put_new(self, key: str, content: bytes) -> str | None:
        """Put an object where there is none, which one of several that try can do; None where there is one."""
        import obstore

        try:
            with self._asked():
                return str(obstore.put(self._store, key, content, mode="create", use_multipart=False)["e_tag"] or "")
        except FileExistsError:
            return self.tag_of(key, content)  # it was put, and the answer was lost

    def tag_of(self, key: str, content: bytes) -> str | None:
        """The tag of an object that has a certain content; None where it has another, or is not there."""
        import obstore

        try:
            with self._asked():
                there = obstore.get(self._store, key)
                return str(there.meta["e_tag"] or "") if bytes(there.bytes()) == content else None
        except FileNotFoundError:
            return None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no trouble."""
        import obstore

        keys = list(keys)
        if keys:
            with self._asked():
                obstore.delete(self._store, keys)

    def move(self, key: str, to: str) -> None:
        """Give an object another key."""
        import obstore

        with self._asked():
            obstore.rename(self._store, key, to)

    @property
    def _where(self) -> str:
        return f" at {self._endpoint}" if self._endpoint else ""

    @contextmanager
    def _asked(self, *told: type[Exception]) -> Iterator[None]:
        import obstore.exceptions as failures

        if time.monotonic() < self._away:
            raise BucketFailed(f"the bucket '{self.name}' does not answer{self._where}")
        try:
            yield
        except told:
            raise
        except failures.AlreadyExistsError as error:
            raise FileExistsError(str(error)) from error
        except (failures.BaseError, OSError) as error:
            said = str(error)
            if "NoSuchBucket" in said:
                raise BucketFailed(f"there is no bucket '{self.name}'") from error
            if isinstance(error, (FileNotFoundError, failures.NotFoundError)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name) from error
            refused = (PermissionError, failures.PermissionDeniedError, failures.UnauthenticatedError)
            if isinstance(error, refused) or "403 Forbidden" in said or "401 Unauthorized" in said:
                raise BucketFailed(f"the bucket '{self.name}' refuses the keys of the environment") from error
            if self._quick:  # many ask about leases, one after the other: they need not all wait
                self._away = time.monotonic() + REST
            raise BucketFailed(f"the bucket '{self.name}' does not answer{self._where}") from error
