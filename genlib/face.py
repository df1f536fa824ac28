"""All that genlib offers by name. It brings torch, a second of imports, so `genlib` brings it at the first use."""

from genlib.catalogue import CATALOGUE, STUDIES, Entry, Views, views_of
from genlib.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from genlib.claims import Claim, Finding, weigh
from genlib.drawing import Drawing, Film
from genlib.draws import Draws
from genlib.errors import CheckpointDamaged, CheckpointError, Diverged, InputError
from genlib.fitting import fit
from genlib.history import History
from genlib.needs import needed
from genlib.own import find_study
from genlib.state import State
from genlib.studies.autoencoders.continuous import ContinuousVAE
from genlib.studies.autoencoders.discrete import DiscreteVAE
from genlib.studies.autoencoders.joint import JointVAE
from genlib.studies.colour_transfer.study import ColourTransfer
from genlib.studies.coupling_flow.study import CouplingFlow
from genlib.studies.digit_judge.study import DigitJudge
from genlib.studies.flow_matching.study import FlowMatching
from genlib.studies.image_diffusion.study import ImageDiffusion
from genlib.studies.point_diffusion.study import PointDiffusion
from genlib.studies.spiral_diffusion.study import SpiralDiffusion
from genlib.studies.tiny_gpt.study import TinyGPT
from genlib.studies.vicreg.study import VICReg
from genlib.study import Data, Evaluation, Loss, Study, setting
from genlib.trained import Trained
from genlib.training import Launch, Progress, start, train

__all__ = [
    "CATALOGUE",
    "STUDIES",
    "CheckpointDamaged",
    "CheckpointError",
    "Claim",
    "ColourTransfer",
    "ContinuousVAE",
    "CouplingFlow",
    "Data",
    "DigitJudge",
    "DiscreteVAE",
    "Diverged",
    "Drawing",
    "Draws",
    "Entry",
    "Evaluation",
    "Film",
    "Finding",
    "FlowMatching",
    "History",
    "ImageDiffusion",
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
    "VICReg",
    "Views",
    "checkpoints",
    "find_study",
    "fit",
    "load_checkpoint",
    "needed",
    "save_checkpoint",
    "setting",
    "start",
    "train",
    "views_of",
    "weigh",
]
