"""One pass over a storage: what is new in its directories is shown in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster import refreshing
from cluster.copies import MARK
from cluster.files import Damaged, read_json
from cluster.mirror import CURSOR, in_a_line, mirror_folder, tracking_uri
from cluster.mirror.cursor import Cursor
from cluster.mirror.runs import RunMirror
from cluster.mirror.store import Store
from cluster.mirror.sweeps import SweepMirror
from cluster.storage import run_folders, sweep_folders
from genlib import InputError
from genlib.own import adopted

GIVE_UP = 3
"""Failed folders after which a pass is given up."""
SAVE = 1.0
"""Seconds between writings of the cursor in a pass: after a crash, what was shown in them is shown again."""


class Mirror:
    """MLflow's picture of one storage."""

    def __init__(self, storage: Path) -> None:
        mark = read_json(storage / MARK)["id"]  # before the store, which makes the folder of its file
        uri = tracking_uri(storage)
        artifacts = (storage / "artifacts").as_uri() if not uri.startswith("http") else None
        self.storage, self.store = storage, Store(uri, artifacts)
        self.error = ""
        self._failures = 0
        self._check: Callable[[], None] = lambda: None
        self.cursor = Cursor(mirror_folder(storage) / CURSOR)
        self.cursor.forget_all_but(
            {run for name in self.cursor.experiments() for run in self.store.keys(name).values()}
        )
        for entry in self.cursor.runs.values() if adopted() else ():
            if not entry.model:
                entry.settled = []  # the study may be one that this process knows and an earlier one did not
        self.runs = RunMirror(storage, mark, self.store, self.cursor)
        self.sweeps = SweepMirror(mark, self.store, self.cursor)

    def bring_everything(self, check: Callable[[], None] = lambda: None) -> bool:
        """Show what is new; True where anything was.

        Arguments:
            check: raises where another mirror does the work; asked before every folder.
        """
        self._check = check
        refreshing.refresh(self.storage)
        read_json(self.storage / MARK)  # a storage that is not mounted is not an empty one
        self.error, self._failures = "", 0
        changed = self._drop_what_was_deleted()
        try:
            for folder in sweep_folders(self.storage):
                changed |= self._guarded(self.sweeps.begin, folder)
            for folder in run_folders(self.storage):
                changed |= self._guarded(self.runs.bring, folder)
            for folder in sweep_folders(self.storage):
                changed |= self._guarded(self.sweeps.end, folder)
        finally:
            if changed:
                self.cursor.save()
        return changed

    def _drop_what_was_deleted(self) -> bool:
        """Delete the MLflow runs of directories that are gone (MLflow can restore them)."""
        gone = [place for place in (*self.cursor.sweeps, *self.cursor.runs) if not (self.storage / place).exists()]
        for place in gone:
            mirror: RunMirror | SweepMirror = self.sweeps if place in self.cursor.sweeps else self.runs
            if self._is_aside(place):
                mirror.retire(place)  # begun anew
                continue
            entry = self.cursor.sweeps.pop(place, None) or self.cursor.runs.pop(place)
            for run in entry.runs():
                self.store.delete(run)
        return bool(gone)

    def _is_aside(self, place: str) -> bool:
        """Whether a folder was moved out of the way, by itself or with the sweep that it is of."""
        sweep, _, key = place.rpartition("/")
        aside, moved = self.storage / ".aside", f"aside-{key}-*"
        return bool([*aside.glob(moved), *(aside.glob(f"aside-{sweep}-*/{key}") if sweep else ())])

    def _guarded(self, bring: Callable[[Path], bool], folder: Path) -> bool:
        """Bring one folder; a damaged or foreign one stops no other."""
        self._check()
        try:
            changed = bring(folder)
        except (Damaged, InputError):  # the next command on it mends it, or says what it is
            return False
        except FileNotFoundError as error:
            if not str(error.filename).startswith(str(folder)):
                self._count(error)
            return False  # being moved aside, or half made
        except Exception as error:
            self._count(error)
            return False
        if changed:
            self.cursor.save(every=SAVE)
        return changed

    def _count(self, error: Exception) -> None:
        """Count a failed folder: one stops no other, but where MLflow is away, trying every folder takes for ever."""
        self.error = self.error or in_a_line(error)
        self._failures += 1
        if self._failures == GIVE_UP:
            raise error
