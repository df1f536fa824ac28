"""A sweep over whole studies: their runs under one name, in one folder, with one parent in MLflow.

<storage>/<name>/sweep.json    what it is, what its runs are called, how it ended
<storage>/<name>/lease/        of the process that runs it: a second one is refused while it lives
<storage>/<name>/<run key>/    the runs
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.files import Damaged, read_json, set_aside, told, write_json
from cluster.lease import Held, Lease
from cluster.storage import open_storage
from genlib import InputError, Study


class Gathering:
    """The folder and its record."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder, self._record = folder, record

    def write(self, **news: Any) -> None:
        """Add to the record."""
        self._record |= news
        with told(self.folder):
            write_json(self.folder / "sweep.json", self._record)

    def settle(self, _signal: str) -> None:
        """A signal ends the process."""
        self.write(status="KILLED", ended=time.time())


@contextmanager
def gathering(
    storage: Path, name: str, studies: Mapping[str, Study[Any]], *, metric: str, note: str
) -> Iterator[Gathering]:
    """Hold the folder; how the block ends is how the gathering ends.

    Arguments:
        studies: what runs in it, by the names that its runs have in MLflow.
        metric: what they are compared by.
        note: what it is, in Markdown.
    """
    folder = open_storage(storage) / name
    try:
        lease = Lease.claim(folder / "lease")
    except Held as error:
        raise InputError(f"'{name}' is being run already: {error}") from error
    lease.keep()
    try:
        known = read_json(folder / "sweep.json")
    except FileNotFoundError:
        known = {}
    except Damaged:
        set_aside(folder / "sweep.json")
        known = {}
    titles = {study.title() for study in studies.values()}
    record = {"name": name, "experiment": name, "study": ", ".join(sorted(titles)), "space": {}, "metric": metric}
    record |= {"names": {study.key(): title for title, study in studies.items()}, "note": note}
    gathered = Gathering(folder, record | {"began": known.get("began", time.time())})
    try:
        gathered.write(status="RUNNING")
        yield gathered
        gathered.write(status="FINISHED", ended=time.time())
    except BaseException as error:
        gathered.write(status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", ended=time.time())
        raise
    finally:
        lease.release()
