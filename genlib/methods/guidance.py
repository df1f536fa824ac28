"""Classifier-free guidance: a conditional model pushed away from its unconditional self."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor, nn

Settled = Callable[[Tensor, Tensor], Tensor]
"""(x (n, …), σ or t () or (n,)) → (n, …): a model of noise or velocity whose class and guidance are settled."""


def guided(
    model: nn.Module,
    y: Int[Tensor, "n ..."] | None,
    *,
    guidance: float = 1.0,
    no_class: int | Tensor | None = None,
    between: tuple[float, float] | None = None,
) -> Settled:
    """f(x, t) = f(∅) + w·(f(y) − f(∅)); at w = 1 the conditional model alone, without a class the model as it is.

    Arguments:
        model: answers (x, t) or (x, t, y).
        no_class: the label that stands for no class, in models trained with label dropout (Ho & Salimans, 2022); or
            labels to be pushed away from, one for every row.
        between: the lowest and the highest t at which guidance acts, outside of which w is 1 and costs nothing
            (Kynkäänniemi et al., 2024: early on guidance costs diversity, and late it changes nothing).
    """
    if y is None:
        return lambda x, t: model(x, t)
    if guidance == 1.0 or no_class is None:
        return lambda x, t: model(x, t, y)

    away = no_class if isinstance(no_class, Tensor) else torch.full_like(y, no_class)
    if guidance == 0.0 and between is None:
        return lambda x, t: model(x, t, away)
    lowest, highest = between or (-torch.inf, torch.inf)

    def both(x: Tensor, t: Tensor) -> Tensor:
        own = model(x, t, y)
        inside = (t >= lowest) & (t <= highest)
        if not inside.any():
            return own
        free = model(x, t, away)
        return torch.where(inside.reshape(*inside.shape, *[1] * (x.ndim - t.ndim)), free + guidance * (own - free), own)

    return both
