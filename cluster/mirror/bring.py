"""One pass over the run directories, and the cursor that remembers what MLflow has been shown.

The cursor only saves work: without it everything is looked up and sent again, to the same end. A sweep is a parent run,
each of its runs a child, and each evaluation of a run beyond its default one a child of that.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cluster.evaluations import MANIFEST, evaluation_fields
from cluster.files import Damaged, numbers, read_json, unsealed, write_json
from cluster.journal import read_rows
from cluster.lease import is_alive
from cluster.mirror import CURSOR, mirror_folder, tracking_uri
from cluster.mirror.model import show_model
from cluster.mirror.store import KEY, Row, Store
from cluster.record import rebuild
from cluster.run import read_result
from cluster.storage import MARK, run_folders, sweep_folders
from genlib import InputError

Entry = dict[str, Any]
GIVE_UP = 3
"""Folders in one pass that may fail."""


class Mirror:
    """MLflow's picture of one storage."""

    def __init__(self, storage: Path) -> None:
        uri = tracking_uri(storage)
        artifacts = (storage / "artifacts").as_uri() if not uri.startswith("http") else None
        self.storage, self.store = storage, Store(uri, artifacts)
        self._id = read_json(storage / MARK)["id"]
        self._path = mirror_folder(storage) / CURSOR
        self.error = ""
        self._shown: dict[str, Entry] = self._load()
        self._forget_what_is_gone()

    def bring_everything(self) -> bool:
        """Show what is new; True where anything was."""
        read_json(self.storage / MARK)  # a storage that is not mounted is not an empty one
        self.error = ""
        self._failures = 0
        changed = self._drop_what_was_deleted()
        for folder in sweep_folders(self.storage):
            changed |= self._guarded(self._sweep, folder)
        for folder in run_folders(self.storage):
            changed |= self._guarded(self._run, folder)
        for folder in sweep_folders(self.storage):
            changed |= self._guarded(self._end_sweep, folder)
        return changed

    def _drop_what_was_deleted(self) -> bool:
        """A run directory that is gone takes its run in MLflow along (where it can be restored)."""
        gone = [place for place in self._shown if not (self.storage / place).exists()]
        for place in gone:
            path = self.storage / place
            if any((self.storage / ".aside").glob(f"aside-{path.name}-*")) and self._shown[place]:
                self._retire(path)  # begun anew
                continue
            entry = self._shown.pop(place)
            for run in (entry.get("run"), *(found["run"] for found in entry.get("evaluations", {}).values())):
                if run:
                    self.store.client.delete_run(run)
        return bool(gone)

    # -- runs ----------------------------------------------------------------------------------------------------------

    def _run(self, path: Path) -> bool:
        entry = self._entry(path)
        result = read_result(path)  # read before the rows: what a finished run says is all there
        if entry.get("settled") == self._stamp(path) and result.status == entry.get("status"):
            return False
        described = read_json(path / "study.json")
        if entry.get("born") not in (None, described["born"]):
            self._retire(path)
            entry = self._entry(path)
        before = dict(entry)
        stamp = self._stamp(path)
        title = described["study"].rpartition(":")[2]
        if "run" not in entry:
            parent = self._shown.get(path.parent.name, {}).get("run")
            name = self._name(path, described)
            experiment = self._experiment(path, described)
            began = int(described["born"] * 1000)
            entry["run"] = self.store.run(experiment, self._key(path), name=name, began=began, parent=parent)
            entry |= {"born": described["born"], "experiment": experiment, "step": -1, "system": 0}
            self.store.params(entry["run"], described["fields"])
            self.store.tags(entry["run"], _tags(described, path))
            self.store.inputs(entry["run"], described["data"], title)
            self.store.client.log_artifact(entry["run"], str(path / "study.json"))
        run = entry["run"]
        if result.status != entry.get("status") and result.status == "RUNNING":
            self.store.status(run, "RUNNING", None)
            entry["status"] = "RUNNING"
        rows = [row for row in read_rows(path / "journal") if row["step"] > entry["step"]]
        self.store.rows(
            run, (Row(k, v, int(row["time"] * 1000), row["step"]) for row in rows for k, v in row["metrics"].items())
        )
        entry["step"] = rows[-1]["step"] if rows else entry["step"]
        self._system(path, entry)
        self._evaluations(path, entry, described)
        if result.status in ("FINISHED", "FAILED", "KILLED"):
            self._settle(path, entry, result.status)
            entry["settled"] = stamp
        return entry != before

    def _evaluations(self, path: Path, entry: Entry, described: Entry) -> None:
        """The default evaluation in the run itself; every other one as its child."""
        default = self._result(path).get("evaluation")
        done = entry.setdefault("evaluations", {})
        for folder in sorted((path / "evaluations").glob("*")):
            if folder.name.startswith((".", "aside-")) or not (folder / MANIFEST).exists() or default is None:
                continue
            mark = (folder / MANIFEST).stat().st_mtime_ns
            if done.get(folder.name, {}).get("mark") == mark:
                continue
            try:
                content = read_json(folder / "metrics.json")
            except (Damaged, FileNotFoundError):  # the next command on the run makes it anew
                continue
            ended = int((folder / "metrics.json").stat().st_mtime * 1000)
            run = entry["run"]
            if folder.name != default:
                key = f"{self._key(path)}/{folder.name}"
                own = {k: v for k, v in content["fields"].items() if described["fields"].get(k) != v}
                name = ", ".join(f"{k} {v}" for k, v in own.items())
                run = self.store.run(entry["experiment"], key, name=name, began=ended, parent=entry["run"])
                self.store.params(run, {**described["fields"], **content["fields"]})
                self.store.tags(run, {"genlib.key": path.name, "genlib.evaluation": folder.name})
            rows = (Row(k, v, ended, described["fields"]["steps"]) for k, v in numbers(content["metrics"]).items())
            self.store.rows(run, rows)
            self.store.folder(run, folder, leave_out=(MANIFEST,))
            if tables := [{"path": path.name, "type": "table"} for path in sorted(folder.glob("*.table.json"))]:
                self.store.tags(run, {"mlflow.loggedArtifacts": json.dumps(tables)})
            if folder.name != default:
                self.store.status(run, "FINISHED", ended)
            done[folder.name] = {"mark": mark, "run": run}

    def _system(self, path: Path, entry: Entry) -> None:
        """What the machine did, in the order it was written."""
        lines = [line for file in sorted((path / "system").glob("*.jsonl")) for line in file.read_text().splitlines()]
        rows = []
        for number, line in enumerate(lines):
            try:
                content = unsealed(line)
            except Damaged:  # being written, or of a crash: the run stands without it
                continue
            if number >= entry["system"]:
                rows += [Row(k, v, int(content["time"] * 1000), number) for k, v in content["metrics"].items()]
        self.store.rows(entry["run"], rows)
        entry["system"] = len(lines)

    def _settle(self, path: Path, entry: Entry, status: str) -> None:
        """The run has ended, one way or another: its model, its message, its status, in this order."""
        run, result = entry["run"], self._result(path)
        tags = {"genlib.message": result.get("message"), "genlib.notes": " ".join(result.get("notes", ()))}
        tags["genlib.stopped_early"] = result.get("stopped_early")
        if status == "FINISHED" and result.get("evaluation") and not entry.get("model"):
            tags["genlib.model"] = show_model(self.store, run, path) or "exported"
            entry["model"] = True
        self.store.tags(run, tags)
        ended = result.get("ended") or max((p.stat().st_mtime for p in path.rglob("*.json*")), default=time.time())
        self.store.status(run, status, int(ended * 1000))
        entry["status"] = status

    # -- sweeps --------------------------------------------------------------------------------------------------------

    def _sweep(self, folder: Path) -> bool:
        sweep = read_json(folder / "sweep.json")
        if self._shown.get(folder.name, {}).get("began") not in (None, sweep["began"]):
            self._retire(folder)
        entry = self._shown.setdefault(folder.name, {})
        if "run" in entry:
            return False
        entry["began"] = sweep["began"]
        key = self._key(folder)
        experiment = sweep.get("experiment", sweep["study"])
        entry["run"] = self.store.run(experiment, key, name=sweep["name"], began=int(sweep["began"] * 1000))
        entry["experiment"] = experiment
        space = {name: " | ".join(map(str, values)) for name, values in sweep["space"].items()}
        self.store.params(entry["run"], {"metric": sweep["metric"], **{f"space/{k}": v for k, v in space.items()}})
        note = f"A sweep of `{sweep['study']}` over {', '.join(sweep['space'])}, compared by `{sweep['metric']}`."
        note = sweep.get("note", note)
        self.store.tags(entry["run"], {"genlib.sweep": folder.name, "mlflow.note.content": note})
        return True

    def _end_sweep(self, folder: Path) -> bool:
        """Its table, its picture and its status, which is KILLED where nobody drives an unfinished one."""
        entry = self._shown[folder.name]
        sweep = read_json(folder / "sweep.json")
        status = sweep["status"]
        if status == "RUNNING" and not is_alive(folder / "lease"):
            status = "KILLED"
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]
        stamp = [status, *(path.stat().st_mtime_ns for path in files)]
        if entry.get("stamp") == stamp:
            return False
        if status == "RUNNING":
            self.store.status(entry["run"], "RUNNING", None)
        else:
            for path in files:
                self.store.client.log_artifact(entry["run"], str(path))
            best, ended = sweep.get("best"), sweep.get("ended") or (folder / "sweep.json").stat().st_mtime
            if best:
                self.store.rows(entry["run"], [Row(f"best/{sweep['metric']}", best["value"], int(ended * 1000), 0)])
                self.store.tags(entry["run"], {"genlib.best": best["command"]})
            if sweep.get("note"):
                self.store.tags(entry["run"], {"mlflow.note.content": sweep["note"]})
            self.store.status(entry["run"], status, int(ended * 1000))
        entry["stamp"] = stamp
        return True

    # -- the cursor ----------------------------------------------------------------------------------------------------

    def _guarded(self, bring: Any, folder: Path) -> bool:
        """Bring one folder; the cursor is written after it, and a damaged or foreign folder stops no other."""
        try:
            changed = bool(bring(folder))
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
            write_json(self._path, {"shown": self._shown})
        return changed

    def _count(self, error: Exception) -> None:
        """One folder's trouble stops no other; but where MLflow is away, asking for every folder takes for ever."""
        self.error = self.error or f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
        self._failures += 1
        if self._failures == GIVE_UP:
            raise error

    def _load(self) -> dict[str, Entry]:
        try:
            return dict(read_json(self._path)["shown"])
        except (FileNotFoundError, Damaged):
            return {}

    def _forget_what_is_gone(self) -> None:
        """Runs that MLflow does not have any more are shown anew."""
        experiments = {entry["experiment"] for entry in self._shown.values() if "experiment" in entry}
        there = {run for name in experiments for run in self.store.keys(name).values()}
        for entry in self._shown.values():
            extra = entry.get("evaluations", {})
            if entry.get("run") not in there:
                entry.clear()
            elif any(found["run"] not in there for found in extra.values()):
                entry.pop("settled", None)
                entry["evaluations"] = {name: found for name, found in extra.items() if found["run"] in there}

    def _retire(self, path: Path) -> None:
        """The run was started anew: what MLflow shows is the old one's, and says so from now on."""
        entry = self._shown.pop(self._place(path))
        replaced = {entry["run"]: self._key(path)}
        for name, found in entry.get("evaluations", {}).items():
            replaced.setdefault(found["run"], f"{self._key(path)}/{name}")
        for run, key in replaced.items():
            self.store.tags(run, {KEY: f"{key} until {time.time():.0f}", "genlib.replaced": "yes"})
        if entry.get("status", (entry.get("stamp") or ["RUNNING"])[0]) == "RUNNING":
            self.store.status(entry["run"], "KILLED", None)

    def _entry(self, path: Path) -> Entry:
        return self._shown.setdefault(self._place(path), {})

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.storage))

    def _key(self, path: Path) -> str:
        return f"{self._id}/{self._place(path)}"

    def _experiment(self, path: Path, described: Entry) -> str:
        try:
            sweep = read_json(path.parent / "sweep.json")
            return str(sweep.get("experiment", sweep["study"]))
        except FileNotFoundError:
            return rebuild(described, path).title()

    def _name(self, path: Path, described: Entry) -> str:
        """What tells it from its neighbours: the fields its sweep varies, else its key."""
        try:
            sweep = read_json(path.parent / "sweep.json")
        except FileNotFoundError:
            return f"{path.parent.name} {path.name}"
        if path.name in sweep.get("names", {}):
            return str(sweep["names"][path.name])
        space = sweep["space"]
        fields, only = described["fields"], evaluation_fields(rebuild(described, path))
        seed = f", seed {fields['seed']}" if fields["seed"] else ""
        return (", ".join(f"{name} {fields[name]}" for name in space if name not in only) or path.name) + seed

    def _result(self, path: Path) -> Entry:
        try:
            return read_json(path / "result.json")
        except (FileNotFoundError, Damaged):
            return {}

    def _stamp(self, path: Path) -> list[int]:
        """What changes when a run directory does."""
        places = [path / "result.json", path / "evaluations", *sorted((path / "journal").glob("*.jsonl"))]
        places += sorted((path / "evaluations").glob(f"*/{MANIFEST}"))
        return [place.stat().st_mtime_ns if place.exists() else 0 for place in places]


def _tags(described: Entry, path: Path) -> Entry:
    fields = described["fields"]
    words = "\n".join(f"| {name} | {value} |" for name, value in fields.items())
    note = (
        f"`{described['study']}` version {described['version']}, in `{path}`\n\n"
        f"Made by `{described['command']}`\n\n| field | value |\n|---|---|\n{words}\n"
    )
    return {
        "genlib.key": described["key"],
        "genlib.study": described["study"],
        "genlib.source": described["source"],
        "genlib.path": str(path),
        "genlib.origin": described.get("origin"),
        "mlflow.source.git.commit": described["commit"],
        "mlflow.source.name": described["command"],
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": note,
        **{f"package.{name}": version for name, version in described["packages"].items()},
        **{f"machine.{name}": value for name, value in described["machine"].items()},
    }
