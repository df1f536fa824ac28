"""Diffusion: schedules, denoisers, the loss, samplers and likelihoods."""

from genlib.methods.diffusion.consistency import STAGES, consistency_loss, lower_level
from genlib.methods.diffusion.denoisers import (
    ImageDenoiser,
    NoisePredictor,
    PlainDenoiser,
    PreconditionedDenoiser,
    each,
    preconditioned,
)
from genlib.methods.diffusion.likelihood import Bound, log_prob, variational_bound
from genlib.methods.diffusion.loss import Weighting, denoising_loss
from genlib.methods.diffusion.samplers import SAMPLERS, SamplerName, Step, consistent, path, reverse, sample
from genlib.methods.diffusion.schedules import SCHEDULES, DiscreteLinear, Schedule, ScheduleName
from genlib.methods.diffusion.start import Start, StartName, start_at

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "STAGES",
    "Bound",
    "DiscreteLinear",
    "ImageDenoiser",
    "NoisePredictor",
    "PlainDenoiser",
    "PreconditionedDenoiser",
    "SamplerName",
    "Schedule",
    "ScheduleName",
    "Start",
    "StartName",
    "Step",
    "Weighting",
    "consistency_loss",
    "consistent",
    "denoising_loss",
    "each",
    "log_prob",
    "lower_level",
    "path",
    "preconditioned",
    "reverse",
    "sample",
    "start_at",
    "variational_bound",
]
