"""How the copy of a storage and its bucket come to hold the same, a unit at a time.

A unit is a folder with a lease of its own: a run, or a sweep without its runs. Who holds the lease carries the unit to
the bucket, every two seconds and before it lets go; everybody else fetches it from there. What a machine's own process
left behind when it was killed is ahead of the bucket: the next one here that takes the lease carries it; where another
machine takes it, the bucket counts, and at most the last seconds are computed again.

    <file>                      whole files, each replaced whole
    <file>.jsonl~000000004096   lines that were added to a file, from that byte on; put once, merged now and then
    <unit>/.carried.json        here alone: what the bucket held when both were last the same
    <unit>/.held.json           here alone: the last claim of a process here

Within a pass, lines go first and manifests and results last, so that a reader of the bucket finds nothing that points
to what is not there.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.bucket import CHUNK, BucketFailed, Object
from cluster.copies import (
    LEASE_FILE,
    is_copy,
    look,
    place_of,
    shown,
    write,
)
from cluster.files import Damaged, StorageFailed, unsealed

PAUSE = 2.0
"""Seconds between two passes."""
PATIENCE = 120.0
"""Seconds for which a bucket that does not answer is tried when a unit is let go."""
SEGMENTS = 100
"""Objects of one file's lines after which they are put as one."""
TELL = 60.0
"""Seconds after which it is said that nothing reaches the bucket."""
AT_ONCE = 8
"""Units that are carried or fetched at the same time."""
FRESH: dict[Path, float] = {}
"""When units were last listed, by this process's clock."""
STATE, CLAIMS, LOCK, LINES = ".carried.json", ".held.json", ".lock", ".jsonl"
INNER = ("lease", "driver", "study.json")
"""What a folder has that is a unit inside another one, or is about to be."""


