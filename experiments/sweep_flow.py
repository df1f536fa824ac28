"""How deep, how wide, which coupling? Coupling flows on the Olympic rings, compared.

All settings make equally many updates; those of a spline cost about half as much again as those of an affine coupling.

python experiments/sweep_flow.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import CouplingFlow
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="coupling flows",
    study=CouplingFlow.preset(
        "report", learning_rate_schedule="cosine", ema_decay=0.99, steps=1_500, validate_every=500, samples=5_000
    ),
    space={
        "layers": [4, 8, 15],
        "coupling": ["affine", "spline"],
        "width": [32, 64],
    },
    metric="nll_gap",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="layers", by="coupling")
