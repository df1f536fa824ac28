"""Write `requirements.lock`: every package of `constraints.txt` with the hashes of its files, for the image.

    python cluster/deploy/lock.py

`constraints.txt` holds all that was installed and tested, on machines without CUDA. What torch needs for that is locked
too, in the version that torch names, or else the newest that it allows. Hashes come from the index that pip uses.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = Path(__file__).with_name("requirements.lock")
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
PYTHON = "3.11"
"""The image's Python."""
MACHINES = ("x86_64", "aarch64")
"""The image's machines."""


def pins() -> dict[str, Version]:
    """The versions of `constraints.txt`, by name."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    split = (line.partition("==") for line in lines if line)
    return {canonicalize_name(name): Version(version) for name, _, version in split}


@cache
def files_of(name: str) -> list[dict[str, Any]]:
    """Every file of a package in the index."""
    wanted = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(f"{INDEX}/{name}/", headers=wanted), timeout=60) as answer:
        return list(json.load(answer)["files"])


def version_of(file: dict[str, Any]) -> Version | None:
    """The version of a file; None of one that is neither wheel nor source."""
    name = file["filename"]
    try:
        return parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
    except ValueError:
        return None


def fits(file: dict[str, Any], machine: str | None = None) -> bool:
    """Whether the image's Python can use a file, on one machine or any of them."""
    name = file["filename"]
    if not name.endswith(".whl"):
        return True
    machines = MACHINES if machine is None else (machine,)
    number = PYTHON.replace(".", "")
    for tag in parse_wheel_filename(name)[3]:
        older = re.fullmatch(r"cp3(\d+)", tag.interpreter)
        python = tag.interpreter in (f"cp{number}", "py3", f"py{number}") or (
            tag.abi == "abi3" and older is not None and int(older[1]) <= int(PYTHON.partition(".")[2])
        )
        place = tag.platform == "any" or ("linux" in tag.platform and tag.platform.endswith(machines))
        if python and place and "musl" not in tag.platform:
            return True
    return False


UNSAID = {"cuda-bindings": ["cuda-pathfinder>=1.1"]}
"""What packages need where the index does not say it."""


def needs_of(name: str, version: Version, extras: set[str]) -> list[Requirement]:
    """What a package, with some of its extras, needs on the first of the image's machines."""
    wheels = [file for file in files_of(name) if version_of(file) == version and fits(file, MACHINES[0])]
    try:
        with urllib.request.urlopen(f"{wheels[0]['url']}.metadata", timeout=60) as answer:
            metadata = Metadata.from_email(answer.read(), validate=False)
    except (HTTPError, IndexError):
        assumed = UNSAID.get(name, [])
        sys.stderr.write(f"the index does not say what {name} {version} needs: {assumed or 'nothing'}, it is assumed\n")
        return list(map(Requirement, assumed))
    here = {"platform_machine": MACHINES[0], "platform_system": "Linux", "sys_platform": "linux", "os_name": "posix",
            "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}  # fmt: skip
    places = [{**here, "extra": extra} for extra in ("", *sorted(extras))]
    needs = metadata.requires_dist or ()
    return [need for need in needs if need.marker is None or any(map(need.marker.evaluate, places))]


def locked() -> dict[str, Version]:
    """Every package of the image with its version."""
    known: dict[str, Version] = {**pins()}
    asked: list[tuple[str, Requirement]] = []
    waiting: deque[tuple[str, set[str]]] = deque([("torch", set())])
    while waiting:
        name, extras = waiting.popleft()  # in this order: what a package names exactly goes before what others allow
        for need in needs_of(name, known[name], extras):
            needed = str(canonicalize_name(need.name))
            asked.append((needed, need))
            if needed in known:
                continue
            versions = {version_of(file) for file in files_of(needed) if fits(file) and not file.get("yanked")}
            known[needed] = max(one for one in versions if one is not None and one in need.specifier)
            waiting.append((needed, need.extras))
            sys.stderr.write(f"{needed} {known[needed]}, which {name} needs\n")
    for needed, need in asked:
        if known[needed] not in need.specifier:
            raise SystemExit(f"{needed} {known[needed]} is none of {need}: pin another in constraints.txt.")
    return known


def main() -> None:
    """Write the lock."""
    lines = [
        f"# What `{Path(__file__).relative_to(ROOT)}` wrote from constraints.txt; the image installs nothing else."
    ]
    for name, version in sorted(locked().items()):
        files = [file for file in files_of(name) if version_of(file) == version and fits(file)]
        if not files:
            raise SystemExit(f"{name}=={version} has no file for Python {PYTHON} on Linux: choose another version.")
        hashes = sorted({file["hashes"]["sha256"] for file in files})
        lines.append(" \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{digest}" for digest in hashes)]))
    LOCK.write_text("\n".join(lines) + "\n")
    sys.stderr.write(f"{len(lines) - 1} packages in {LOCK.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