@dataclass
class _State:
    """What the bucket held when a unit and its copy were last the same."""

    files: dict[str, list[object]] = field(default_factory=dict)
    """Tag, size and time of every whole file."""
    lines: dict[str, list[int]] = field(default_factory=dict)
    """Bytes, time and number of objects of every file of lines."""

    @classmethod
    def of(cls, unit: Path) -> _State:
        try:
            return cls(**json.loads((unit / STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return cls()

    def save(self, unit: Path) -> None:
        write(unit / STATE, json.dumps(vars(self)).encode())


def unit_of(lease: Path) -> Path | None:
    """The folder that the holder of a lease carries; None where there is nothing but the lease."""
    return lease.parent if is_copy(lease) and lease.name == "lease" else None


def is_carried(name: str) -> bool:
    """Whether a file of a unit is of the bucket too: no lease, nothing half made, set aside, or of this machine."""
    parts = name.split("/")
    if any(part.startswith((".", "aside-")) for part in parts):
        return name == ".began"
    if name == "log.txt":
        return False
    return not (len(parts) > 1 and parts[-2] in ("lease", "driver") and LEASE_FILE.fullmatch(parts[-1]))


def _rank(name: str) -> int:
    """When a file's turn is."""
    if name.endswith("result.json"):
        return 2
    return 1 if name.endswith("manifest.json") else 0


# -- what is here, and what is there -----------------------------------------------------------------------------------


def _here(unit: Path) -> dict[str, os.stat_result]:
    """The files of a unit here, without those of units inside it."""
    found: dict[str, os.stat_result] = {}

    def walk(folder: Path, under: str) -> None:
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(folder)):
                with suppress(FileNotFoundError):
                    name = under + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if is_carried(name) and not any(os.path.exists(f"{entry.path}/{mark}") for mark in INNER):
                            walk(Path(entry.path), f"{name}/")
                    elif is_carried(name):
                        found[name] = entry.stat()

    walk(unit, "")
    return found


class _There:
    """The objects of a unit: whole files, and files of lines by the bytes at which their objects begin."""

    def __init__(self, listed: Mapping[str, Object]) -> None:
        self.files: dict[str, Object] = {}
        self.lines: dict[str, dict[int, Object]] = defaultdict(dict)
        inner = {match[1] for name in listed if (match := re.match(r"(.+?/)(?:lease/|driver/|study\.json$)", name))}
        for name, one in listed.items():
            segment = re.fullmatch(r"(.+)~(\d{12})", name)
            file = segment[1] if segment else name
            if not is_carried(file) or any(name.startswith(folder) for folder in inner):
                continue
            if segment:
                self.lines[file][int(segment[2])] = one
            else:
                self.files[name] = one


def _segment(name: str, start: int) -> str:
    return f"{name}~{start:012d}"


# -- carrying ----------------------------------------------------------------------------------------------------------


def carry(unit: Path, check: Callable[[], None]) -> None:
    """Put into the bucket what is new here; who calls it holds the lease.

    Arguments:
        check: raises where this process may not write any more; asked before anything is replaced or deleted.
    """
    place = place_of(unit)
    assert place is not None
    bucket, state = place.bucket, _State.of(unit)
    before = json.dumps(vars(state))
    here = _here(unit)
    try:
        for name in here:
            if name.endswith(LINES):
                _carry_lines(unit, name, state, check)
        seen = {name: [stat.st_size, stat.st_mtime_ns] for name, stat in here.items() if not name.endswith(LINES)}
        changed = [name for name in seen if state.files.get(name, [])[1:] != seen[name]]

        def put(name: str) -> None:
            check()
            with suppress(FileNotFoundError):  # replaced or removed meanwhile: the next pass sees that
                content, key, known = (unit / name).read_bytes(), f"{place.key}/{name}", state.files.get(name)
                tag = None
                if len(content) < CHUNK:
                    tag = bucket.put_over(key, content, str(known[0])) if known else bucket.put_new(key, content)
                if tag is None:
                    check()
                    tag = bucket.put(key, content)
                state.files[name] = [tag, *seen[name]]

        for rank in range(3):
            _each(put, [name for name in changed if _rank(name) == rank])
        if gone := [name for name in state.files if name not in here]:
            check()
            bucket.delete(f"{place.key}/{name}" for name in gone)
            for name in gone:
                del state.files[name]
    finally:
        if json.dumps(vars(state)) != before:
            state.save(unit)


def _carry_lines(unit: Path, name: str, state: _State, check: Callable[[], None], *, merge: bool = False) -> None:
    place = place_of(unit)
    assert place is not None
    carried, _, count = state.lines.get(name, [0, 0, 0])
    with open(unit / name, "rb") as file:
        file.seek(carried)
        added = file.read()
    added = added[: added.rfind(b"\n") + 1]
    if added:
        check()
        key = f"{place.key}/{_segment(name, carried)}"
        if place.bucket.put_new(key, added) is None:  # carried before a crash that this machine does not remember
            check()
            place.bucket.put(key, added)
        carried, count = carried + len(added), count + 1
        state.lines[name] = [carried, (unit / name).stat().st_mtime_ns, count]
    if count > SEGMENTS or (merge and count > 1):
        check()
        with open(unit / name, "rb") as file:
            place.bucket.put(f"{place.key}/{_segment(name, 0)}", file.read(carried))
        listed = place.bucket.listed(place.key)
        others = [key for key in listed if key.startswith(f"{name}~") and key != _segment(name, 0)]
        place.bucket.delete(f"{place.key}/{key}" for key in others)
        state.lines[name][2] = 1


def _each(do: Callable[[str], None], names: list[str]) -> None:
    """Do something for every name, for some at the same time where there are several."""
    if len(names) < 3:
        for name in names:
            do(name)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(do, names))


def carry_all(unit: Path, check: Callable[[], None]) -> None:
    """Carry what is left before a unit is let go, for as long as it takes a bucket to answer again, within reason."""

    def carry_the_rest() -> None:
        carry(unit, check)
        state = _State.of(unit)
        for name, (_, _, count) in list(state.lines.items()):
            if count > 1:
                with suppress(FileNotFoundError):
                    _carry_lines(unit, name, state, check, merge=True)
        state.save(unit)

    left = f"so the end of {shown(unit)} is on this machine alone: give the same command again here when it does"
    patiently(carry_the_rest, left)


_GAVE_UP = [-1e9]


def patiently(do: Callable[[], Any], otherwise: str) -> None:
    """Do something with a bucket, again and again where it does not answer; raises `StorageFailed` in the end.

    Arguments:
        otherwise: what the sentence says besides.
    """
    until, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            do()
            return
        except BucketFailed as error:
            now = time.monotonic()
            if now > until or now - _GAVE_UP[0] < PATIENCE:  # others have waited for it
                _GAVE_UP[0] = now
                raise StorageFailed(f"{error.strerror}, {otherwise}.") from error
            if not told:
                told = True
                sys.stderr.write(f"{error.strerror}: trying again for {PATIENCE:.0f} seconds.\n")
            time.sleep(PAUSE)


# -- fetching ----------------------------------------------------------------------------------------------------------


def fetch(unit: Path, *, whole: bool = True) -> None:
    """Make a unit here what it is in the bucket; nobody here may hold it.

    Arguments:
        whole: with the checkpoints also of a run that has not ended.
    """
    place = place_of(unit)
    assert place is not None
    for _ in range(3):
        try:
            listed = place_of(unit, quick=True)
            _fetch(unit, _There(listed.bucket.listed(listed.key) if listed else {}), whole=whole)
            return
        except FileNotFoundError:  # replaced, merged or deleted since it was listed
            continue
    raise BucketFailed(f"{shown(unit)} changes faster than it can be fetched")


def _fetch(unit: Path, there: _There, *, whole: bool) -> None:
    place = place_of(unit)
    assert place is not None
    bucket, state, here = place.bucket, _State.of(unit), _here(unit)
    before = json.dumps(vars(state))
    whole = whole or "result.json" in there.files
    try:
        for name, starts in sorted(there.lines.items()):
            _fetch_lines(unit, name, starts, state, here.get(name))

        def get(name: str) -> None:
            stat, tag = here.get(name), there.files[name].tag
            if stat is None or state.files.get(name) != [tag, stat.st_size, stat.st_mtime_ns]:
                write(unit / name, bucket.get(f"{place.key}/{name}", there.files[name].size))
                stat = (unit / name).stat()
                state.files[name] = [tag, stat.st_size, stat.st_mtime_ns]

        wanted = [name for name in there.files if whole or not name.startswith("checkpoints/")]
        for rank in range(3):
            _each(get, [name for name in wanted if _rank(name) == rank])
        for name in here:
            if name not in there.files and name not in there.lines:
                (unit / name).unlink(missing_ok=True)
                with suppress(OSError):
                    (unit / name).parent.rmdir()
        state.files = {name: entry for name, entry in state.files.items() if name in there.files}
        state.lines = {name: entry for name, entry in state.lines.items() if name in there.lines}
    finally:
        if json.dumps(vars(state)) != before:
            state.save(unit)


def _fetch_lines(
    unit: Path, name: str, starts: Mapping[int, Object], state: _State, stat: os.stat_result | None
) -> None:
    place, path = place_of(unit), unit / name
    assert place is not None
    have, changed, _ = state.lines.get(name, [0, 0, 0])
    if stat is None or [stat.st_size, stat.st_mtime_ns] != [have, changed]:
        have = 0
        write(path, b"")
    for start, one in sorted(starts.items()):
        if start + one.size <= have:
            continue
        if start > have:
            raise FileNotFoundError(f"{name} lacks what stands before {start}")
        content = place.bucket.get(f"{place.key}/{_segment(name, start)}")[have - start :]
        with open(path, "ab") as file:
            file.write(content)
        have += len(content)
    state.lines[name] = [have, path.stat().st_mtime_ns, len(starts)]


@contextmanager
def locked(unit: Path) -> Iterator[None]:
    """Keep all other processes of this machine from taking or fetching a unit meanwhile."""
    unit.mkdir(parents=True, exist_ok=True)
    with open(unit / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_truth(unit: Path, last: Mapping[str, object]) -> bool:
    """Whether what is here counts, not what is in the bucket: the last lease is a claim of a process here that had
    begun to work and has not let the unit go.
    """
    try:
        held = json.loads((unit / CLAIMS).read_text())
    except (OSError, ValueError):
        return False
    return "released" not in last and last.get("claim") in {held["claim"], held["pending"]} - {""}


def is_ahead(unit: Path) -> bool:
    """Whether a process of this machine has not let a unit go, as far as leases are known here."""
    path = max((unit / "lease").glob("[0-9]*.json"), default=None)
    try:
        return path is not None and is_truth(unit, unsealed(path.read_text(errors="replace")))
    except (OSError, Damaged):
        return False


def note_held(unit: Path, claim: str, pending: str = "") -> None:
    """Note which claim a process of this machine holds the unit by, and one that it is about to take instead."""
    write(unit / CLAIMS, json.dumps({"claim": claim, "pending": pending}).encode())


def is_up_to_date(unit: Path, listed: Mapping[str, Object]) -> bool:
    """Whether a unit was last the same as what is listed now: then its files need not be looked at."""
    state, there = _State.of(unit), _There(listed)
    whole = "result.json" in there.files
    tags = {name: one.tag for name, one in there.files.items() if whole or not name.startswith("checkpoints/")}
    ends = {name: max(start + one.size for start, one in starts.items()) for name, starts in there.lines.items()}
    known = {name: entry[0] for name, entry in state.files.items() if name in tags}
    return tags == known and ends == {name: entry[0] for name, entry in state.lines.items()}


def settle(unit: Path, *, whole: bool = False, within: float = 0.0) -> None:
    """Fetch what other machines have written to a unit, unless it was listed within some seconds."""
    place, now = place_of(unit), time.monotonic()
    if place is None or now - FRESH.get(unit, -1e9) < within:
        return
    FRESH[unit] = now
    listed = place_of(unit / "lease", quick=True)
    if not (unit / "lease").is_dir() and not (listed and listed.bucket.listed(listed.key)):
        return  # it is no unit
    with locked(unit):
        look(unit / "lease", within=0)
        if not is_ahead(unit):
            fetch(unit, whole=whole)


def settle_patiently(unit: Path, *, whole: bool = False) -> None:
    """`settle`, where the bucket's answer is needed to go on; raises `StorageFailed`."""
    if is_copy(unit):
        patiently(lambda: settle(unit, whole=whole), f"so {shown(unit)} cannot be read: give the same command again")


# -- the thread --------------------------------------------------------------------------------------------------------


class _Carrier:
    """One thread that carries all units that this process holds."""

    def __init__(self) -> None:
        self._units: dict[Path, Callable[[], None]] = {}
        self._busy: dict[Path, threading.Lock] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failing: dict[Path, float] = {}
        self._told = -TELL

    def add(self, unit: Path, check: Callable[[], None]) -> None:
        """Carry a unit from now on."""
        with self._lock:
            self._units[unit] = check
            self._busy.setdefault(unit, threading.Lock())
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="carrier", daemon=True)
                self._thread.start()

    def remove(self, unit: Path) -> None:
        """Carry it no more: once this returns, nothing of it is on its way."""
        with self._lock:
            self._units.pop(unit, None)
            busy = self._busy.pop(unit, None)
        if busy:
            with busy:
                pass

    def now(self, unit: Path) -> None:
        """Carry a unit at once, and wait until it is there."""
        with self._lock:
            one = (unit, self._units[unit], self._busy[unit])

        def carry_now() -> None:
            with one[2]:
                one[1]()
                carry(*one[:2])

        patiently(carry_now, f"so others cannot find the state of {shown(unit)}")

    def _run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="carrier") as pool:
            while True:
                time.sleep(PAUSE)
                with self._lock:
                    units = [(unit, check, self._busy[unit]) for unit, check in self._units.items()]
                    if not units:
                        self._thread = None
                        return
                list(pool.map(self._carry, units))

    def _carry(self, one: tuple[Path, Callable[[], None], threading.Lock]) -> None:
        unit, check, busy = one
        with busy:
            if unit not in self._units:
                return
            try:
                check()
                carry(unit, check)
                self._failing.pop(unit, None)
            except Exception as error:  # a bucket that is away may come back; who was taken over finds out by itself
                since = self._failing.setdefault(unit, time.monotonic())
                if isinstance(error, OSError) and time.monotonic() - max(since, self._told) > TELL:
                    self._told = time.monotonic()
                    sys.stderr.write(f"nothing reaches {shown(unit)} ({error.strerror}): it is kept here meanwhile.\n")


CARRIER = _Carrier()
