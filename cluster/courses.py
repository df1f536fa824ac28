"""Runs of one course: a longer run goes through the states of a shorter one, and takes them where they are on file.

A course is all that decides the updates of a study but their number (`Study.course`). Whoever begins a run signs it in
at `<storage>/.courses/<course>/`, so that others find it. States are taken bit for bit or not at all: from a run of the
same source, packages, kind of device and number of workers. The journal's rows come with them, and from then on the
run is like any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import genlib
from cluster import copies
from cluster.files import Damaged, read_json, storage_failures
from cluster.journal import read_rows, read_segments
from cluster.project import packages, source_hash
from cluster.record import rebuild
from genlib import CheckpointError, InputError, Launch, Study
from genlib.checkpoint import checkpoints, load_checkpoint
from genlib.own import provenance

COURSES = ".courses"


class Passed(NamedTuple):
    """A state of another run that this one would go through."""

    path: Path
    """Directory of the other run."""
    state: genlib.State


def sign_in(storage: Path, path: Path, study: Study[Any]) -> None:
    """Let runs of the same course find this one."""
    if (course := study.course()) is not None:
        mark = storage / COURSES / course / f"{path.parent.name}--{path.name}"
        with storage_failures(mark):
            mark.parent.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                mark.touch()
                copies.share(mark)


def furthest_state(storage: Path, study: Study[Any], launch: Launch, *, besides: Path, upto: int) -> Passed | None:
    """The furthest state on file that a study would go through, at most at update `upto`; None where there is none."""
    found = [
        (step, folder, other, path)
        for path, other, reached in _of_course(storage, study, launch)
        if path != besides
        for folder in checkpoints(path / "checkpoints")
        if (step := int(folder.name.removeprefix("step-"))) <= upto
        and _is_passed(study, other, step)
        and last_due(study, step) <= reached
    ]
    for _, folder, other, path in sorted(found, key=lambda one: (one[0], str(one[1])), reverse=True):
        try:
            return Passed(path, load_checkpoint(folder, other, launch))
        except CheckpointError:  # damaged, or removed meanwhile
            continue
    return None


def _is_passed(study: Study[Any], other: Study[Any], step: int) -> bool:
    """Whether the state of another run at an update is the study's too: at its end a run reports and validates beside
    the cadence, where a longer one goes on counting.
    """
    if step == study.steps == other.steps or step not in (study.steps, other.steps):
        return True
    return step % study.log_every == 0 and step % study.validate_every == 0


def last_due(study: Study[Any], step: int) -> int:
    """The last update up to this one that a study's journal has a row of."""
    return step if step == study.steps else max(step - step % n for n in (study.log_every, study.validate_every))


def _of_course(storage: Path, study: Study[Any], launch: Launch) -> Iterator[tuple[Path, Study[Any], int]]:
    """Runs of the study's course whose bits are those that this process would compute, and where their journals end."""
    course, own = study.course(), provenance(type(study))
    for mark in sorted((storage / COURSES / course).glob("*--*")) if course else ():
        group, _, key = mark.name.rpartition("--")
        path = storage / group / key
        try:
            described = read_json(path / "study.json")
            other = rebuild(described, path)
        except (FileNotFoundError, Damaged, InputError):
            continue
        alike = described["source"] == source_hash() and described["packages"] == packages()
        alike &= described.get("origin") is None and (described.get("own") or {}).get("source") == (own and own.source)
        heads = [segment.head for segment in read_segments(path / "journal") if "copied" not in segment.head]
        alike &= all((head.get("device"), head.get("workers")) == (launch.kind, launch.world) for head in heads)
        rows = read_rows(path / "journal")
        if alike and other.course() == course and rows:
            yield path, other, rows[-1]["step"]


# -- many runs ---------------------------------------------------------------------------------------------------------


def passed_by(study: Study[Any], studies: Iterable[Study[Any]]) -> list[Study[Any]]:
    """Those of some studies that a study passes through, or is but for its evaluation; shortest first."""
    course = study.course()
    if course is None:
        return []
    passed = {other for other in studies if other.steps <= study.steps and other.course() == course}
    return sorted(passed - {study}, key=lambda other: other.steps)


def saved_updates(studies: Iterable[Study[Any]]) -> dict[Study[Any], int]:
    """How many updates of every study are those of a shorter one; studies that share nothing are left out."""
    courses: dict[str, list[Study[Any]]] = defaultdict(list)
    for study in dict.fromkeys(studies):
        if (course := study.course()) is not None:
            courses[course].append(study)
    saved: dict[Study[Any], int] = {}
    for members in courses.values():
        ordered = sorted(members, key=lambda study: study.steps)
        saved |= {long: short.steps for short, long in zip(ordered, ordered[1:], strict=False)}
    return saved
