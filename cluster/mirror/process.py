"""The mirror's process: one per storage, there as long as something runs or is not yet shown."""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from cluster.files import write_json
from cluster.lease import Held, Lease, is_alive
from cluster.mirror import FOLDER
from cluster.storage import run_folders, sweep_folders

LOOK, LINGER, LONGEST_WAIT, PATIENCE = 0.5, 10.0, 30.0, 3_600.0
"""Seconds between looks; how long it stays when all is shown; the longest pause while MLflow does not answer; and how
long it tries when nothing runs any more: after that the next command, or `experiments/mirror.py`, takes it up again."""


def mirror_until_done(storage: Path) -> None:
    """Bring MLflow up to date until nothing lives and nothing is left to show."""
    while True:
        try:
            lease = Lease.claim(storage / FOLDER / "lease")
        except Held:
            return
        lease.keep()
        try:
            _work(storage, lease)
        finally:
            lease.release()
        # A run that began just now saw this process alive and started none: look once more.
        if not something_lives(storage):
            return


def something_lives(storage: Path) -> bool:
    """Whether a run or a sweep has a living writer."""
    return any(is_alive(path / "lease") for folders in (run_folders, sweep_folders) for path in folders(storage))


def _work(storage: Path, lease: Lease) -> None:
    from cluster.mirror.bring import Mirror

    os.nice(15)
    mirror: Mirror | None = None
    quiet, wait = time.monotonic(), LOOK
    while True:
        lease.check()
        began = time.time()
        error, changed = "", False
        try:
            mirror = mirror or Mirror(storage)
            changed = mirror.bring_everything()
        except Exception as failure:  # whatever MLflow, the network or a disk says: training must not notice
            error = f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"[:300]
            sys.stderr.write(f"{time.ctime()} {error}\n{traceback.format_exc() if wait == LOOK else ''}")
            sys.stderr.flush()
            mirror = None
        write_json(storage / FOLDER / "state.json", {"began": began, "ended": time.time(), "error": error})
        lives = something_lives(storage)
        if changed or lives:
            quiet = time.monotonic()
        if time.monotonic() - quiet > (PATIENCE if error else LINGER):
            return
        wait = min(2 * wait, LONGEST_WAIT) if error else LOOK
        time.sleep(wait)
