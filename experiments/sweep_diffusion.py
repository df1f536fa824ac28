"""Which noise schedule, how many sampling steps, how long a training? Diffusion on the square, compared.

python experiments/sweep_diffusion.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="diffusion schedules",
    study=PointDiffusion.preset(
        "best",
        batch_size=500,
        learning_rate_schedule="constant",  # so that the longer runs pass through the shorter ones
        validate_every=500,
        samples=5_000,
        likelihood_points=1_000,
    ),
    space={
        "schedule": ["exp3", "exp5", "exp10", "geometric"],
        "steps": [500, 2_000],
        "sampling_steps": [5, 20, 100],  # looks at a trained model, so costs no training
    },
    metric="sliced_wasserstein",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="sampling_steps", by="schedule")
