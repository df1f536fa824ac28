"""Which code, how wide, which β, how cold, how long? Autoencoders of coloured digits, compared on validation images.

Whatever β a run was trained with, −ELBO at β = 1 is compared, with codes drawn without relaxation. MNIST is read from
the data folder (GENLIB_DATA) or downloaded.

python experiments/sweep_vae.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import View, sweep_scripts
from genlib import ContinuousVAE, DiscreteVAE, JointVAE
from tuning.sweep import Sweep

EPOCH = 469  # updates
METRIC = "validation/loss"
CONTINUOUS = Sweep(
    name="continuous codes",
    study=ContinuousVAE.preset("report", validate_every=EPOCH),
    space={"beta": [0.5, 1.0, 4.0], "continuous": [2, 22], "steps": [EPOCH, 4 * EPOCH]},
    metric=METRIC,
)
DISCRETE = Sweep(
    name="discrete codes",
    study=DiscreteVAE.preset("report", steps=4 * EPOCH, validate_every=EPOCH, cooling=1e-3),
    space={"least_temperature": [0.2, 0.5, 1.0], "variables": [5, 20], "beta": [1.0, 4.0]},
    metric=METRIC,
)
JOINT = Sweep(
    name="joint codes",
    study=JointVAE.preset("report", steps=4 * EPOCH, validate_every=EPOCH, cooling=1e-3),
    space={"beta": [0.5, 1.0, 4.0], "variables": [5, 20], "continuous": [2, 8]},
    metric=METRIC,
)

if __name__ == "__main__":
    sweep_scripts(
        View(CONTINUOUS, "beta", "continuous"),
        View(DISCRETE, "least_temperature", "variables"),
        View(JOINT, "beta", "variables"),
    )
