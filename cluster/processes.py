"""A process, as others know it: its place (the boot of its machine, the namespace of its process ids), its id there,
and when it started. Hostnames and ids alone are of no use: two containers may have the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

Holder = Mapping[str, Any]
"""What a lease says of its holder; nothing where nobody ever held it."""


def this_process() -> dict[str, Any]:
    """What a lease says of this process."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "started": started(os.getpid())}


def is_here(holder: Holder) -> bool:
    """Whether a holder's process id means something here."""
    return _place() is not None and holder.get("place") == _place()


def is_this_process(holder: Holder) -> bool:
    """Whether a lease is held by this very process."""
    return is_here(holder) and holder["pid"] == os.getpid() and holder["started"] == started(os.getpid())


@cache
def _place() -> str | None:
    """The boot of this machine and the namespace of its process ids; None where that cannot be told."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return None if Path("/proc").exists() else f"{socket.gethostname()} {psutil.boot_time():.0f}"  # macOS


def started(pid: int) -> float | None:
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


def is_gone(pid: int) -> bool:
    """Whether there is no such process. One that others may not look at is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
