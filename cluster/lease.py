"""Who writes here: one process at a time, known by an epoch that only rises.

    lease/00000003.json    epoch 3: host, pid, when it started; the file's age is the heartbeat

A lease is claimed by creating the file of the next epoch, which only one process can do. Its holder touches its own
file every two seconds; one that finds a newer epoch than its own has been fenced and must not write any more. A lease
has lapsed when its process is gone (same machine) or when its file has not been touched for twenty seconds (another
machine).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from cluster.files import create
from genlib import InputError

BEAT, LAPSE = 2.0, 20.0
"""Seconds between heartbeats, and seconds without one after which a lease on another machine has lapsed."""
LOOK = 0.2
"""Seconds between looks whether the holder is asked to stop."""


class Held(InputError):
    """Another process writes here."""


class Fenced(RuntimeError):
    """Another process has taken over: whatever this one still writes would be wrong."""


class Lease:
    """The right to write in a folder."""

    def __init__(self, folder: Path, epoch: int) -> None:
        self.folder, self.epoch = folder, epoch
        self.path = _path(folder, epoch)
        self._asked, self._looked = False, 0.0

    @classmethod
    def claim(cls, folder: Path, *, force: bool = False) -> Lease:
        """Take the lease of a folder; raises `Held` while another living process has it.

        Arguments:
            force: take it from a living process, which is thereby fenced.
        """
        newest = newest_epoch(folder)
        if newest and not force:
            refuse_held(folder)
        lease = cls(folder, newest + 1)
        holder = {"epoch": lease.epoch, "host": socket.gethostname(), "pid": os.getpid(), "started": _started()}
        if not create(lease.path, json.dumps(holder).encode()) or newest_epoch(folder) != lease.epoch:
            raise Held(f"another process has just begun to write to {folder}: give the same command again later.")
        for old in range(max(1, newest - 8), lease.epoch):
            _path(folder, old).unlink(missing_ok=True)
            _path(folder, old).with_suffix(".stop").unlink(missing_ok=True)
        return lease

    def check(self) -> None:
        """Raise `Fenced` where a newer epoch exists."""
        if not self.path.exists() or _path(self.folder, self.epoch + 1).exists():
            raise Fenced(f"another process has taken over {self.folder}: this one stops without writing any more.")

    def is_asked_to_stop(self) -> bool:
        """Whether somebody has asked the holder to stop; looked up now and then, so it costs nothing to ask."""
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._asked = self.path.with_suffix(".stop").exists()
        return self._asked

    def keep(self, every_beat: Callable[[], None] | None = None) -> None:
        """Keep the heart beating, in a thread, until `release`; `every_beat` is called at each beat."""
        _HEART.add(self.path, every_beat)

    def release(self) -> None:
        """Stop the heart and say that nobody writes here any more; the epoch stays used."""
        _HEART.remove(self.path)
        if not self.path.exists() or _path(self.folder, self.epoch + 1).exists():
            return
        aside = self.path.with_suffix(".released")
        try:
            aside.write_text(json.dumps({"epoch": self.epoch, "released": time.time()}))
            os.replace(aside, self.path)
        except OSError:  # a full disk: the lease lapses by itself when this process ends
            aside.unlink(missing_ok=True)


class _Heart:
    """One thread that touches the files of all leases that this process keeps."""

    def __init__(self) -> None:
        self._beats: dict[Path, Callable[[], None] | None] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, path: Path, every_beat: Callable[[], None] | None) -> None:
        """Touch a file at every beat."""
        with self._lock:
            self._beats[path] = every_beat
            if self._thread is None or not self._thread.is_alive():  # nor is it after a fork
                self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
                self._thread.start()

    def remove(self, path: Path) -> None:
        """Touch a file no more: once this returns, it is not touched."""
        with self._lock:
            self._beats.pop(path, None)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                for path, every_beat in list(self._beats.items()):
                    self._beat(path, every_beat)
                if not self._beats:
                    self._thread = None
                    return

    def _beat(self, path: Path, every_beat: Callable[[], None] | None) -> None:
        try:
            os.utime(path)
        except FileNotFoundError:
            del self._beats[path]  # fenced, or the folder is gone: the writer will notice when it writes
            return
        except OSError:
            return  # a storage that fails for a moment
        if every_beat:
            with suppress(Exception):  # what is done along must not stop the heart
                every_beat()


_HEART = _Heart()


def ask_to_stop(folder: Path) -> None:
    """Ask whoever holds the lease of a folder to keep what it has and stop."""
    _path(folder, newest_epoch(folder)).with_suffix(".stop").touch()


def refuse_held(folder: Path) -> None:
    """Raise `Held` while a living process other than this one holds the folder's lease."""
    holder = read_holder(folder)
    if holder is not None and holder["alive"] and not _is_this_process(holder):
        raise Held(
            f"process {holder.get('pid', '?')} on {holder.get('host', '?')} is writing to {folder}: "
            "wait for it, or end it, then give the same command again."
        )


def wait_for_lapse(folder: Path, *, seconds: float = float("inf")) -> None:
    """Wait while another living process holds the lease, for `seconds` at most."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            return refuse_held(folder)
        except Held:
            time.sleep(0.5)


def newest_epoch(folder: Path) -> int:
    """The highest epoch ever claimed, 0 for none."""
    epochs = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()]
    return max(epochs, default=0)


def read_holder(folder: Path) -> dict[str, Any] | None:
    """The newest lease's host and pid, and whether that process still lives; None where nobody holds it."""
    for _ in range(3):  # it may be replaced between the look and the reading
        epoch = newest_epoch(folder)
        path = _path(folder, epoch)
        try:
            age = time.time() - path.stat().st_mtime
            text = path.read_text(errors="replace")
            break
        except OSError:
            continue
    else:
        return None
    try:
        holder = dict(json.loads(text))
    except (ValueError, TypeError):
        holder = {"epoch": epoch}  # unreadable: judge by its age alone
    if "released" in holder:
        return None
    here = holder.get("host") == socket.gethostname()
    return {**holder, "alive": _lives(holder) if here else age < LAPSE}


def is_held_here(folder: Path) -> bool:
    """Whether this process holds the lease of a folder."""
    holder = read_holder(folder)
    return holder is not None and _is_this_process(holder)


def is_alive(folder: Path) -> bool:
    """Whether a living process writes to the folder."""
    holder = read_holder(folder)
    return holder is not None and bool(holder["alive"])


@contextmanager
def exit_when_lapsed(folder: Path, epoch: int) -> Iterator[None]:
    """While the block runs, end this process once its driver's lease, of this epoch, has lapsed or been taken over."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):  # a storage that fails for a moment
                if newest_epoch(folder) != epoch or not is_alive(folder):
                    os._exit(3)

    threading.Thread(target=watch, name=f"driver {folder}", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:08d}.json"


def _lives(holder: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(int(holder["pid"]))
        same = abs(process.create_time() - float(holder["started"])) < 1
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
    except psutil.AccessDenied:
        return True


def _is_this_process(holder: dict[str, Any]) -> bool:
    return bool(holder.get("pid") == os.getpid() and holder.get("host") == socket.gethostname())


def _started() -> float:
    return float(psutil.Process().create_time())
