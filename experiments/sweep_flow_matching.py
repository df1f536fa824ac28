"""How small a Δt, which pairing of noise and data, how long a training? Flow matching on the Olympic rings, compared.

python experiments/sweep_flow_matching.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import FlowMatching
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="flow matching steps",
    study=FlowMatching.preset("report", batch_size=200, validate_every=500, samples=5_000),
    space={
        "pairing": ["independent", "optimal"],
        "steps": [1_000, 4_000],
        "sampling_steps": [5, 10, 20, 50, 500],  # Δt = .2, .1, .05, .02, .002; costs no training
    },
    metric="sliced_wasserstein",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="sampling_steps", by="pairing")
