"""Many runs: sweeps over the fields of a study, and runs of many studies, on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlib.importing import given_later, uncollected

with uncollected():
    from tuning.sweep import Placement, Sweep, Swept, plan

if TYPE_CHECKING:
    from tuning.engine import run_sweep
    from tuning.folder import gathering
    from tuning.many import run_many

__all__ = ["Placement", "Sweep", "Swept", "gathering", "plan", "run_many", "run_sweep"]

LATER = {"run_sweep": "tuning.engine", "gathering": "tuning.folder", "run_many": "tuning.many"}
"""What needs Ray Tune is imported when it is used: that takes more than a second, and `--help` needs none of it."""

if not TYPE_CHECKING:
    __getattr__, __dir__ = given_later("tuning", LATER)
