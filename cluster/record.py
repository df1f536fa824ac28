"""`study.json`: what made a run's numbers — the study, whole; its source, its data, the packages, the machine."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.files import Damaged, read_json, set_aside, storage_failures, write_json
from cluster.project import commit, packages, source_hash
from cluster.secrets import scrubbed
from genlib import STUDIES, InputError, Study
from genlib.own import adopted, provenance
from genlib.study import recorded_name

FORMAT, READABLE = 2, (1, 2)
"""The run directory's format, raised when an older genlib could no longer read what a newer one writes; and the formats
that this one reads. In format 1 a study was named by the place of its file."""


def describe(study: Study[Any]) -> dict[str, Any]:
    """All that `study.json` holds."""
    own = provenance(type(study))
    return {
        **study.identity(),
        "format": FORMAT,
        "fields": study.fields(),
        "epochs": study.epochs,
        "key": study.key(),
        "course": study.course(),
        "own": own._asdict() if own else None,
        "born": time.time(),
        "source": source_hash(),
        "commit": commit(),
        "packages": packages(),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "data": digests(study),
        "command": command(),
    }


def command() -> str:
    """The command line that a user gave; in a process of Ray's, that of the process which sent the work."""
    return _SENT[-1] if _SENT else scrubbed(shlex.join(["python", *sys.argv]))


def remember_command(sent: str) -> None:
    """Keep the command of the process that sent the work."""
    _SENT[:] = [sent]


_SENT: list[str] = []


def rebuild(described: dict[str, Any], path: Path) -> Study[Any]:
    """The study that a `study.json` describes.

    The file is data: it names a study of the catalogue, or one that this process was handed (`genlib.own.adopt`).
    Nothing else is looked up, let alone imported or called.
    """
    if described.get("format") not in READABLE:
        raise InputError(
            f"{path} is a run directory of format {described.get('format')}; this genlib reads format {FORMAT}: "
            "open it with the version that made it, or give another storage."
        )
    known = {kind.__name__: kind for kind in STUDIES} | adopted()
    try:
        kind = known[recorded_name(described["study"])]
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in described["fields"].items()}
        study = kind(**fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} holds the study {described.get('study')}, which is none of genlib's: where it is one of your own, "
            "name it in this command, as path/to/mine.py:Mine."
        ) from error
    if kind.version != described["version"]:
        raise InputError(
            f"{path} was made by version {described['version']} of {kind.title()}; this is version {kind.version}: "
            "its meaning has changed, so train it anew."
        )
    return study


def keep_record(
    path: Path, study: Study[Any], key: str, origin: dict[str, Any] | None, note: Callable[[str], None]
) -> None:
    """Write a run's `study.json`, or note what has changed since it was written."""
    place = path / "study.json"
    try:
        known = read_json(place)
        rebuild(known, path)
        if known["source"] != source_hash():
            note(
                f"genlib's source has changed since {path} began ({known['source']}, now {source_hash()}): "
                "numbers may differ; --fresh starts anew."
            )
        note_changed_file(known, study, path, note)
        return
    except FileNotFoundError:
        pass
    except Damaged as error:
        note(f"{error} It is set aside as {set_aside(place).name}.")
    with storage_failures(place):
        write_json(place, {**describe(study), "key": key, "origin": origin})


def note_changed_file(described: dict[str, Any], study: Study[Any], path: Path, note: Callable[[str], None]) -> None:
    """Note that an own study's file is not the one that a run was made of: only name and fields tell its runs apart."""
    own, then = provenance(type(study)), described.get("own") or {}
    if own is None or own.source == then.get("source"):
        return
    name, text = type(study).__name__, "has changed" if own.place == then.get("place") else "is another"
    note(
        f"{name}'s file {text} since {path} began ({then.get('place')}, {then.get('source')}; now "
        f"{own.place}, {own.source}): its numbers are the old one's; raise the study's `version`, or give --fresh."
    )


def digests(study: Study[Any]) -> dict[str, dict[str, Any]]:
    """Rows and SHA-256 of the tensors that are trained on and tested on."""
    parts = {}
    for name, tensors in zip(("train", "test"), study.data(), strict=True):
        digest = hashlib.sha256()
        for key, tensor in sorted(tensors.items()):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        rows = min((len(tensor) for tensor in tensors.values()), default=0)
        if rows:
            parts[name] = {"rows": rows, "sha256": digest.hexdigest(), "tensors": sorted(tensors)}
    return parts
