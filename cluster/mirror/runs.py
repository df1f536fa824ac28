"""Run directories in MLflow: each is a run there, and each evaluation beyond its default one is a child of that run."""

from __future__ import annotations

import copy
import json
import re
import time
from pathlib import Path
from typing import Any

from cluster.directory import read_result
from cluster.evaluations import MANIFEST
from cluster.files import Damaged, numbers, read_json, unsealed
from cluster.journal import Tail
from cluster.mirror.cursor import Cursor, ShownEvaluation, ShownRun
from cluster.mirror.model import show_model, shown_model
from cluster.mirror.store import Row, Store
from cluster.sweep_record import SweepRecord, in_words, read_sweep, script_of
from genlib.study import recorded_name, title_of

Described = dict[str, Any]
NEED = re.compile(r"[a-z0-9][a-z0-9-]*/[0-9a-f]+")
"""The place of a run that another one needs: its study's folder and its key, inside the same storage."""


SOURCE = ("mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit", "genlib.source", "genlib.path")
"""Tags that an evaluation shares with its run."""


class RunMirror:
    """Shows run directories.

    Arguments:
        storage, mark: the storage, and the id that tells it from others.
    """

    def __init__(self, storage: Path, mark: str, store: Store, cursor: Cursor) -> None:
        self.storage, self.mark, self.store, self.cursor = storage, mark, store, cursor
        self._bringing: list[str] = []
        self._tails: dict[str, Tail] = {}
        """The journals of runs that have not ended, as far as they are read."""

    def bring(self, path: Path) -> bool:
        """Show what is new of a run; True where anything was."""
        place = self._place(path)
        self._bringing.append(place)
        try:
            return self._bring(path, place)
        except BaseException:
            self._tails.pop(place, None)  # what was read may not have been shown
            raise
        finally:
            self._bringing.remove(place)

    def _bring(self, path: Path, place: str) -> bool:
        entry = self.cursor.runs.get(place)
        result = read_result(path)  # read before the rows: what a finished run says is all there
        times = _times(path)
        if entry and entry.settled == times and result.status == entry.status:
            return False
        described = read_json(path / "study.json")
        if entry and entry.born != described["born"]:
            self.retire(place)
            entry = None
        before, anew = copy.deepcopy(entry), entry is None
        if entry is None:
            self._tails.pop(place, None)
            entry = self.cursor.runs[place] = self._begin(path, described)
        if result.status != entry.status and result.status == "RUNNING":
            self.store.status(entry.run, "RUNNING", None)
            entry.status = "RUNNING"
        tail = self._tails.setdefault(place, Tail(path / "journal"))
        rows = [row for row in tail.rows() if row["step"] > entry.step]
        learnt = [Row(k, v, int(row["time"] * 1000), row["step"]) for row in rows for k, v in row["metrics"].items()]
        if anew:  # a line that was mended since has another time
            learnt = self.store.not_there(entry.run, learnt)
        meanwhile, lines = _system(path, entry.system)
        self.store.rows(entry.run, [*learnt, *meanwhile])
        entry.step, entry.system = rows[-1]["step"] if rows else entry.step, lines
        self._evaluations(path, entry, described)
        if result.status in ("FINISHED", "FAILED", "KILLED"):
            self._settle(path, entry, result.status)
            entry.settled = times
            self._tails.pop(place, None)
        return entry != before

    def retire(self, place: str) -> None:
        """The run was started anew: mark what MLflow shows as that of an earlier one."""
        self._tails.pop(place, None)
        entry = self.cursor.runs[place]
        key = f"{self.mark}/{place}"
        replaced = {entry.run: key}
        for name, shown in entry.evaluations.items():
            replaced.setdefault(shown.run, f"{key}/{name}")
        for run, old in replaced.items():
            self.store.retire(run, old)
        if entry.status in ("", "RUNNING"):
            self.store.status(entry.run, "KILLED", None)
        del self.cursor.runs[place]

    def _begin(self, path: Path, described: Described) -> ShownRun:
        """Make the run in MLflow, with all that does not change any more."""
        name = recorded_name(described["study"])
        sweep = _sweep(path)
        experiment = (sweep.experiment or sweep.study) if sweep else title_of(name)
        parent = self.cursor.sweeps.get(path.parent.name)
        run = self.store.run(
            experiment, f"{self.mark}/{self._place(path)}",
            name=_name(path, sweep), began=int(described["born"] * 1000),
            parent=parent.run if parent else None, tags=_tags(described, path),
        )  # fmt: skip
        self.store.params(run, _params(described))
        self.store.inputs(run, described["data"], name)
        self._show_needs(run, described.get("needs", {}))
        self.store.client.log_artifact(run, str(path / "study.json"))
        return ShownRun(run, experiment, described["born"])

    def _show_needs(self, run: str, needs: dict[str, str]) -> None:
        """Show the models that a run works with as its inputs; they are runs of this storage, and shown first."""
        for name, place in needs.items():
            path = self.storage / place
            if not NEED.fullmatch(place) or not (path / "study.json").exists() or place in self._bringing:
                continue
            self.bring(path)
            shown = self.cursor.runs.get(place)
            model = shown_model(self.store, shown.run) if shown else ""
            self.store.needs(run, name, place, model)

    def _evaluations(self, path: Path, entry: ShownRun, described: Described) -> None:
        """Show the default evaluation in the run itself, and every other one as its child."""
        default = _result(path).get("evaluation")
        for folder in sorted((path / "evaluations").glob("*")):
            if folder.name.startswith((".", "aside-")) or not (folder / MANIFEST).exists() or default is None:
                continue
            mark = (folder / MANIFEST).stat().st_mtime_ns
            if folder.name in entry.evaluations and entry.evaluations[folder.name].mark == mark:
                continue
            try:
                content = read_json(folder / "metrics.json")
            except (Damaged, FileNotFoundError):  # the next command on the run makes it anew
                continue
            ended = int(1000 * (content.get("measured") or (folder / "metrics.json").stat().st_mtime))
            run = entry.run
            if folder.name != default:
                key = f"{self.mark}/{self._place(path)}/{folder.name}"
                changed = {k: v for k, v in content["fields"].items() if described["fields"].get(k) != v}
                name = in_words(changed) or f"evaluation {folder.name}"
                tags = {"genlib.key": path.name, "genlib.evaluation": folder.name}
                tags |= {name: _tags(described, path)[name] for name in SOURCE}
                run = self.store.run(entry.experiment, key, name=name, began=ended, parent=entry.run, tags=tags)
                self.store.params(run, {**_params(described), **content["fields"]})
            # At step 0, where MLflow's charts show a number of each run as a bar.
            rows = (Row(k, v, ended, 0) for k, v in numbers(content["metrics"]).items())
            self.store.rows(run, rows)
            self.store.folder(run, folder, leave_out=(MANIFEST,))
            self._show_needs(run, content.get("needs", {}))
            if tables := [{"path": path.name, "type": "table"} for path in sorted(folder.glob("*.table.json"))]:
                self.store.tags(run, {"mlflow.loggedArtifacts": json.dumps(tables)})
            if folder.name != default:
                self.store.status(run, "FINISHED", ended)
            entry.evaluations[folder.name] = ShownEvaluation(run, mark)

    def _settle(self, path: Path, entry: ShownRun, status: str) -> None:
        """Show how the run ended: its model, its message, its status, in this order."""
        result = _result(path)
        tags = {"genlib.message": result.get("message"), "genlib.notes": " ".join(result.get("notes", ()))}
        tags["genlib.stopped_early"] = result.get("stopped_early")
        if status == "FINISHED" and result.get("evaluation") and not entry.model:
            refusal = show_model(self.store, entry.run, path)
            tags["genlib.model"] = refusal or "exported"
            entry.model = not refusal
        self.store.tags(entry.run, tags)
        ended = result.get("ended") or max((p.stat().st_mtime for p in path.rglob("*.json*")), default=time.time())
        self.store.status(entry.run, status, int(ended * 1000))
        entry.status = status

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.storage))


