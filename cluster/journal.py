"""The journal of a run: every metric once, in order, a line of JSON per report, synced before anyone hears of it.

    journal/00000002.jsonl    {"epoch": 2, "after": 40, "device": "cpu", …}     who writes, and from where on
                              {"step": 50, "time": …, "metrics": {…}, …}       and so on

Every writer has a segment of its own, named by the epoch of its lease, and says in the first line up to which step it
found the journal whole. Rows of earlier segments beyond that step are of a writer that had been taken over, or stand
behind a damaged line; readers drop them, for the new writer computes these steps again, to the same values. Each line
carries a checksum. Nothing is ever rewritten.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cluster.files import Damaged, append, numbers, replace, sealed, storage_failures, sync_file, unsealed
from cluster.lease import Lease
from genlib.durable import sync_folder
from genlib.history import History


class Segment(NamedTuple):
    """One writer's part of a journal: its first line, its rows up to a damaged one, and whether there is such a one."""

    epoch: int
    head: dict[str, Any]
    rows: list[dict[str, Any]]
    damaged: bool


def read_segments(folder: Path) -> list[Segment]:
    """Every segment whose first line is whole, oldest first."""
    segments = (_read_segment(path) for path in sorted(folder.glob("*.jsonl")))
    return [segment for segment in segments if segment is not None]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The journal: steps rise, and a half-written last line, of a crash or of this moment, does not count."""
    return _merged(read_segments(folder))


def _merged(segments: list[Segment]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for place, segment in enumerate(segments):
        highest = min((later.head["after"] for later in segments[place + 1 :]), default=None)
        if segment.head["after"] > (rows[-1]["step"] if rows else 0):
            continue  # rows before it are lost: what stands behind a gap does not count
        for row in segment.rows:
            if highest is not None and row["step"] > highest:
                break
            if not rows or row["step"] > rows[-1]["step"]:
                rows.append(row)
    return rows


class Tail:
    """A journal that is read again and again while it grows: only what is new is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sign: Any = None
        self._position, self._last, self._ended = 0, 0, False

    def rows(self) -> list[dict[str, Any]]:
        """The rows since the last call; the first one returns all."""
        paths = sorted(self.folder.glob("*.jsonl"))
        if not paths:
            return []
        stats = [path.stat() for path in paths]
        sign = [(path.name, stat.st_ino, stat.st_size) for path, stat in zip(paths, stats, strict=True)]
        sign[-1] = (*sign[-1][:2], 0)  # the newest segment may grow
        if sign != self._sign or stats[-1].st_size < self._position:
            self._sign, self._position = sign, 0
            self._skip_whole_lines(paths[-1])  # before they are read: what comes meanwhile is read twice, told once
            segments = read_segments(self.folder)
            rows, before = _merged(segments), _merged(segments[:-1])
            self._ended = not segments or segments[-1].epoch != int(paths[-1].stem) or segments[-1].damaged
            if segments and segments[-1].head["after"] > (before[-1]["step"] if before else 0):
                self._ended = True  # what stands behind a gap does not count
            if self._ended and not (segments and segments[-1].damaged):
                self._sign = None  # its first line is still to come
        else:
            rows = [] if self._ended else self._added(paths[-1])
        rows = [row for row in rows if row["step"] > self._last]
        self._last = rows[-1]["step"] if rows else self._last
        return rows

    def _skip_whole_lines(self, path: Path) -> bytes:
        with open(path, "rb") as file:
            file.seek(self._position)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]
        self._position += len(content)
        return content

    def _added(self, path: Path) -> list[dict[str, Any]]:
        rows = []
        for line in self._skip_whole_lines(path).decode(errors="replace").splitlines():
            try:
                rows.append(_row(unsealed(line)))
            except (Damaged, KeyError, TypeError, ValueError):
                self._ended = True
                break
        return rows


def last_row(folder: Path) -> dict[str, Any] | None:
    """The newest row, read from the end of the newest segment: cheap enough to ask twice a second."""
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        return None
    with open(paths[-1], "rb") as file:
        file.seek(max(0, paths[-1].stat().st_size - 4_096))
        lines = file.read().decode(errors="replace").split("\n")[:-1]
    for line in reversed(lines):
        try:
            row = unsealed(line)
        except Damaged:
            continue
        if "step" in row:
            return {**row, "metrics": numbers(row["metrics"])}
    return None


def read_history(folder: Path) -> History:
    """The metrics of a journal as series."""
    return History([(row["step"], row["metrics"]) for row in read_rows(folder)])


def is_damaged(folder: Path) -> bool:
    """Whether a segment holds a line that is not what was written and that no later writer has replaced."""
    paths = sorted(folder.glob("*.jsonl"))
    newest = _read_segment(paths[-1]) if paths else None
    return bool(paths) and (newest is None or newest.damaged)


def copy_rows(source: Path, folder: Path, *, upto: int) -> None:
    """Begin a journal with another one's rows, as the segment of epoch 0."""
    path = folder / f"{0:08d}.jsonl"
    if not path.exists():
        rows = [row for row in read_rows(source) if row["step"] <= upto]
        head = {"epoch": 0, "after": 0, "copied": str(source)}
        lines = [sealed(head), *(sealed({key: row[key] for key in ("step", "time", "metrics")}) for row in rows)]
        with storage_failures(path):
            replace(path, "".join(f"{line}\n" for line in lines).encode())


class Journal:
    """Writes a journal. Steps that are on file are not written again: a resumed run recomputes some of them."""

    def __init__(self, folder: Path, lease: Lease, *, device: str = "cpu", workers: int = 1) -> None:
        rows = read_rows(folder)
        self.folder, self.lease = folder, lease
        self.last_step: int = rows[-1]["step"] if rows else 0
        self._path = folder / f"{lease.epoch:08d}.jsonl"
        self._head = {
            "epoch": lease.epoch,
            "after": self.last_step,
            "device": device,
            "workers": workers,
            "host": socket.gethostname(),
            "machine": platform.machine(),
            "time": time.time(),
        }

    def append(self, step: int, metrics: Mapping[str, float], *, synced: bool = True) -> None:
        """Write one line, unless it is on file already; without `synced` nobody may hear of it before `sync`."""
        if step <= self.last_step or not metrics:
            return
        self.lease.check()
        with storage_failures(self._path):
            if not self._path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                append(self._path, sealed(self._head))
                sync_folder(self.folder)
            append(self._path, sealed({"step": step, "time": time.time(), "metrics": dict(metrics)}), synced=synced)
        self.last_step = step

    def sync(self) -> None:
        """Wait until every line is on disk."""
        with storage_failures(self._path):
            if self._path.exists():
                sync_file(self._path)


def _row(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "step": int(content["step"]), "metrics": numbers(content["metrics"])}


def _read_segment(path: Path) -> Segment | None:
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    head: dict[str, Any] | None = None
    rows = []
    for line in lines:
        if not line.endswith("\n"):  # not yet whole; once it is, its checksum tells
            break
        try:
            content = unsealed(line)
            if head is None:
                head = {**content, "after": int(content["after"])}
            else:
                rows.append(_row(content))
        except (Damaged, KeyError, TypeError, ValueError):
            return None if head is None else Segment(int(path.stem), head, rows, damaged=True)
    return None if head is None else Segment(int(path.stem), head, rows, damaged=False)
