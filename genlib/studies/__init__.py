"""One file per study. This list is the one place where the command line and the tests find them."""

from typing import Any

from genlib.studies.colour_transfer import ColourTransfer
from genlib.studies.continuous_vae import ContinuousVAE
from genlib.studies.coupling_flow import CouplingFlow
from genlib.studies.discrete_vae import DiscreteVAE
from genlib.studies.flow_matching import FlowMatching
from genlib.studies.joint_vae import JointVAE
from genlib.studies.point_diffusion import PointDiffusion
from genlib.studies.spiral_diffusion import SpiralDiffusion
from genlib.studies.tiny_gpt import TinyGPT
from genlib.study import Study

STUDIES: tuple[type[Study[Any]], ...] = (
    PointDiffusion,
    SpiralDiffusion,
    CouplingFlow,
    FlowMatching,
    ContinuousVAE,
    DiscreteVAE,
    JointVAE,
    ColourTransfer,
    TinyGPT,
)

__all__ = [
    "STUDIES",
    "ColourTransfer",
    "ContinuousVAE",
    "CouplingFlow",
    "DiscreteVAE",
    "FlowMatching",
    "JointVAE",
    "PointDiffusion",
    "SpiralDiffusion",
    "TinyGPT",
]
