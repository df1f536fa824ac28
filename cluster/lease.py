"""Who writes here: one process at a time, known by an epoch that only rises.

    lease/00000003.json    epoch 3: who holds it, and for which driver; touching the file is the heartbeat

A lease is claimed by creating the file of the next epoch, which only one process can do. Its holder touches its own
file every two seconds; one that finds a newer epoch than its own, or its own file gone, has been fenced and must not
write any more.

Whether a holder lives is judged in `cluster.holders`. A living one can be robbed by its driver alone: leases carry the
epochs of the drivers they were claimed for, and an older driver than the newest one gets nothing.

A fenced holder that slept right between its last look and a write may still do that one write: a line of its own part
of a journal, which readers cut at the next one's beginning; a checkpoint or an evaluation, which hold what the next one
computes too; a result or a record, which the next one writes again when it ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cluster import carrying, copies
from cluster.files import StorageFailed, create, sealed, storage_failures
from cluster.holders import (
    GLANCE,
    LAPSE,
    beats,
    holds,
    last_holder,
    lease_path,
    lives,
    newest_epoch,
)
from cluster.processes import Holder, is_here, is_this_process, this_process
from genlib import InputError

BEAT = 2.0
"""Seconds between heartbeats."""
LOOK = 0.2
"""Seconds between looks whether the holder is asked to stop."""

Drivers = Mapping[str, int]
"""For whom a lease is claimed: the epochs of its drivers, by what they drive."""


class Held(InputError):
    """Another process writes here."""


class Fenced(RuntimeError):
    """Another process has taken over: whatever this one still writes would be wrong."""


class Lease:
    """The right to write in a folder."""

    def __init__(self, folder: Path, epoch: int, drivers: Drivers, seen: Drivers) -> None:
        self.folder, self.epoch, self.drivers = folder, epoch, dict(drivers)
        self.seen = {**seen, **drivers}
        self.path, self.name = lease_path(folder, epoch), uuid.uuid4().hex[:12]
        self._tag, self._lost = "", False
        self._asked, self._looked = False, 0.0

    @classmethod
    def claim(cls, folder: Path, *, drivers: Drivers | None = None, force: bool = False, anyhow: bool = False) -> Lease:
        """Take the lease of a folder; raises `Held` while another living process has it.

        Arguments:
            drivers: for whom; raises `Fenced` where it was last claimed for a newer one of them.
            force: take it from a living process too, where that one claimed it for the same or an older driver.
            anyhow: take it from a living process whoever that is.
        """
        drivers, unit = drivers or {}, carrying.unit_of(folder)
        if unit and not anyhow and not force:
            refuse_held(folder)  # it may take a while, which others need not wait for
        with storage_failures(folder), carrying.locked(unit) if unit else nullcontext():
            copies.look(folder, within=0)
            newest, last = last_holder(folder)
            seen = last.get("seen") or {}
            if any(seen.get(name, 0) > epoch for name, epoch in drivers.items()):
                raise Fenced(f"a newer driver has taken over {folder}: this one stops without writing any more.")
            if newest and not anyhow and not (force and drivers.keys() & (last.get("drivers") or {}).keys()):
                refuse_held(folder)
            lease = cls(folder, newest + 1, drivers, seen)
            if unit:
                is_truth = carrying.is_truth(unit, last)
                carrying.note_held(unit, last.get("claim", "") if is_truth else "", lease.name if is_truth else "")
            if not lease._take() or newest_epoch(folder) != lease.epoch:
                raise Held(f"another process has just begun to write to {folder}: give the same command again later.")
            before = [lease_path(folder, old) for old in range(max(1, newest - 8), lease.epoch)]
            for path in (before := [*before, *(path.with_suffix(".stop") for path in before)]):
                path.unlink(missing_ok=True)
            if unit:
                _HEART.add(_Beating(lease, None, None))  # what is to be fetched may be large
                try:
                    copies.forget(before)
                    if not is_truth:
                        carrying.fetch(unit)
                    carrying.note_held(unit, lease.name)
                except BaseException:
                    _HEART.remove(lease)
                    lease._let_go()
                    raise
        return lease

    def _take(self) -> bool:
        """Make the file of the lease's epoch; False where another process has it."""
        content = self._content()
        if not copies.is_copy(self.path):
            return create(self.path, content)
        tag = copies.claim(self.path, content)
        if tag is None:
            return False
        self._tag = tag
        copies.write(self.path, content)
        return True

    def _holder(self) -> dict[str, Any]:
        """What the file says: who holds it, for which drivers, and the newest drivers that anybody has held it for."""
        known = {"epoch": self.epoch, "drivers": self.drivers, "seen": self.seen, "claim": self.name}
        return known | this_process()

    def _content(self) -> bytes:
        return sealed(self._holder()).encode()

    def check_there(self) -> None:
        """`check`, after a look at the bucket that is some seconds old at most."""
        copies.look(self.folder)
        self.check()

    def check(self) -> None:
        """Raise `Fenced` where another process has taken over, `StorageFailed` where the folder is away."""
        if self._is_taken():
            where = copies.shown(self.folder)
            raise Fenced(f"another process has taken over {where}: this one stops without writing any more.")

    def beat(self) -> None:
        """Tell others that the holder lives; raises `Fenced`, or where the storage is away `OSError`."""
        self.check()
        os.utime(self.path)
        if copies.is_copy(self.path):
            self._lost = self._lost or not self._put(self._content())
            self.check_there()

    def _put(self, content: bytes) -> bool:
        """Put the lease's object in its place; False where it is not there any more."""
        tag = copies.beat(self.path, self._content(), content, self._tag)
        self._tag = tag or self._tag
        return tag is not None

    def _is_taken(self) -> bool:
        if self._lost:
            return True
        try:
            with open(self.path, "rb"):  # opening asks the server, where a look may be answered by a cache
                if copies.is_copy(self.folder):
                    return any(int(path.stem) > self.epoch for path in self.folder.glob("[0-9]*.json"))
                return lease_path(self.folder, self.epoch + 1).exists()
        except FileNotFoundError:
            if self.folder.is_dir() and not self.path.exists():  # it may have come back between the two looks
                return True
            raise StorageFailed(
                f"{self.folder} is not there: if its storage is away, bring it back and give the same command again."
            ) from None
        except OSError as error:
            raise StorageFailed(f"the storage does not answer at {self.folder} ({error.strerror}).") from error

    def is_asked_to_stop(self) -> bool:
        """Whether somebody has asked the holder to stop; looked up now and then, so it costs nothing to ask."""
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._asked = self.path.with_suffix(".stop").exists()
        return self._asked

    def keep(self, every_beat: Callable[[], None] | None = None, *, fenced: Callable[[], None] | None = None) -> None:
        """Keep the heart beating, in a thread, until `release`.

        Arguments:
            every_beat: called at each beat.
            fenced: called once another process has taken over.
        """
        _HEART.add(_Beating(self, every_beat, fenced))
        if unit := carrying.unit_of(self.folder):
            carrying.CARRIER.add(unit, self.check_there)

    def release(self) -> None:
        """Stop the heart and say that nobody writes here any more; the epoch stays used.

        What is to go to a bucket is there before; raises `StorageFailed` where it does not get there.
        """
        if unit := carrying.unit_of(self.folder):
            self._carry_the_rest(unit)
        _HEART.remove(self)
        self._let_go()

    def _let_go(self) -> None:
        """Say that nobody writes here any more, in the bucket too where it answers: else silence says it there."""
        content = sealed({**self._holder(), "released": time.time()})
        with suppress(StorageFailed):  # then it lapses by itself when this process ends, as it does on a full disk
            if self._is_taken():
                return
            with suppress(OSError):
                if copies.is_copy(self.path) and not self._put(content.encode()):
                    self._lost = True
                    return
            self._replace(content)

    def _replace(self, content: str) -> None:
        aside = self.path.with_suffix(".released")
        try:
            aside.write_text(content)
            os.replace(aside, self.path)
        except OSError:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def _carry_the_rest(self, unit: Path) -> None:
        """Bring to the bucket what is left; where it does not answer, this machine stays ahead of it."""
        carrying.CARRIER.remove(unit)
        if not unit.exists():
            return
        try:
            carrying.carry_all(unit, self.check_there)
        except Fenced:
            return
        except (OSError, StorageFailed) as error:
            _HEART.remove(self)
            if not self._lost:
                self._replace(sealed({**self._holder(), "left": time.time()}))
            if isinstance(error, StorageFailed):
                raise
            raise StorageFailed(f"{unit} could not be brought to its bucket ({error.strerror}).") from error


