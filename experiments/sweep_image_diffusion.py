"""Which schedule, how many sampling steps, how much guidance; how wide a network, of which patches? Images by text.

Schedules, steps and guidance are looked at under one trained model of each width and patch. MNIST is read from the data
folder (GENLIB_DATA) or downloaded.

python experiments/sweep_image_diffusion.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import ImageDiffusion
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="prompted images",
    study=ImageDiffusion.preset("small", steps=2_000, validate_every=500, samples=250),
    space={
        "patch": [2, 7],
        "width": [16, 32],
        "schedule": ["edm", "cosine"],
        "sampling_steps": [4, 18],
        "guidance": [1.0, 2.0],
    },
    metric="both_right",
    mode="max",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="sampling_steps", by="guidance")
