"""Six runs of some seconds, for the tests on several hosts."""

from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from tuning.sweep import Sweep

STUDY = PointDiffusion.preset(
    "tiny",
    steps=1_500,
    validate_every=100,
    log_every=20,
    samples=100,
    likelihood_points=20,
    width=128,
    batch_size=1_000,
)
SWEEP = Sweep(
    name="small", study=STUDY, space={"learning_rate": [1e-3, 2e-3, 3e-3], "schedule": ["exp5"]},
    metric="sliced_wasserstein", seeds=(0, 1),
)  # fmt: skip

if __name__ == "__main__":
    sweep_script(SWEEP, across="learning_rate", by="schedule")