def _system(path: Path, shown: int) -> tuple[list[Row], int]:
    """What the machine did, beyond the lines that are shown, and the number of lines; in the order of writing."""
    lines = [line for file in sorted((path / "system").glob("*.jsonl")) for line in file.read_text().splitlines()]
    rows = []
    for number, line in enumerate(lines[shown:], start=shown):
        try:
            content = unsealed(line)
        except Damaged:  # being written, or of a crash: the run stands without it
            continue
        rows += [Row(k, v, int(content["time"] * 1000), number) for k, v in content["metrics"].items()]
    return rows, len(lines)


def _sweep(path: Path) -> SweepRecord | None:
    """The record of the sweep that a run belongs to."""
    try:
        return read_sweep(path.parent)
    except FileNotFoundError:
        return None


def _name(path: Path, sweep: SweepRecord | None) -> str:
    """What tells a run from its neighbours: the fields its sweep varies, else its key."""
    if sweep is None:
        return f"{path.parent.name} {path.name}"
    if path.name in sweep.names:
        return sweep.names[path.name]
    tried = next((tried for tried in sweep.settings if tried.key == path.name), None)
    if tried is None:
        return path.name
    return in_words(tried.fields | {"seed": tried.seed})


def _result(path: Path) -> Described:
    try:
        return read_json(path / "result.json")
    except (FileNotFoundError, Damaged):
        return {}


def _times(path: Path) -> list[int]:
    """Times of the files that change when a run directory does."""
    places = [path / "result.json", path / "evaluations", *sorted((path / "journal").glob("*.jsonl"))]
    places += sorted((path / "evaluations").glob(f"*/{MANIFEST}"))
    return [place.stat().st_mtime_ns if place.exists() else 0 for place in places]


def _params(described: Described) -> Described:
    """The study's fields, and its epochs where it has any."""
    epochs = {"epochs": f"{described['epochs']:.3g}"} if described.get("epochs") else {}
    return described["fields"] | epochs


def _tags(described: Described, path: Path) -> Described:
    fields = described["fields"]
    words = "\n".join(f"| {name} | {value} |" for name, value in fields.items())
    note = (
        f"`{described['study']}` version {described['version']}, in `{path}`\n\n"
        f"Made by `{described['command']}`\n\n| field | value |\n|---|---|\n{words}\n"
    )
    return {
        "genlib.key": described["key"],
        "genlib.study": described["study"],
        "genlib.own": (described.get("own") or {}).get("place"),
        "genlib.source": described["source"],
        "genlib.path": str(path),
        "genlib.origin": described.get("origin"),
        "mlflow.source.git.commit": described["commit"],
        "mlflow.source.name": script_of(described["command"]),
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": note,
        **{f"package.{name}": version for name, version in described["packages"].items()},
        **{f"machine.{name}": value for name, value in described["machine"].items()},
    }
