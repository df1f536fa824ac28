"""How long paths are, and how much they turn."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def path_length(paths: Float[Tensor, "t n d"]) -> Float[Tensor, " n"]:
    """The length of each polyline.

    Example:
        >>> path_length(torch.tensor([[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]]))
        tensor([7.])
    """
    return paths.diff(dim=0).norm(dim=-1).sum(0)


def turning(paths: Float[Tensor, "t n d"]) -> Float[Tensor, " n"]:
    """The total curvature of each polyline: the sum of the angles at its corners, in radians; 0 for a straight one.

    Segments shorter than a ten-thousandth of the path have no direction to speak of and are passed over.

    Example:
        >>> round(float(turning(torch.tensor([[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]]))), 4)  # a right angle
        1.5708
    """
    angles = []
    for path in paths.unbind(1):
        steps = path.diff(dim=0)
        lengths = steps.norm(dim=-1)
        directions = torch.nn.functional.normalize(steps[lengths > 1e-4 * lengths.sum()], dim=-1)
        # The angle of two unit vectors by its tangent: the arc cosine loses small angles.
        apart, together = (
            (directions[1:] - directions[:-1]).norm(dim=-1),
            (directions[1:] + directions[:-1]).norm(dim=-1),
        )
        angles.append(2 * torch.atan2(apart, together).sum())
    return torch.stack(angles)
