"""Run directories, without MLflow: list them, look at one, compare two, draw or delete some.

python experiments/runs.py list | show RUN | diff RUN RUN | draw RUN … | delete RUN … | prune   [--storage runs]

A RUN is a directory or the beginning of a key.
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.table import Table

from cluster import copies
from cluster.directory import read_result, read_results, refuse_written
from cluster.files import Damaged, read_json, storage_failures
from cluster.journal import last_row
from cluster.storage import find_run, run_folders, set_asides, storage_from
from cluster.sweep_record import in_words, read_sweep
from cluster.words import bytes_in_words
from experiments.command.arguments import POSITIONAL, read_command
from experiments.command.exits import exit_with_a_sentence
from genlib import InputError

if TYPE_CHECKING:
    from cluster.run import Run
    from genlib import Study

SHOWN = ("nll", "c2st", "sliced_wasserstein", "psnr", "nats_per_char", "test/loss", "validation/loss", "loss")
"""Metrics that a line of the list has room for, the most telling first."""


@dataclass(frozen=True)
class List:
    """List every run: its place, its status, its step, its main metrics."""

    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


@dataclass(frozen=True)
class Show:
    """Show one run: its fields, its metrics, its figures."""

    run: Annotated[str, POSITIONAL]
    """A run directory, or the beginning of a key."""
    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


@dataclass(frozen=True)
class Diff:
    """Compare two runs side by side: the fields that differ, and every metric."""

    one: Annotated[str, POSITIONAL]
    """A run directory, or the beginning of a key."""
    other: Annotated[str, POSITIONAL]
    """The run to compare it with: a directory, or the beginning of a key."""
    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


@dataclass(frozen=True)
class Draw:
    """Draw the figures of finished runs that have none, such as those of a sweep."""

    runs: Annotated[tuple[str, ...], POSITIONAL]
    """Run directories, or beginnings of keys."""
    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


@dataclass(frozen=True)
class Delete:
    """Delete runs; without --yes, only say which."""

    runs: Annotated[tuple[str, ...], POSITIONAL]
    """Keys, beginnings of keys, or run directories inside the storage."""
    yes: bool = False
    """Delete the runs instead of only naming them."""
    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


@dataclass(frozen=True)
class Prune:
    """Delete what --fresh and damage have moved aside; without --yes, only say what."""

    days: float = 30.0
    """Days that it must have been there for."""
    yes: bool = False
    """Delete it instead of only naming it."""
    storage: Path | None = None
    """The storage folder. [GENLIB_STORAGE, else ./runs]"""


def described(path: Path) -> dict[str, Any]:
    """The content of a run's `study.json`."""
    try:
        return read_json(path / "study.json")
    except (FileNotFoundError, Damaged) as error:
        raise InputError(f"{path}: its study.json cannot be read; the command that trains it mends that.") from error


def setting_of(path: Path) -> str:
    """What tells a run from its neighbours: what its sweep varies, else its preset and what differs from that."""
    try:
        record = read_sweep(path.parent)
        tried = next(tried for tried in record.settings if tried.key == path.name)
        return in_words(tried.fields | {"seed": tried.seed})
    except (FileNotFoundError, Damaged, StopIteration):
        pass  # of no sweep, or of one that cannot be read
    from cluster.opening import open_study
    from experiments.command.console import nearest_preset

    try:
        preset, fields = nearest_preset(open_study(path))
    except InputError:
        return ""  # a study that this process does not know
    return ", ".join([preset, *([in_words(fields)] if fields else [])])


def stopped_early(path: Path) -> bool:
    """Whether a sweep ended the run before its last update, for it looked hopeless."""
    try:
        return read_json(path / "result.json").get("stopped_early") is not None
    except (FileNotFoundError, Damaged):
        return False


def origin_of(path: Path) -> str:
    """The run that a run was begun from, and its update there."""
    origin = described(path).get("origin")
    return f"{origin['key']} at {origin['step']:,}" if origin else "–"


def list_runs(command: List, console: Console) -> None:
    """Print a row per run."""
    storage = storage_from(command.storage)
    paths = list(run_folders(storage))
    if not paths:
        raise InputError(f"there are no runs in {storage}: train one, or give --storage.")
    table = Table("run", "setting", "status", "step", "main metrics", "began")
    results = read_results(paths)
    for path in paths:
        try:
            record = described(path)
        except InputError:
            table.add_row(str(path.relative_to(storage)), "", "damaged", "", "", "")
            continue
        result, row = results[path], last_row(path / "journal")
        shown = result.metrics or (row["metrics"] if row else {})
        names = [name for name in SHOWN if name in shown][:3] or list(shown)[:3]
        metrics = "  ".join(f"{name} {shown[name]:.4g}" for name in names)
        steps = f"{row['step'] if row else 0:,}/{record['fields'].get('steps', 0):,}"
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["born"]))
        status = f"{result.status}, early" if stopped_early(path) else result.status
        table.add_row(str(path.relative_to(storage)), setting_of(path), status, steps, metrics, began)
    console.print(table)


