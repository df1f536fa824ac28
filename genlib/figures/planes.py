"""A density as the ground that figures are drawn on."""

from __future__ import annotations

from functools import cache

import torch

from genlib.data.points import PointDensity
from genlib.draws import Draws
from genlib.figures.style import Plane


@cache
def plane_of(density: PointDensity, *, classes: bool = False, margin: float = 1.0, resolution: int = 300) -> Plane:
    """The limits of a density and the map of its support (of the most probable class at each place, with `classes`).

    Where the support is the whole plane, the region that holds 98 % of the mass stands for it.
    """
    with torch.device("cpu"):
        (cx, cy), half = density.centre, max(density.extent) * margin
        axis = (torch.arange(resolution, dtype=torch.float64) + 0.5) / resolution * 2 - 1
        y, x = torch.meshgrid(cy + half * axis, cx + half * axis, indexing="ij")
        grid = torch.stack((x, y), -1).reshape(-1, 2)
        inside = density.contains(grid)
        if inside is None:
            typical = density.log_prob(density.sample(2_000, Draws(0, "plane")).x.double())
            inside = density.log_prob(grid) > typical.quantile(0.02)
        region = torch.zeros(len(grid), dtype=torch.long)
        if classes:
            labels = [torch.full((len(grid),), label) for label in range(density.classes)]
            region = torch.stack([density.log_prob(grid, y) for y in labels]).argmax(0)
        region[~inside] = -1
    return Plane((cx - half, cx + half), (cy - half, cy + half), region.reshape(resolution, resolution).numpy())
