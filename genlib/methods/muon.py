"""Muon: momentum whose singular values are all made about one, for weights that are matrices.

Adam measures every weight by itself; a matrix then moves along a few directions only. Jordan's Muon (2024,
https://kellerjordan.github.io/posts/muon/) moves it along all of them by the same amount. A kernel of a convolution
counts as the matrix of its rows. torch's own `Muon` takes no kernels, and leaves nothing to Adam.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x, x³ and x⁵ in a polynomial that, applied again and again, brings any number of (0, 1] to between .7 and 1.2."""


def orthogonalised(x: Float[Tensor, "rows columns"], *, rounds: int = 5) -> Float[Tensor, "rows columns"]:
    """The matrix with the same singular vectors, and with singular values of about one.

    Example:
        >>> torch.linalg.svdvals(orthogonalised(torch.diag(torch.tensor([5.0, 1.0])))).round()
        tensor([1., 1.])
    """
    wide = x if len(x) <= x.shape[1] else x.T
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(rounds):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if len(x) <= x.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Muon for matrices, Adam for all else, as one optimizer with two groups of parameters.

    Arguments:
        parameters: all that is updated.
        matrices: those among them that Muon updates, of two dimensions or more; Adam updates the others.
        rate: about the singular values of an update of a matrix; where that is taller than wide, they are larger by
            the root of the ratio.
        adam_rate: Adam's learning rate.
        weight_decay: weight of Adam's L2 penalty.
        momentum: weight of the past in the mean of a matrix's gradients.
        betas: weights of the past in Adam's means of gradients and of their squares.
        normed: kernels that a norm follows. Their own length has no effect, so it is kept at the root of their number
            of rows: the rate is then an angle. Else they would grow, and turn ever more slowly.

    Example:
        >>> layer = nn.Linear(4, 3)
        >>> optimizer = Muon(layer.parameters(), matrices=[layer.weight], rate=0.1, adam_rate=1e-3)
        >>> layer(torch.ones(4)).sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        matrices: Sequence[nn.Parameter],
        rate: float,
        adam_rate: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        normed: Iterable[nn.Parameter] = (),
    ) -> None:
        known = {id(p) for p in matrices}
        others = [p for p in parameters if id(p) not in known]
        groups: list[dict[str, Any]] = [
            {"params": [*matrices], "lr": rate, "momentum": momentum},
            {"params": others, "lr": adam_rate, "betas": betas, "weight_decay": weight_decay},
        ]
        super().__init__(groups, {})
        self.normed = [*normed]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        matrices, others = self.param_groups
        for p in matrices["params"]:
            if p.grad is not None:
                self._step_of_matrix(p, p.grad, matrices)
        for p in others["params"]:
            if p.grad is not None:
                self._step_of_adam(p, p.grad, others)
        for p in self.normed:
            p.mul_(len(p) ** 0.5 / p.norm())

    def _step_of_matrix(self, p: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        mean = state["mean"]
        mean.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(mean, group["momentum"]).flatten(1)  # Nesterov's: the mean, one update on
        taller = max(1.0, len(ahead) / ahead.shape[1])
        p.add_(orthogonalised(ahead).reshape(p.shape), alpha=-group["lr"] * taller**0.5)

    def _step_of_adam(self, p: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[p], group["betas"]
        if not state:
            state.update(step=torch.zeros((), device="cpu"), mean=torch.zeros_like(p), square=torch.zeros_like(p))
        state["step"] += 1
        step, mean, square = float(state["step"]), state["mean"], state["square"]
        gradient = gradient + group["weight_decay"] * p
        mean.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        root = (square / (1 - second**step)).sqrt_().add_(1e-8)
        p.addcdiv_(mean, root, value=-group["lr"] / (1 - first**step))
