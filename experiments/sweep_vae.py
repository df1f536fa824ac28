"""Which code, how wide, which β, how cold, how long? Autoencoders of coloured digits, compared by their test loss.

Whatever β a run was trained with, what is compared is −ELBO at β = 1, with whole codes. MNIST is read from the data
folder (GENLIB_DATA) or downloaded.

python experiments/sweep_vae.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.sweeping import View, sweep_scripts
from genlib import ContinuousVAE, DiscreteVAE, JointVAE
from tuning.sweep import Sweep

EPOCH = 469  # updates
STEPS = [EPOCH, 4 * EPOCH]
CONTINUOUS = Sweep(
    name="continuous codes",
    study=ContinuousVAE.preset("report", validate_every=EPOCH),
    space={"continuous": [2, 22], "beta": [0.5, 1.0, 4.0], "steps": STEPS},
    metric="test/loss",
)
DISCRETE = Sweep(
    name="discrete codes",
    study=DiscreteVAE.preset("report", validate_every=EPOCH),
    space={"variables": [5, 20], "least_temperature": [0.2, 0.5, 1.0], "steps": STEPS},
    metric="test/loss",
)
JOINT = Sweep(
    name="joint codes",
    study=JointVAE.preset("report", validate_every=EPOCH),
    space={"variables": [5, 20], "cooling": [1e-4, 3e-4, 1e-3], "steps": STEPS},
    metric="test/loss",
)

if __name__ == "__main__":
    sweep_scripts(
        View(CONTINUOUS, "beta", "continuous"),
        View(DISCRETE, "least_temperature", "variables"),
        View(JOINT, "cooling", "variables"),
    )
