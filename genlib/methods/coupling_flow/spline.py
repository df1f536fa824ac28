"""The monotone rational-quadratic spline of a coupling. Durkan et al., *Neural spline flows*, 2019."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, softmax, softplus


@dataclass(frozen=True)
class Spline:
    """A monotone curve of `bins` rational-quadratic pieces on [−reach, reach], and the identity beyond.

    Arguments:
        bins: number of pieces.
        reach: half the width of the square in which the curve bends; data and latent should lie well inside.
        least: smallest width and height of a piece, as a share of an even one, and smallest slope.

    Example:
        >>> x, log_det = Spline(bins=4).to_data(torch.ones(3, 1), torch.zeros(3, 11))
        >>> bool(torch.allclose(x, torch.ones(3, 1))), bool(log_det.abs().max() < 1e-6)
        (True, True)
    """

    bins: int = 16
    reach: float = 4.0
    least: float = 1e-3

    @property
    def size(self) -> int:
        """Number of parameters for each coordinate."""
        return 3 * self.bins - 1

    def to_data(
        self, z: Float[Tensor, "n d"], raw: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """x, and ln |dx/dz| of every coordinate."""
        left, right, slopes = self._knots(raw, z)
        return self._curve(z, left, right, slopes)

    def to_latent(
        self, x: Float[Tensor, "n d"], raw: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """z, and ln |dz/dx| of every coordinate."""
        left, right, slopes = self._knots(raw, x)
        return self._inverse(x, left, right, slopes)

    def _knots(self, raw: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Knots on the axis of z and of x, and the slopes there: (n, d, bins + 1) each."""
        raw = raw.reshape(*like.shape, self.size)
        widths, heights, slopes = torch.split(raw, [self.bins, self.bins, self.bins - 1], -1)
        inner = self.least + (1 - self.least) * softplus(slopes + log(expm1(1)))  # raw zeros give slope 1
        return self._places(widths), self._places(heights), pad(inner, (1, 1), value=1.0)

    def _places(self, raw: Tensor) -> Tensor:
        shares = self.least / self.bins + (1 - self.least) * softmax(raw, -1)
        places = pad(shares.cumsum(-1)[..., :-1], (1, 0))
        return pad(places * (2 * self.reach) - self.reach, (0, 1), value=self.reach)

    def _pieces(self, x: Tensor, along: Tensor, *knots: Tensor) -> list[Tensor]:
        """For every x the values of all `knots` at both ends of its piece; pieces are found by the knots `along`."""
        piece = (x.unsqueeze(-1) >= along[..., 1:-1]).sum(-1, keepdim=True)  # (n, d, 1)
        both = torch.cat((piece, piece + 1), -1)
        return [end for each in knots for end in each.gather(-1, both).unbind(-1)]

    def _curve(self, z: Tensor, left: Tensor, right: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        inside = z.abs() < self.reach
        z0, z1, x0, x1, d0, d1 = self._pieces(z, left, left, right, slopes)
        width, height = z1 - z0, x1 - x0
        s = height / width
        u = ((z - z0) / width).clamp(0, 1)
        v = u * (1 - u)
        below = s + (d0 + d1 - 2 * s) * v
        x = x0 + height * (s * u * u + d0 * v) / below
        slope = s * s * (d1 * u * u + 2 * s * v + d0 * (1 - u) ** 2)
        log_slope = slope.log() - 2 * below.log()
        return torch.where(inside, x, z), torch.where(inside, log_slope, 0.0)

    def _inverse(self, x: Tensor, left: Tensor, right: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.reach
        z0, z1, x0, x1, d0, d1 = self._pieces(x, right, left, right, slopes)
        width, height = z1 - z0, x1 - x0
        s = height / width
        up = (x - x0).clamp_min(0).minimum(height)
        bend = up * (d0 + d1 - 2 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * up
        root = (b * b - 4 * a * c).clamp_min(torch.finfo(x.dtype).tiny).sqrt()  # at 0 its gradient would be infinite
        u = (2 * c / (-b - root)).clamp(0, 1)
        v = u * (1 - u)
        below = s + (d0 + d1 - 2 * s) * v
        slope = s * s * (d1 * u * u + 2 * s * v + d0 * (1 - u) ** 2)
        log_slope = 2 * below.log() - slope.log()
        return torch.where(inside, z0 + u * width, x), torch.where(inside, log_slope, 0.0)
