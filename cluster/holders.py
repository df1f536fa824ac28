"""Who holds a lease, and whether that process lives, judged without trusting names or clocks.

One of this place (the same boot of the same machine, the same namespace of process ids) lives while its process does.
Of any other only silence counts: it is dead when its file has not changed during twenty seconds of the reader's own
watching.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cluster import copies
from cluster.bucket import BucketFailed
from cluster.files import Damaged, unsealed
from cluster.processes import Holder, is_gone, is_here, started

LAPSE = 20.0
"""Seconds of silence after which a holder of another place is dead."""
GLANCE = 5.0
"""Seconds of silence after which a mere look takes a holder of another place for dead."""


def newest_epoch(folder: Path) -> int:
    """The highest epoch ever claimed, 0 for none."""
    with suppress(BucketFailed):  # then it is the highest known
        copies.look(folder)
    epochs = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()]
    return max(epochs, default=0)


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
    """Whether a lease is somebody's: it was neither released nor left behind by a process that could not do more."""
    return bool(holder) and "released" not in holder and "left" not in holder


def lives(folder: Path, epoch: int, holder: Holder) -> bool:
    """Whether a holder lives, as far as this process has seen."""
    if is_here(holder):
        began = started(holder["pid"])
        if began is not None or is_gone(holder["pid"]):
            return began == holder["started"]
    if not copies.answers(folder):
        return True  # a bucket that does not answer is not a silent holder
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


def lease_path(folder: Path, epoch: int) -> Path:
    """The file of an epoch."""
    return folder / f"{epoch:08d}.json"
