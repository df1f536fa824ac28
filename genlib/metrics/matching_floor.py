"""The least squared error with which a velocity can be predicted: no flow matching gets below it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from genlib.data.points import DensityName, PointDensity, density

NODES, FINER = 400, 2
"""Cells of the grid along each axis, and places per cell along each axis where sharp edges cut cells anywhere."""


@cache
def matching_floor(name: DensityName, by_class: bool = False) -> float:
    """E‖u − E[u | x_t]‖² per coordinate, of u = x − z at x_t = (1 − t)z + tx, over uniform t (and given the class).

    With s = 1 − t and J the Fisher information of x_t, Tweedie's formula gives Var(u | x_t) = (1 − s²J/d)/t² for each
    of d coordinates. x_t has the density of t·x smoothed by N(0, s²I), which on grids is one matrix product from either
    side. Both ends of t are known.

    Example:
        >>> round(matching_floor("rings"), 2)
        1.48
    """
    truth = density(name)
    labels: tuple[int | None, ...] = tuple(range(truth.classes)) if by_class else (None,)
    weights = truth.priors if by_class else (1.0,)
    return sum(weight * _floor(truth, label) for label, weight in zip(labels, weights, strict=True))


def _floor(truth: PointDensity, label: int | None) -> float:
    from scipy.interpolate import PchipInterpolator

    (rows, columns), mass = _masses(truth, label)
    _, variance = truth.moments if label is None else truth.class_moments[label]
    times = np.concatenate((np.linspace(0.1, 0.9, 11), (0.94, 0.965)))
    inner = [_unexplained(rows, columns, mass, float(t)) for t in times]
    nodes = np.concatenate(([0.0], times, [1.0]))
    values = np.concatenate(([np.mean(variance)], inner, [1.0]))  # at t = 1 the point is known, and its noise is not
    return float(PchipInterpolator(nodes, values).integrate(0.0, 1.0))


def _masses(truth: PointDensity, label: int | None) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The density as masses on a grid over its rectangle: places along both axes, and the mass of each cell."""
    finer = 1 if truth.contains(torch.tensor([truth.centre])) is None else FINER
    places = NODES * finer
    axis = (torch.arange(places, dtype=torch.float64) + 0.5) / places * 2 - 1
    x, y = (middle + half * axis for middle, half in zip(truth.centre, truth.extent, strict=True))
    grid = torch.cartesian_prod(x, y)
    p = truth.log_prob(grid, None if label is None else torch.full((len(grid),), label)).exp()
    mass = p.reshape(NODES, finer, NODES, finer).sum((1, 3))
    return (x.reshape(NODES, finer).mean(1), y.reshape(NODES, finer).mean(1)), mass / mass.sum()


def _unexplained(x: Tensor, y: Tensor, mass: Tensor, t: float) -> float:
    """Var(u | x_t) per coordinate."""
    s = 1 - t
    (along_x, slope_x, width), (along_y, slope_y, height) = (_smoothing(t * places, s) for places in (x, y))
    p = along_x @ mass @ along_y.T
    slopes = (slope_x @ mass @ along_y.T).square() + (along_x @ mass @ slope_y.T).square()
    fisher = float((slopes / p.clamp_min(1e-30)).sum() * width * height)
    return (1 - s * s * fisher / 2) / t**2


def _smoothing(places: Tensor, s: float) -> tuple[Tensor, Tensor, float]:
    """N(e; place, s²) and its slope in e, for e on a grid wide and fine enough; and that grid's spacing."""
    low, high = float(places.min()) - 6 * s, float(places.max()) + 6 * s
    count = int((high - low) / (0.4 * s)) + 2
    ends = torch.linspace(low, high, count, dtype=torch.float64)
    distance = (ends.unsqueeze(1) - places) / s
    normal = torch.exp(-0.5 * distance.square()) / (s * (2 * torch.pi) ** 0.5)
    return normal, -distance / s * normal, (high - low) / (count - 1)
