"""The figures of `SpiralDiffusion`, in DDPM's own coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from genlib.figures import clouds
from genlib.figures.planes import plane_of
from genlib.figures.style import BLUE, GREEN, INK, Plane
from genlib.history import History
from genlib.methods import diffusion
from genlib.studies.losses import draw_loss
from genlib.study import Drawing

if TYPE_CHECKING:
    from genlib.studies.spiral_diffusion import SpiralDiffusion


def draw(study: SpiralDiffusion, model: nn.Module, history: History) -> dict[str, Drawing]:
    """Every figure of the study."""
    plane = plane_of(study.truth, margin=1.15)
    return {
        "loss": draw_loss(history, label="squared error of the noise, per coordinate"),
        "noising": _noising(study, plane),
        "samples": _samples(study, model, plane),
        "denoising": _denoising(study, model, plane),
    }


def _noising(study: SpiralDiffusion, plane: Plane) -> Drawing:
    """q(x_t): a slight blur after the first step, a disc before the last."""
    draws = study.draws("figures/noising")
    x = study.truth.sample(min(2_000, study.samples), draws).x
    noise = draws.normal(*x.shape)
    levels, last = study.levels(x), study.diffusion_steps
    shown = {"data: $q(x_0)$": x.numpy()}
    for t in _places(last):
        sigma = levels[t - 1]
        shown[f"$q(x_{{{t}}})$"] = ((x + sigma * noise) * study.noise.signal(sigma)).numpy()
    ground = plane._replace(region=np.full((1, 1), -1))
    return Drawing(clouds.cloud_panels(shown, ground, columns=len(shown), room=1.25, colours=(INK,)), shown)


def _samples(study: SpiralDiffusion, model: nn.Module, plane: Plane) -> Drawing:
    draws = study.draws("figures/samples")
    count = min(3_000, study.samples)
    shown = {
        "data $q(x_0)$": study.truth.sample(count, draws).x.numpy(),
        "model $p_\\theta(x_0)$": study.generate(model, count, draws.fork("samples")).numpy(),
    }
    return Drawing(clouds.cloud_panels(shown, plane, columns=2), shown)


def _denoising(study: SpiralDiffusion, model: nn.Module, plane: Plane) -> Drawing:
    """x_t (top) and the predicted x̂₀ (below) along the reverse process."""
    points, clean, labels = reverse_with_predictions(study, model, min(1_500, study.samples), "figures/denoising")
    top = {f"$x_{{{t}}}$": x.numpy() for t, x in zip(labels, points, strict=True)}
    below = {f"$\\hat x_0$ from $x_{{{t}}}$": x.numpy() for t, x in zip(labels, clean, strict=True)}
    figure = clouds.cloud_panels({**top, **below}, plane, columns=len(labels), room=1.1, colours=(BLUE, GREEN))
    return Drawing(figure, {**top, **below})


@torch.no_grad()
def reverse_with_predictions(
    study: SpiralDiffusion, model: nn.Module, count: int, stream: str
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[int]]:
    """Along one reverse process, at a few steps t: x_t in DDPM's coordinates, x̂₀ predicted from it, and t."""
    draws = study.draws(stream)
    sigmas = study.sampling_sigmas()
    whole = diffusion.path(model, study.first_noise(count, draws), sigmas, draws, diffusion.SAMPLERS[study.sampler])
    steps = study.sampling_steps
    labels = sorted({max(1, round(steps * share)) for share in (1, 0.6, 0.35, 0.2, 0.1, 0.025)}, reverse=True)
    points, clean = [], []
    for t in labels:
        x, sigma = whole[steps - t], sigmas[steps - t]
        points.append(x * study.noise.signal(sigma))
        clean.append(x - sigma * model(x, sigma))
    return points, clean, labels


def _places(last: int) -> list[int]:
    """A few steps between the first and the last, denser early."""
    return sorted({max(1, round(last * share)) for share in (0.025, 0.125, 0.25, 0.45, 0.7, 0.925)})