class _Beating(NamedTuple):
    lease: Lease
    every_beat: Callable[[], None] | None
    fenced: Callable[[], None] | None


class _Heart:
    """One thread that touches the files of all leases that this process keeps."""

    def __init__(self) -> None:
        self._beating: dict[Lease, _Beating] = {}
        self._lock, self._busy = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, beating: _Beating) -> None:
        """Touch a lease's file at every beat."""
        with self._lock:
            self._beating[beating.lease] = beating
            if self._thread is None or not self._thread.is_alive():  # nor is it after a fork
                self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
                self._thread.start()

    def remove(self, lease: Lease) -> None:
        """Touch its file no more: once this returns, it is not touched."""
        with self._lock:
            self._beating.pop(lease, None)
        with self._busy:
            pass

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._busy:
                with self._lock:
                    beating = list(self._beating.values())
                taken = [one for one, beats in zip(beating, self._beat_all(beating), strict=True) if not beats]
            with self._lock:
                for one in taken:
                    self._beating.pop(one.lease, None)
                ends = not self._beating
                if ends:
                    self._thread = None
            for one in taken:
                if one.fenced:
                    one.fenced()
            if ends:
                return

    def _beat_all(self, beating: Sequence[_Beating]) -> list[bool]:
        """Beat for each; several at the same time where a bucket has to be asked."""
        if len(beating) == 1 or not any(copies.is_copy(one.lease.folder) for one in beating):
            return list(map(self._beat, beating))
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self._beat, beating))

    def _beat(self, one: _Beating) -> bool:
        """Beat once; False where the lease has been taken. A storage that is away may come back."""
        if one.lease not in self._beating:
            return True  # let go since
        try:
            one.lease.beat()
        except Fenced:
            return False
        except (OSError, StorageFailed):
            return True
        if one.every_beat:
            with suppress(Exception):  # what is done along must not stop the heart
                one.every_beat()
        return True