def show(command: Show, console: Console) -> None:
    """Print all about one run."""
    path = find_run(command.run, storage_from(command.storage))
    record, result = described(path), read_result(path)
    table = Table("field", "value", title=f"{path.parent.name}/{path.name}: {result.status} {result.message}".rstrip())
    for name, value in record["fields"].items():
        table.add_row(name, str(value))
    table.add_section()
    for name in ("study", "version", "epochs", "own", "needs", "source", "commit", "origin", "command"):
        table.add_row(name, str(record.get(name)))
    table.add_section()
    for name, value in result.metrics.items():
        table.add_row(name, f"{value:.6g}")
    console.print(table)
    for figure in sorted(path.glob("evaluations/*/figures/*.png")):
        console.print(str(figure), soft_wrap=True, highlight=False)


def diff(command: Diff, console: Console) -> None:
    """Print what differs between two runs."""
    storage = storage_from(command.storage)
    paths = [find_run(named, storage) for named in (command.one, command.other)]
    fields = [described(path)["fields"] | {"study": described(path)["study"]} for path in paths]
    metrics = [read_result(path).metrics for path in paths]
    table = Table("", *(f"{path.parent.name}/{path.name}" for path in paths), "difference")
    for name in dict.fromkeys([*fields[0], *fields[1]]):
        values = [str(one.get(name, "–")) for one in fields]
        if values[0] != values[1]:
            table.add_row(name, *values, "")
    origins = [origin_of(path) for path in paths]
    if origins[0] != origins[1]:
        table.add_row("begun from", *origins, "")
    table.add_section()
    for name in dict.fromkeys([*metrics[0], *metrics[1]]):
        pair = [one.get(name) for one in metrics]
        change = "" if pair[0] is None or pair[1] is None else f"{pair[1] - pair[0]:+.4g}"
        table.add_row(name, *("–" if value is None else f"{value:.6g}" for value in pair), change)
    console.print(table)


def draw(command: Draw, console: Console) -> None:
    """Draw what is not drawn yet, and say where it is."""
    from cluster.opening import open_run

    storage = storage_from(command.storage)
    for path in [find_run(named, storage) for named in command.runs]:
        trained = open_run(path)
        run = run_at(path, trained.study)
        run.finish(trained)
        figures = run.evaluation_folder(trained.study) / "figures"
        console.print(f"figures: {figures}", soft_wrap=True, highlight=False)


def run_at(path: Path, study: Study[Any]) -> Run:
    """The run of a directory."""
    from cluster.run import Run
    from cluster.states import Origin

    known = described(path).get("origin")
    origin = Origin(Path(known["path"]), known["key"], known["step"]) if known else None
    run = Run(study, path.parents[1], sweep=path.parent.name, origin=origin)
    if run.path != path:
        raise InputError(f"{path} is no longer where its run was made: move it back to {run.path}.")
    return run


def delete(command: Delete, console: Console) -> None:
    """Remove run directories; the mirror then deletes their MLflow runs."""
    if not command.runs:
        raise InputError("delete which runs? Give their directories or keys.")
    storage = storage_from(command.storage)
    paths = list(dict.fromkeys(find_run(named, storage) for named in command.runs))
    for path in paths:
        if not path.resolve().is_relative_to(storage.resolve()):
            raise InputError(f"{path} is not in the storage {storage}: give --storage too. Nothing was deleted.")
        refuse_written(path)
    for path in paths:
        if command.yes:
            shutil.rmtree(path)
            with storage_failures(path):
                copies.drop(path)
        console.print(f"{'deleted' if command.yes else 'would delete'} {path}", soft_wrap=True, highlight=False)
    if not command.yes:
        console.print("give --yes to do it")


def prune(command: Prune, console: Console) -> None:
    """Remove what was moved aside and is in nobody's way but the disk's."""
    if not command.days >= 0:
        raise InputError(f"--days: got {command.days:g}; allowed is a number of at least 0.")
    storage = storage_from(command.storage)
    paths, total = set_asides(storage, days=command.days), 0
    for path in paths:
        size = sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())
        total += size
        if command.yes:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            with storage_failures(path):
                copies.drop(path)
        done = "deleted" if command.yes else "would delete"
        console.print(f"{done} {path}, {bytes_in_words(size)}", soft_wrap=True, highlight=False)
    many = f"{len(paths)} thing{'s' * (len(paths) != 1)} that {'was' if len(paths) == 1 else 'were'} moved aside"
    console.print(f"{many}, {bytes_in_words(total)}", highlight=False)
    if paths and not command.yes:
        console.print("give --yes to do it")


def main(arguments: list[str]) -> None:
    """Carry out one command."""
    actions: dict[type, Any] = {List: list_runs, Show: show, Diff: diff, Draw: draw, Delete: delete, Prune: prune}
    command = read_command({kind.__name__.lower(): kind for kind in actions}, arguments, about=__doc__)
    actions[type(command)](command, Console(width=None if sys.stdout.isatty() else 140))


if __name__ == "__main__":
    with exit_with_a_sentence():
        main(sys.argv[1:])
