"""One file per study. This list is the one place where the command line and the tests find them."""

from typing import Any

from genlib.studies.coupling_flow import CouplingFlow
from genlib.studies.flow_matching import FlowMatching
from genlib.studies.point_diffusion import PointDiffusion
from genlib.studies.spiral_diffusion import SpiralDiffusion
from genlib.study import Study

STUDIES: tuple[type[Study[Any]], ...] = (PointDiffusion, SpiralDiffusion, CouplingFlow, FlowMatching)

__all__ = ["STUDIES", "CouplingFlow", "FlowMatching", "PointDiffusion", "SpiralDiffusion"]
