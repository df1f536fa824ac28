"""How fast, how fast the critics, how strict the cycle? Colour transfer, compared by PSNR on validation images.

MNIST is read from the data folder (GENLIB_DATA) or downloaded.

python experiments/sweep_colour_transfer.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import ColourTransfer
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="colour transfer rates",
    study=ColourTransfer.preset("best", steps=1_500),
    space={
        "learning_rate": [3e-4, 1e-3, 2e-3],
        "critic_rate": [0.15, 1.0],
        "cycle_weight": [3.0, 10.0],
    },
    metric="validation/psnr",
    mode="max",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="learning_rate", by="critic_rate")
