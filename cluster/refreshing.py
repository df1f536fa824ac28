"""A whole storage in a bucket: what other machines have written to it is brought here, unit by unit."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from cluster.bucket import BucketFailed, Object
from cluster.carrying import AT_ONCE, FRESH, PAUSE, is_carried, is_up_to_date, locked, patiently, settle, unit_of
from cluster.copies import COPIES, LEASE_FILE, MARK, bring_mark, look, looked_at, place_of, shown, take_over, write
from cluster.files import StorageFailed

_LISTED: dict[Path, dict[str, Object]] = {}
_FOLLOWED: set[Path] = set()


def refresh(storage: Path) -> None:
    """Bring here what other machines have written to a storage."""
    place, now = place_of(storage), time.monotonic()
    if place is None:
        return
    listed = place.bucket.listed(place.key)
    if MARK not in listed:
        if not (storage / MARK).exists():
            return
        raise BucketFailed(f"there is no storage of genlib's any more at s3://{place.bucket.name}/{place.key}")
    folders: dict[str, dict[str, Object]] = defaultdict(dict)
    for name, one in listed.items():
        folder, _, file = name.rpartition("/")
        folders[folder][file] = one
    for folder, files in folders.items():
        if any(map(LEASE_FILE.fullmatch, files)):
            take_over(storage / folder, files)
            looked_at(storage / folder, now)
            looked_at((storage / folder).with_name("driver"), now)
    for name in listed:
        if name.startswith(".courses/") and not (storage / name).exists():
            write(storage / name, b"")
        if name.startswith(".aside/"):
            (storage / name).parent.mkdir(parents=True, exist_ok=True)
    if not (storage / MARK).exists():
        bring_mark(storage)
    names = {folder.rpartition("/")[0] for folder in folders if folder.rpartition("/")[2] == "lease"}
    places = {name: unit_of(storage / name / "lease") for name in names}
    units = {name: dict[str, Object]() for name, unit in places.items() if unit not in (None, storage)}
    for name, one in listed.items():
        parts = name.split("/")
        for depth in (2, 1):
            if (unit_name := "/".join(parts[:depth])) in units and len(parts) > depth:
                if is_carried("/".join(parts[depth:]).partition("~")[0]):
                    units[unit_name]["/".join(parts[depth:])] = one
                break
    changed = [
        storage / name
        for name, objects in units.items()
        if _LISTED.get(storage / name) != objects and not is_up_to_date(storage / name, objects)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(settle, changed))
    _LISTED.update({storage / name: objects for name, objects in units.items()})
    FRESH.update(dict.fromkeys((storage / name for name in units), now))
    for lease in (*storage.glob("*/*/lease"), *storage.glob("*/lease")):
        if str(lease.parent.relative_to(storage)) not in units and lease.parts[len(storage.parts)] != ".aside":
            _remove_deleted(lease.parent)


def _remove_deleted(unit: Path) -> None:
    """Remove a unit that was deleted on another machine, unless one here is just making it."""
    place = place_of(unit)
    assert place is not None
    with locked(unit):
        look(unit / "lease", within=0)
        if not list((unit / "lease").glob("[0-9]*.json")) and not list(unit.glob("*/lease")):
            _LISTED.pop(unit, None)
            shutil.rmtree(unit, ignore_errors=True)


def catch_up(storage: Path) -> None:
    """Bring here what has just ended on another machine, where several machines write to a storage."""
    if storage in _FOLLOWED:
        patiently(lambda: refresh(storage), f"so {shown(storage)} cannot be read: give the same command again")


def keep_fetching(storage: Path) -> None:
    """Bring here, from now on, what other machines write to a storage, in a thread."""
    if place_of(storage) is None or storage in _FOLLOWED:
        return
    _FOLLOWED.add(storage)

    def follow() -> None:
        while True:
            began = time.monotonic()
            with suppress(OSError, StorageFailed):
                refresh(storage)
            time.sleep(max(PAUSE, 4 * (time.monotonic() - began)))

    threading.Thread(target=follow, name=f"fetch {COPIES}", daemon=True).start()
