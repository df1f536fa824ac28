"""How wide, how deep, how fast, and which tokens? A small GPT on Alice, compared per character of held-out text.

The text is read from the data folder (GENLIB_DATA).

python experiments/sweep_gpt.py [--storage runs] [--seeds 0 1 2] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import TinyGPT
from tuning.sweep import Sweep

SWEEP = Sweep(
    name="small gpts",
    study=TinyGPT.preset("report", steps=500, validate_every=250),
    space={
        "learning_rate": [5e-4, 2e-3],
        "tokeniser": ["characters", "byte_pairs"],
        "width": [64, 128],
        "layers": [2, 4],
        "learning_rate_schedule": ["constant", "cosine"],
    },
    metric="validation/nats_per_char",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="learning_rate", by="tokeniser")
