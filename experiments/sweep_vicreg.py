"""5 epochs or 25, with the variance term or without, views or neighbours as positives? VICReg on CIFAR-10, compared.

The longer runs pass through the shorter ones, and neighbours are found by the model of views at 25 epochs. CIFAR-10 is
read from the data folder (GENLIB_DATA) or downloaded.

python experiments/sweep_vicreg.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import VICReg
from tuning.sweep import Sweep

SMALL = VICReg.preset("small")
SWEEP = Sweep(
    name="vicreg 5 against 25",
    study=VICReg.preset("small", guide_steps=SMALL.lasting(25).steps),
    space={
        "epochs": [5, 25],
        "variance_weight": [25.0, 0.0],
        "positives": ["views", "alternating", "neighbours"],
    },
    metric="probe_accuracy",
    mode="max",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="epochs", by="positives")