_HEART = _Heart()


def ask_to_stop(folder: Path) -> None:
    """Ask whoever holds the lease of a folder to keep what it has and stop."""
    asked = lease_path(folder, newest_epoch(folder)).with_suffix(".stop")
    asked.touch()
    with suppress(OSError):
        copies.share(asked)


def refuse_held(*folders: Path) -> None:
    """Raise `Held` while a living process other than this one holds one of these; those of other places are watched."""
    began, said = time.monotonic(), False
    while held := _held_by_others(folders):
        for folder, holder in held.items():
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
            if is_here(holder) or beats(folder):
                where = copies.shown(folder)
                raise Held(f"{who} is writing to {where}: wait for it, or end it, then give the same command again.")
            if not said and time.monotonic() - began > GLANCE:
                said = True
                sys.stderr.write(
                    f"{who} was writing to {folder}: watching for {LAPSE:.0f} seconds whether it still does.\n"
                )
        time.sleep(LOOK)


def wait_for_lapse(*folders: Path, seconds: float = float("inf")) -> None:
    """Wait while another living process holds one of these leases, for `seconds` at most."""
    until = time.monotonic() + seconds
    while _held_by_others(folders) and time.monotonic() < until:
        time.sleep(LOOK)


def read_holder(folder: Path) -> dict[str, Any] | None:
    """What the newest lease says of its holder; None where nobody holds it."""
    _, holder = last_holder(folder)
    return holder if holds(holder) else None


def is_held_here(folder: Path) -> bool:
    """Whether this process holds the lease of a folder."""
    holder = read_holder(folder)
    return holder is not None and is_this_process(holder)


def is_alive(folder: Path, *, here: bool = False) -> bool:
    """Whether a living process writes to the folder. One of another place counts as alive until its silence is sure.

    Arguments:
        here: count those of this place alone.
    """
    epoch, holder = last_holder(folder)
    return holds(holder) and (is_here(holder) or not here) and lives(folder, epoch, holder)


def are_silent(folders: Collection[Path], *, seconds: float = GLANCE) -> set[Path]:
    """Which folders' holders are dead, after a look: those of other places are watched together for some seconds."""
    began = time.monotonic()
    alive = {folder for folder in folders if is_alive(folder)}
    left = {folder for folder in alive if not is_here(read_holder(folder) or {})}
    while left and time.monotonic() - began < seconds:
        time.sleep(LOOK)
        left = {folder for folder in left if is_alive(folder) and not beats(folder)}
    return {folder for folder in folders if folder in left or folder not in alive or not is_alive(folder)}


@contextmanager
def exit_when_lapsed(folder: Path, epoch: int) -> Iterator[None]:
    """While the block runs, end this process once its driver's lease, of this epoch, has lapsed or been taken over."""
    ended, answered = threading.Event(), time.monotonic()

    def look() -> None:
        nonlocal answered
        try:
            newest, alive = newest_epoch(folder), is_alive(folder)
        except OSError:
            newest, alive = 0, False
        if newest >= epoch:  # else it is the listing of a cache, or of a storage that is away
            answered = time.monotonic()
            if newest > epoch or not alive:
                os._exit(3)
        elif time.monotonic() - answered > LAPSE:  # a storage that is away for a moment comes back
            os._exit(3)

    def watch() -> None:
        while not ended.wait(BEAT):
            look()

    look()
    threading.Thread(target=watch, name=f"driver {folder}", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def leave_at_once(folder: Path) -> Callable[[], None]:
    """What a driver does that finds itself taken over: it says so and ends, and what it drives ends by itself."""

    def leave() -> None:
        sys.stderr.write(f"\nanother process has taken over {folder}: this one has ended without writing any more.\n")
        sys.stderr.flush()
        os._exit(1)

    return leave


def _held_by_others(folders: Collection[Path]) -> dict[Path, Holder]:
    """The holders of these leases that live and are not this process."""
    found: dict[Path, Holder] = {}
    for folder in folders:
        epoch, holder = last_holder(folder)
        if holds(holder) and not is_this_process(holder) and lives(folder, epoch, holder):
            found[folder] = holder
    return found
