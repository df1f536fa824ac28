"""The affine transform of a coupling, with a bounded log-scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """x = z·eˢ + t with s = b·tanh(raw/b). Dinh et al., *Density estimation using Real NVP*, 2017.

    Arguments:
        bound: b, the largest log-scale of one coupling. Unbounded scales diverge: a few couplings multiply theirs.

    Example:
        >>> x, log_det = Affine().to_data(torch.ones(3, 1), torch.zeros(3, 2))
        >>> float(x.sum()), float(log_det.sum())
        (3.0, 0.0)
    """

    bound: float = 2.0
    size: int = 2
    """Number of parameters for each coordinate."""

    def to_data(
        self, z: Float[Tensor, "n d"], raw: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """x, and ln |dx/dz| of every coordinate."""
        log_scale, shift = self._parameters(raw, self.bound)
        return torch.addcmul(shift, z, log_scale.exp()), log_scale

    def to_latent(
        self, x: Float[Tensor, "n d"], raw: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """z, and ln |dz/dx| of every coordinate."""
        log_scale, shift = self._parameters(raw, -self.bound)
        return (x - shift) * log_scale.exp(), log_scale

    def _parameters(self, raw: Tensor, sign_and_bound: float) -> tuple[Tensor, Tensor]:
        scale, shift = raw.chunk(2, 1)
        return (scale * (1 / self.bound)).tanh() * sign_and_bound, shift
