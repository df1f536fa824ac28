"""Sweeps in MLflow: each a run that is the parent of its runs, with its table, its picture and its best setting."""

from __future__ import annotations

from pathlib import Path

from cluster.lease import is_alive
from cluster.mirror.cursor import Cursor, ShownSweep
from cluster.mirror.store import Row, Store
from cluster.sweep_record import NAME, SweepRecord, in_words, read_sweep, script_of


class SweepMirror:
    """Shows the folders of sweeps.

    Arguments:
        mark: the id that tells the storage from others.
    """

    def __init__(self, mark: str, store: Store, cursor: Cursor) -> None:
        self.mark, self.store, self.cursor = mark, store, cursor

    def begin(self, folder: Path) -> bool:
        """Make a sweep's run, before its children; True where it was not there."""
        sweep = read_sweep(folder)
        entry = self.cursor.sweeps.get(folder.name)
        if entry and entry.began != sweep.began:
            self.retire(folder.name)
        elif entry:
            return False
        experiment = sweep.experiment or sweep.study
        key = f"{self.mark}/{folder.name}"
        run = self.store.run(experiment, key, name=sweep.name, began=int(sweep.began * 1000))
        space = {f"space/{name}": " | ".join(values) for name, values in sweep.space.items()}
        self.store.params(run, {"metric": sweep.metric, **space})
        note = f"A sweep of `{sweep.study}` over {', '.join(sweep.space)}, compared by `{sweep.metric}`."
        self.store.tags(run, {"genlib.sweep": folder.name, "mlflow.note.content": sweep.note or note})
        if sweep.command:
            source = {"mlflow.source.name": script_of(sweep.command), "mlflow.source.type": "LOCAL"}
            self.store.tags(run, source | {"genlib.command": sweep.command})
        self.cursor.sweeps[folder.name] = ShownSweep(run, experiment, sweep.began)
        return True

    def end(self, folder: Path) -> bool:
        """Show a sweep's files and its status: KILLED where nobody drives an unfinished one. True where any was new."""
        entry, sweep = self.cursor.sweeps[folder.name], read_sweep(folder)
        status = sweep.status
        if status == "RUNNING" and not is_alive(folder / "lease"):
            status = "KILLED"
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]
        times = [path.stat().st_mtime_ns for path in files]
        if (entry.status, entry.times) == (status, times):
            return False
        if status == "RUNNING":
            self.store.status(entry.run, "RUNNING", None)
        else:
            for path in files:
                self.store.client.log_artifact(entry.run, str(path))
            ended = sweep.ended or (folder / NAME).stat().st_mtime
            if sweep.best:
                self.store.rows(entry.run, [Row(f"best/{sweep.metric}", sweep.best.value, int(ended * 1000), 0)])
                self.store.tags(entry.run, {"genlib.best": sweep.best.command})
            if sweep.note:
                self.store.tags(entry.run, {"mlflow.note.content": _note(entry.run, sweep, files)})
            self.store.status(entry.run, status, int(ended * 1000))
        entry.status, entry.times = status, times
        return True

    def retire(self, name: str) -> None:
        """The sweep was started anew: mark what MLflow shows as that of an earlier one."""
        entry = self.cursor.sweeps[name]
        self.store.retire(entry.run, f"{self.mark}/{name}")
        if entry.status in ("", "RUNNING"):
            self.store.status(entry.run, "KILLED", None)
        del self.cursor.sweeps[name]


def _note(run: str, sweep: SweepRecord, files: list[Path]) -> str:
    """The description of a sweep's run: its best setting, its pictures, its table."""
    parts = []
    if sweep.best:
        reached = f"`{sweep.metric}` {sweep.best.value:.4g}"
        parts.append(f"Best: {in_words(sweep.best.fields)}, {reached}\n\n`{sweep.best.command}`")
    pictures = [path.name for path in files if path.suffix == ".png"]
    parts += [f"![{name}](get-artifact?path={name}&run_uuid={run})" for name in pictures]
    return "\n\n".join([*parts, sweep.note])
