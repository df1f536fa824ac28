"""The mirror's process: one per storage, there as long as something runs or is not yet shown."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from cluster.copies import MARK
from cluster.directory import has_writer
from cluster.files import StorageFailed, write_json
from cluster.lease import Fenced, Held, Lease, is_alive
from cluster.mirror import CURSOR, WAITING, in_a_line, mirror_folder, state_of
from cluster.storage import open_storage, run_folders, sweep_folders
from genlib import InputError

LOOK, LINGER, LONGEST_WAIT, PATIENCE, AWAY = 0.5, 10.0, 30.0, 3_600.0, 120.0
"""Seconds between looks; how long it stays when all is shown; the longest pause while MLflow does not answer; how long
it tries when nothing runs any more, and how long where the storage is not there: after that the next command, or
`experiments/mirror.py`, takes it up again."""


def mirror_until_done(storage: Path, *, again: bool = False, own: Sequence[str] = (), stays: bool = False) -> None:
    """Bring MLflow up to date until nothing lives and nothing is left to show.

    Arguments:
        again: take over from a process that is alive, and begin from nothing.
        own: places of users' own studies, whose models are then exported too; take over from a process without them.
        stays: as a service does: wait for what comes next, and for another mirror to end.
    """
    folder = mirror_folder(storage)
    known = [place for place in own if _is_found(place)]
    force = again or not set(known) <= set(state_of(folder).get("own", ()))
    while True:
        try:
            lease = Lease.claim(folder / "lease", anyhow=force)
        except (Held, StorageFailed) as error:
            if stays:
                time.sleep(LINGER)
                continue
            if isinstance(error, Held):
                return
            raise
        if again:
            (folder / CURSOR).unlink(missing_ok=True)
        again = force = False
        lease.keep()
        try:
            _work(storage, lease, known, stays=stays)
        except Fenced:
            if not stays:
                raise
        finally:
            lease.release()
        # A run that began just now saw this process alive and started none: look once more.
        if not stays and not something_lives(storage):
            return


def mirror_for_ever(storage: Path, *, again: bool = False, own: Sequence[str] = ()) -> None:
    """Mirror in this process, as a service does, until a signal ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the lease is released on the way
    mirror_until_done(open_storage(storage), again=again, own=own, stays=True)


def pause(seconds: float, error: str, wait: float) -> float:
    """How long to rest after a pass of `seconds`: at most a fifth of the time is spent looking; longer after errors."""
    return min(2 * wait, LONGEST_WAIT) if error else max(LOOK, 4 * seconds)


def something_lives(storage: Path) -> bool:
    """Whether a run or a sweep has a living writer."""
    return any(map(has_writer, run_folders(storage))) or any(
        is_alive(path / "lease") for path in sweep_folders(storage)
    )


def _work(storage: Path, lease: Lease, own: Sequence[str], *, stays: bool) -> None:
    from cluster.mirror.bring import Mirror

    mirror: Mirror | None = None
    quiet, wait = time.monotonic(), LOOK
    while True:
        began, asked = time.time(), _asked(storage)
        error, changed = "", False
        try:
            lease.check()
            mirror = mirror or Mirror(storage)
            changed = mirror.bring_everything(lease.check)
            error = mirror.error
        except Fenced:
            raise
        except Exception as failure:  # whatever MLflow, the network or a disk says: training must not notice
            error = in_a_line(failure)
            sys.stderr.write(f"{time.ctime()} {error}\n{traceback.format_exc() if wait == LOOK else ''}")
            sys.stderr.flush()
        if error:
            mirror = None  # what it remembers may be wrong
        lives, there = False, _is_there(storage)
        try:
            state = {"began": began, "ended": time.time(), "error": error, "own": list(own), "epoch": lease.epoch}
            lease.check()
            if there:  # else it is not to come back by this
                write_json(mirror_folder(storage) / "state.json", state)
                lives = something_lives(storage)
        except (OSError, StorageFailed) as failure:  # a full disk, a storage that is away: it may come back
            error = error or str(failure)
        if changed or lives:
            quiet = time.monotonic()
        patience = (PATIENCE if there else AWAY) if error else LINGER
        if not stays and time.monotonic() - quiet > patience:
            return
        wait = pause(time.time() - began, error, wait)
        until = time.monotonic() + wait
        while time.monotonic() < until and _asked(storage) == asked:
            time.sleep(min(LOOK, wait))


def _is_there(storage: Path) -> bool:
    """Whether a storage can be seen: it may have been deleted, or be away."""
    try:
        return (storage / MARK).exists()
    except OSError:
        return False


def _asked(storage: Path) -> int:
    """When somebody last began to wait for a pass."""
    try:
        return (mirror_folder(storage) / WAITING).stat().st_mtime_ns
    except OSError:
        return 0


def _is_found(place: str) -> bool:
    """Whether an own study is where it was said to be; its runs are shown without it too, but for the model."""
    from genlib import find_study

    try:
        find_study(place)
    except InputError as error:
        sys.stderr.write(f"{time.ctime()} {error}\n")
        return False
    return True
