"""Diffusion: schedules, denoisers, the loss, samplers and likelihoods."""

from genlib.methods.diffusion.denoisers import NoisePredictor, PlainDenoiser, PreconditionedDenoiser
from genlib.methods.diffusion.likelihood import Bound, log_prob, variational_bound
from genlib.methods.diffusion.loss import Weighting, denoising_loss
from genlib.methods.diffusion.samplers import SAMPLERS, SamplerName, path, reverse, sample
from genlib.methods.diffusion.schedules import SCHEDULES, DiscreteLinear, Schedule, ScheduleName
from genlib.methods.diffusion.start import Start, StartName, start_at

__all__ = [
    "SAMPLERS",
    "SCHEDULES",
    "Bound",
    "DiscreteLinear",
    "NoisePredictor",
    "PlainDenoiser",
    "PreconditionedDenoiser",
    "SamplerName",
    "Schedule",
    "ScheduleName",
    "Start",
    "StartName",
    "Weighting",
    "denoising_loss",
    "log_prob",
    "path",
    "reverse",
    "sample",
    "start_at",
    "variational_bound",
]
