"""A training of two workers that takes some seconds, for the tests on several hosts."""

import json
import os
import sys
from pathlib import Path

import pytest

from genlib import PointDiffusion
from support.evidence import journal_of
from support.scripts import ROOT

TRAIN = ROOT / "experiments" / "train.py"
STUDY = PointDiffusion.preset(
    "tiny", steps=3_000, validate_every=100, log_every=20, samples=100, likelihood_points=20, width=64, batch_size=256
)
FIELDS = [f"--{name.replace('_', '-')}={getattr(STUDY, name)}" for name in
          ("steps", "validate_every", "log_every", "samples", "likelihood_points", "width", "batch_size")]  # fmt: skip
COMMAND = [TRAIN, "point-diffusion", "--preset", "tiny", *FIELDS, "--workers", 2, "--tracking", "none"]


def recovered(what: str, seconds: float) -> None:
    """Say how long it took until the next new row."""
    sys.stdout.write(f"{what}: the next row after {seconds:.1f} s\n")
    if name := os.environ.get("GENLIB_RECOVERY"):
        with open(name, "a") as file:
            file.write(json.dumps({"what": what, "seconds": round(seconds, 1)}) + "\n")


def close(path: Path, undisturbed: Path) -> None:
    """Both journals have the same steps, and the same numbers but for the order in which workers are summed."""
    mine, theirs = journal_of(path), journal_of(undisturbed)
    assert [step for step, _ in mine] == [step for step, _ in theirs]
    for (step, ours), (_, others) in zip(mine, theirs, strict=True):
        for name, value in ours.items():
            assert value == pytest.approx(others[name], rel=2e-2, abs=2e-3), (step, name)
