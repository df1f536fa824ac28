"""The storage folder: `<storage>/<study or sweep>/<run key>/`, and beside the runs what the mirror keeps."""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from cluster import carrying, copies, refreshing
from cluster.copies import MARK
from cluster.files import Damaged, create, json_bytes, read_json, set_aside, write_json
from cluster.holders import last_holder
from cluster.lease import Fenced, Held, Lease, are_silent, is_alive
from genlib import InputError

COPY, FORMAT = ".storage.json", 1


def storage_from(option: Path | None) -> Path:
    """The storage folder: the option, else `GENLIB_STORAGE`, else `./runs`; in a Ray job one of the first two.

    Of one in a bucket, `s3://bucket/prefix`, it is this machine's copy, brought up to date once per process.
    """
    if named := option or os.environ.get("GENLIB_STORAGE"):
        return _up_to_date(copies.located(named))
    if "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        raise InputError(
            "a Ray job works in a temporary copy, where ./runs would be lost: "
            "give --storage, or GENLIB_STORAGE in the job's environment, a folder that every node sees."
        )
    return Path("runs").absolute()


@cache
def _up_to_date(folder: Path) -> Path:
    try:
        refreshing.refresh(folder)
    except OSError as error:
        raise InputError(f"the storage {copies.shown(folder)} cannot be read: {error.strerror}.") from error
    return folder


def carry_what_was_left(storage: Path) -> None:
    """Bring to the bucket what processes of this machine left behind when they were killed."""
    if not copies.is_copy(storage):
        return
    ahead = [path for path in (*run_folders(storage), *sweep_folders(storage)) if carrying.is_ahead(path)]
    for lease in are_silent([path / "lease" for path in ahead]) if ahead else ():
        if not is_alive(lease.with_name("driver")):
            with suppress(Held, Fenced):
                Lease.claim(lease, drivers=last_holder(lease)[1].get("drivers")).release()


def refuse_unusable_storage(folder: Path) -> None:
    """Raise where a folder cannot be genlib's storage, as far as a look can tell; nothing is written."""
    mark = folder / MARK
    try:
        copies.bring_mark(folder)
        if not mark.exists() and not copies.is_copy(folder):
            strange = folder.exists() and any(path.name[0] != "." and path.name != MARK for path in folder.iterdir())
            if strange and not (folder / COPY).exists() and not mark.exists():  # it may have been marked this moment
                raise InputError(
                    f"the storage {folder} holds files that genlib did not write: give an empty or a new folder."
                )
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(
            f"the storage {copies.shown(folder)} cannot be written ({error.strerror}): give another."
        ) from error


def open_storage(folder: Path) -> Path:
    """Make a folder genlib's storage, or refuse it: it cannot be written, or holds something else."""
    refuse_unusable_storage(folder)
    mark = folder / MARK
    try:
        copies.open_copy(folder, json_bytes(_known_mark(folder)))
        if not mark.exists():
            create(mark, json_bytes(_known_mark(folder)))
        probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
        probe.touch(exist_ok=False)
        probe.unlink()
        content = read_json(mark)
    except Damaged:  # whatever else is there, it was ours
        set_aside(mark)
        content = _known_mark(folder)
        write_json(mark, content)
    except OSError as error:
        raise InputError(
            f"the storage {copies.shown(folder)} cannot be written ({error.strerror}): give another."
        ) from error
    if content["format"] != FORMAT:
        raise InputError(
            f"the storage {folder} is of format {content['format']}; this genlib reads format {FORMAT}: give another."
        )
    if not (folder / COPY).exists():
        with suppress(OSError):  # the storage is whole without it
            create(folder / COPY, json_bytes(content))
    return folder


def _known_mark(folder: Path) -> dict[str, Any]:
    """The mark of a storage that has lost it, by its copy, for MLflow knows runs by its id; else a new one."""
    try:
        return read_json(folder / COPY)
    except (FileNotFoundError, Damaged):
        return {"format": FORMAT, "id": uuid.uuid4().hex[:12], "made": time.time()}


def run_folders(storage: Path) -> Iterator[Path]:
    """Every run directory."""
    for group in sorted(storage.iterdir()) if storage.exists() else ():
        if group.is_dir() and group.name[0] not in "._" and group.name != "artifacts":
            yield from sorted(path.parent for path in group.glob("*/study.json"))


def sweep_folders(storage: Path) -> Iterator[Path]:
    """Every sweep's folder."""
    yield from sorted(path.parent for path in storage.glob("*/sweep.json"))


def set_asides(storage: Path, *, days: float) -> list[Path]:
    """What `--fresh` and damage have moved out of the way, in the storage and in its runs, more than some days ago."""
    found = {*storage.glob(".aside/*"), *storage.glob("aside-*"), *storage.glob("*/aside-*")}
    found |= {path for folder in run_folders(storage) for path in folder.rglob("aside-*")}
    moved = {path: int(match[1]) / 1e9 for path in found if (match := re.fullmatch(r"aside-.*-(\d{18,})", path.name))}
    until = time.time() - 86_400 * days
    # What lies in a moved folder goes with it.
    return sorted(p for p in moved if moved[p] <= until and not any(parent in moved for parent in p.parents))


def find_run(named: str, storage: Path) -> Path:
    """The run directory that a path, also one inside the storage, or the beginning of a key names."""
    for path in (Path(named), storage / named):
        if named and (path / "study.json").exists():
            return path.absolute()
    is_key = re.fullmatch(r"[0-9a-f]+", named) is not None
    matches = [folder for folder in run_folders(storage) if is_key and folder.name.startswith(named)]
    if not matches:
        raise InputError(
            f"there is no run {named!r} in {copies.shown(storage)}: `experiments/runs.py list` names those there are."
        )
    if len(matches) > 1:
        shown = ", ".join(str(folder.relative_to(storage)) for folder in matches[:4])
        raise InputError(f"{named} may be {shown}: give more of the key, or the path.")
    return matches[0]
