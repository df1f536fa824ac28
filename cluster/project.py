"""This project's own source: where it is, what names its state, and the packages that it computes with."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import genlib

ROOT = Path(genlib.__file__).parents[1]
"""The project: what a Ray job uploads, what its processes import from."""


@cache
def source_hash() -> str:
    """The hash of genlib's own source: names the code where no version control does (in a Ray job, in an image)."""
    root = Path(genlib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def commit() -> str | None:
    """The git commit of this checkout, with a plus sign where files differ from it; None outside of one."""
    if not (ROOT / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that compute."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"genlib": genlib.__version__}
    for name in ("torch", "numpy", "scipy", "scikit-learn", "tokenizers", "ray", "mlflow"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
