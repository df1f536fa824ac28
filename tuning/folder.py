"""A sweep's folder: its record, its lease, its runs.

<storage>/<name>/sweep.json    what was asked, what has been tried, how it ended
<storage>/<name>/lease/        the driver's lease: a second driver is refused while it lives
<storage>/<name>/<run key>/    the runs

A sweep searches the fields of one study (`tuning.driver`), or gathers runs of whole studies under one name
(`gathering`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.files import Damaged, create, json_bytes, read_json, set_aside
from cluster.lease import Fenced, Held, Lease, leave_at_once
from cluster.record import command
from cluster.storage import open_storage
from cluster.sweep_record import NAME, SweepRecord, read_sweep, write_sweep
from genlib import InputError, Study

BEGAN = ".began"
"""A file that says when the sweep of a folder began, should its record be damaged."""


class SweepFolder:
    """A sweep's folder that is held, and its record."""

    def __init__(self, path: Path, record: SweepRecord, lease: Lease) -> None:
        self.path, self.record, self.lease = path, record, lease
        self.settled = False

    @property
    def drivers(self) -> dict[str, int]:
        """For whom the runs of the folder are done: the process that holds it now."""
        return drivers_of(self.path.name, self.lease.epoch)

    def write(self, **news: Any) -> None:
        """Change fields of the record, and write it; raises `Fenced` where another process drives the sweep now."""
        self.lease.check()
        self.record = replace(self.record, **news)
        write_sweep(self.path, self.record)

    def settle(self, _signal: str) -> None:
        """Record that a signal ends the process that holds the folder."""
        self.settled = True
        with suppress(Fenced):
            self.write(status="KILLED", ended=time.time())


def drivers_of(name: str, epoch: int) -> dict[str, int]:
    """For whom the runs of a sweep's folder are done."""
    return {f"sweep {name}": epoch}


@contextmanager
def held(path: Path, name: str, begin: Callable[[SweepRecord | None], SweepRecord]) -> Iterator[SweepFolder]:
    """Hold a sweep's folder; how the block ends is how the sweep ends.

    Arguments:
        begin: makes the record to begin with from that of an earlier driver, or from None.
    """
    try:
        lease = Lease.claim(path / "lease")
    except Held as error:
        raise InputError(f"the sweep '{name}' is being driven already: {error}") from error
    lease.keep(fenced=leave_at_once(path))
    folder: SweepFolder | None = None
    try:
        record = begin(known := _known(path))
        folder = SweepFolder(path, record if known else replace(record, began=_began(path, record.began)), lease)
        folder.write(status="RUNNING")
        yield folder
        if folder.record.status == "RUNNING":
            folder.write(status="FINISHED", ended=time.time())
    except BaseException as error:
        if folder is not None and not folder.settled:
            with suppress(Fenced):
                folder.write(status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", ended=time.time())
        raise
    finally:
        lease.release()


def _began(path: Path, now: float) -> float:
    """When the sweep of a folder began, also where its record was lost: MLflow tells sweeps of one name by it."""
    mark = path / BEGAN
    if not create(mark, json_bytes({"began": now})):
        with suppress(Damaged):
            return float(read_json(mark)["began"])
    return now


def _known(path: Path) -> SweepRecord | None:
    try:
        return read_sweep(path)
    except FileNotFoundError:
        return None
    except Damaged:
        set_aside(path / NAME)
        return None


@contextmanager
def gathering(
    storage: Path, name: str, studies: Mapping[str, Study[Any]], *, metric: str, note: str
) -> Iterator[SweepFolder]:
    """Gather runs of whole studies under one name, in one folder, with one parent in MLflow.

    Arguments:
        studies: the studies to run, by the names that their runs have in MLflow.
        metric: the metric by which they are compared.
        note: a description, in Markdown.
    """
    titles = sorted({study.title() for study in studies.values()})

    def begin(known: SweepRecord | None) -> SweepRecord:
        return SweepRecord(
            name=name,
            experiment=name,
            study=", ".join(titles),
            space={},
            metric=metric,
            names={study.key(): title for title, study in studies.items()},
            note=note,
            command=command(),
            began=known.began if known else time.time(),
        )

    with held(open_storage(storage) / name, name, begin) as folder:
        yield folder
