"""Who holds a lease, and whether that process lives, judged without trusting names or clocks.

One of this place (the same boot of the same machine, the same namespace of process ids) lives while its process does.
Of any other only silence counts: it is dead when its file has not changed during twenty seconds of the reader's own
watching.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cluster.files import Damaged, unsealed

LAPSE = 20.0
"""Seconds of silence after which a holder of another place is dead."""
GLANCE = 5.0
"""Seconds of silence after which a mere look takes a holder of another place for dead."""
Holder = Mapping[str, Any]
"""What a lease says of its holder; nothing where nobody ever held it."""


def newest_epoch(folder: Path) -> int:
    """The highest epoch ever claimed, 0 for none."""
    epochs = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()]
    return max(epochs, default=0)


def this_process() -> dict[str, Any]:
    """What a lease says of this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "started": _started(os.getpid())}


class _Watched(NamedTuple):
    """A holder of another place, as this process sees it."""

    sign: tuple[int, ...]
    """What changes with every heartbeat."""
    looked: float
    """When it was last looked at, by this process's own clock."""
    silence: float = 0.0
    """Seconds of watching without a change: who looks seldom, or slept, knows little of the time between."""
    beats: bool = False
    """Whether the sign has changed under this process's eyes."""


_WATCHED: dict[Path, _Watched] = {}


def last_holder(folder: Path) -> tuple[int, dict[str, Any]]:
    """The newest epoch and what its file says; nothing where there is none."""
    epoch = 0
    for _ in range(3):  # it may be replaced between the look and the reading
        epoch = newest_epoch(folder)
        if not epoch:
            return 0, {}
        with suppress(FileNotFoundError):
            try:
                return epoch, unsealed(lease_path(folder, epoch).read_text(errors="replace"))
            except Damaged:  # or of a genlib before 0.8.0: only silence counts
                break
    return epoch, {"epoch": epoch}


def holds(holder: Holder) -> bool:
    """Whether a lease is somebody's."""
    return bool(holder) and "released" not in holder


def lives(folder: Path, epoch: int, holder: Holder) -> bool:
    """Whether a holder lives, as far as this process has seen."""
    if is_here(holder):
        started = _started(holder["pid"])
        if started is not None or _is_gone(holder["pid"]):
            return started == holder["started"]
    try:
        with open(
            lease_path(folder, epoch), "rb"
        ) as file:  # opening asks the server, where a look may be answered by a cache
            stat = os.fstat(file.fileno())
    except FileNotFoundError:
        return False  # taken over or gone, at this moment
    sign, now, before = (epoch, stat.st_mtime_ns, stat.st_ino), time.monotonic(), _WATCHED.get(folder)
    if before is None or before.sign != sign:
        _WATCHED[folder] = _Watched(sign, now, beats=before is not None and before.sign[0] == epoch)
        return True
    silence = before.silence + min(now - before.looked, GLANCE)
    _WATCHED[folder] = before._replace(looked=now, silence=silence)
    return silence <= LAPSE


def beats(folder: Path) -> bool:
    """Whether this process has seen the heart of a holder of another place beat."""
    return folder in _WATCHED and _WATCHED[folder].beats


def is_here(holder: Holder) -> bool:
    """Whether a holder's process id means something here."""
    return _place() is not None and holder.get("place") == _place()


def is_this_process(holder: Holder) -> bool:
    """Whether a lease is held by this very process."""
    return is_here(holder) and holder["pid"] == os.getpid() and holder["started"] == _started(os.getpid())


@cache
def _place() -> str | None:
    """The boot of this machine and the namespace of its process ids; None where that cannot be told."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return None if Path("/proc").exists() else f"{socket.gethostname()} {psutil.boot_time():.0f}"  # macOS


def _started(pid: int) -> float | None:
    """When a process started, by a clock that nobody sets; -1 of a corpse; None where it cannot be told."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1.0 if words[0] in "ZX" else float(words[19])
    except (OSError, IndexError, ValueError):
        if Path("/proc/self").exists():
            return None
    try:  # macOS
        process = psutil.Process(pid)
        return -1.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def _is_gone(pid: int) -> bool:
    """Whether there is no such process. One that others may not look at is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def lease_path(folder: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return folder / f"{epoch:08d}.json"
