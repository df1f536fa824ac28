"""Generative and self-supervised models as studies: what is trained, measured and drawn, and one loop that trains them.

Example:
    >>> from genlib import PointDiffusion, train
    >>> for progress in train(PointDiffusion.preset("tiny")):
    ...     last = progress.step
    >>> last
    20
"""

from genlib.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from genlib.claims import Claim, Finding, judge
from genlib.draws import Draws
from genlib.errors import CheckpointDamaged, CheckpointError, Diverged, InputError
from genlib.history import History
from genlib.state import State
from genlib.studies import (
    STUDIES,
    ColourTransfer,
    ContinuousVAE,
    CouplingFlow,
    DiscreteVAE,
    FlowMatching,
    JointVAE,
    PointDiffusion,
    SpiralDiffusion,
    TinyGPT,
)
from genlib.study import Data, Drawing, Evaluation, Loss, Study, setting
from genlib.training import Launch, Progress, Trained, fit, start, train

__version__ = "0.4.0"
__all__ = [
    "STUDIES",
    "CheckpointDamaged",
    "CheckpointError",
    "Claim",
    "ColourTransfer",
    "ContinuousVAE",
    "CouplingFlow",
    "Data",
    "DiscreteVAE",
    "Diverged",
    "Drawing",
    "Draws",
    "Evaluation",
    "Finding",
    "FlowMatching",
    "History",
    "InputError",
    "JointVAE",
    "Launch",
    "Loss",
    "PointDiffusion",
    "Progress",
    "SpiralDiffusion",
    "State",
    "Study",
    "TinyGPT",
    "Trained",
    "checkpoints",
    "fit",
    "judge",
    "load_checkpoint",
    "save_checkpoint",
    "setting",
    "start",
    "train",
]
