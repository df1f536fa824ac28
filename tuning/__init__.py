"""Many runs: sweeps over the fields of a study, and runs of many studies, on Ray."""

from tuning.engine import run_sweep
from tuning.folder import gathering
from tuning.many import run_many
from tuning.sweep import Placement, Sweep, Swept, plan

__all__ = ["Placement", "Sweep", "Swept", "gathering", "plan", "run_many", "run_sweep"]
