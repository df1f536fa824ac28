"""Coverage and leakage: is anything missing, is anything where nothing should be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor


def coverage(real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], *, neighbours: int = 5) -> float:
    """The share of real points with a generated one within the distance of their k-th nearest real neighbour.

    Naeem et al., *Reliable fidelity and diversity metrics*, 2020. Two equal clouds of one size reach about 1 − 2⁻ᵏ
    (.97 for k = 5), a collapsed cloud nearly 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> coverage(rng.normal(size=(500, 2)), np.zeros((500, 2))) < 0.05
        True
    """
    from scipy.spatial import KDTree

    radius = np.asarray(KDTree(real).query(real, k=[neighbours + 1])[0])[:, 0]
    nearest = KDTree(generated).query(real, k=1)[0]
    return float((nearest <= radius).mean())


def leakage(inside: Bool[Tensor, " n"]) -> float:
    """The share of samples outside the support."""
    return 1.0 - inside.float().mean().item()
