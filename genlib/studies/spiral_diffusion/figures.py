"""The figures of `SpiralDiffusion`, in DDPM's own coordinates."""

from __future__ import annotations

import numpy as np
from torch import nn

from genlib.drawing import Drawing
from genlib.figures import clouds
from genlib.figures.planes import plane_of
from genlib.figures.style import BLUE, GREEN, INK, Plane
from genlib.history import History
from genlib.studies.losses import draw_loss
from genlib.studies.spiral_diffusion.study import SpiralDiffusion, reverse_with_predictions


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
    shown = {"data: $q(x_0)$": x.numpy(force=True)}
    for t in _places(last):
        sigma = levels[t - 1]
        shown[f"$q(x_{{{t}}})$"] = ((x + sigma * noise) * study.noise.signal(sigma)).numpy(force=True)
    ground = plane._replace(region=np.full((1, 1), -1))
    return Drawing(clouds.cloud_panels(shown, ground, columns=len(shown), room=1.25, colours=(INK,)), shown)


def _samples(study: SpiralDiffusion, model: nn.Module, plane: Plane) -> Drawing:
    draws = study.draws("figures/samples")
    count = min(3_000, study.samples)
    shown = {
        "data $q(x_0)$": study.truth.sample(count, draws).x.numpy(force=True),
        "model $p_\\theta(x_0)$": study.generate(model, count, draws.fork("samples")).numpy(force=True),
    }
    return Drawing(clouds.cloud_panels(shown, plane, columns=2), shown)


def _denoising(study: SpiralDiffusion, model: nn.Module, plane: Plane) -> Drawing:
    """x_t (top) and the predicted x̂₀ (below) along the reverse process."""
    points, clean, labels = reverse_with_predictions(study, model, min(1_500, study.samples), "figures/denoising")
    top = {f"$x_{{{t}}}$": x.numpy(force=True) for t, x in zip(labels, points, strict=True)}
    below = {f"$\\hat x_0$ from $x_{{{t}}}$": x.numpy(force=True) for t, x in zip(labels, clean, strict=True)}
    figure = clouds.cloud_panels({**top, **below}, plane, columns=len(labels), room=1.1, colours=(BLUE, GREEN))
    return Drawing(figure, {**top, **below})


def _places(last: int) -> list[int]:
    """A few steps between the first and the last, denser early."""
    return sorted({max(1, round(last * share)) for share in (0.025, 0.125, 0.25, 0.45, 0.7, 0.925)})
