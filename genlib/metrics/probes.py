"""What frozen features know of the classes: a linear probe fitted to its end, and the vote of nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

CHUNK = 1_000
"""Number of rows whose distances are taken at once."""
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Weights of a probe's squared weights that are tried."""
CURVATURE = 0.2
"""About the curvature of cross-entropy along a logit."""
Features = Float[Tensor, "n d"]
Labels = Int64[Tensor, " n"]
Others = Float[Tensor, "m d"]
Truth = Int64[Tensor, " m"]


class Probe(NamedTuple):
    """A linear classifier of standardised features, and how well it fits."""

    weight: Float[Tensor, "d k"]
    bias: Float[Tensor, " k"]
    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]
    penalty: float
    """Weight of the squared weights that was chosen."""
    slope: float
    """Norm of the loss's gradient where the fit ended: near 0 where it converged."""

    def logits(self, x: Features) -> Float[Tensor, "n k"]:
        """Logits of every class."""
        return (x - self.mean) / self.std @ self.weight + self.bias

    def accuracy(self, x: Features, y: Labels) -> float:
        """The share of rows whose class is the most probable one."""
        return (self.logits(x).argmax(1) == y).float().mean().item()


def fit_probe(x: Features, y: Labels, *, penalties: Sequence[float] = PENALTIES, steps: int = 300) -> Probe:
    """A linear classifier fitted to its end by L-BFGS, without augmentation.

    Of several penalties the one is used that reads most of every fifth row after a fit to the others: many features of
    few rows need a larger one. The weights are fitted in coordinates in which the features are uncorrelated: the end is
    the same, in a half or a third of the iterations.

    Arguments:
        penalties: weights of the squared weights, from large to small; once one reads less than one before it, the
            rest are not tried.
        steps: largest number of iterations.

    Example:
        >>> x, y = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
        >>> fit_probe(x, y).accuracy(x, y)
        1.0
    """
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    scaled = (x - mean) / std
    spread, parts = torch.linalg.eigh(scaled.T @ scaled / len(x))
    turned = scaled @ parts
    classes = int(y.max()) + 1
    start = x.new_zeros(x.shape[1], classes), x.new_zeros(classes)
    penalty = penalties[0]
    if len(penalties) > 1:
        penalty, start = _chosen(turned, y, spread, penalties, start, steps)
    (weight, bias), slope = _fit(turned, y, spread, penalty, start, steps)
    return Probe(parts @ weight, bias, mean, std, penalty, slope)


Fitted = tuple[Tensor, Tensor]
"""Weights and biases."""


def _chosen(
    x: Features, y: Labels, spread: Tensor, penalties: Sequence[float], start: Fitted, steps: int
) -> tuple[float, Fitted]:
    """The penalty that reads most of every fifth row, and what was fitted to the others with it."""
    held = torch.arange(len(x), device=x.device) % 5 == 0
    kept, fitted = x[~held], start
    chosen, most = penalties[0], -1.0
    for penalty in penalties:
        fitted, _ = _fit(kept, y[~held], spread, penalty, fitted, steps)
        share = ((x[held] @ fitted[0] + fitted[1]).argmax(1) == y[held]).float().mean().item()
        if share < most:
            break
        if share > most:
            chosen, most, start = penalty, share, fitted
    return chosen, start


def _fit(x: Features, y: Labels, spread: Tensor, penalty: float, start: Fitted, steps: int) -> tuple[Fitted, float]:
    """Weights and biases for uncorrelated features of known mean squares, from a start; and the slope at their end."""
    ease = (CURVATURE * spread.clamp_min(0) + 2 * penalty).rsqrt()  # the loss then curves alike in all directions
    eased = x * ease
    weight, bias = (start[0] / ease.unsqueeze(1)).requires_grad_(), start[1].clone().requires_grad_()
    fit = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, history_size=20, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        fit.zero_grad()
        value = functional.cross_entropy(eased @ weight + bias, y)
        value = value + penalty * (ease.unsqueeze(1) * weight).square().sum()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        fit.step(loss)
        loss()
    assert weight.grad is not None
    slope = (weight.grad / ease.unsqueeze(1)).norm().item()
    return (ease.unsqueeze(1) * weight.detach(), bias.detach()), slope


def probe_accuracy(x: Features, y: Labels, seen: Others, truth: Truth) -> float:
    """The accuracy on `seen` of a linear probe fitted to `x`."""
    return fit_probe(x, y).accuracy(seen, truth)


def knn_accuracy(
    x: Features, y: Labels, seen: Others, truth: Truth, *, k: int = 20, temperature: float = 0.07
) -> float:
    """The accuracy of a vote of the k rows of `x` with the highest cosine, each weighted by exp(cosine/temperature).

    Example:
        >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
        >>> knn_accuracy(x, y, torch.tensor([[2.0, 0.1]]), torch.tensor([0]), k=1)
        1.0
    """
    k, classes = min(k, len(x)), int(y.max()) + 1
    known = functional.normalize(x, dim=1)
    right = 0
    for rows, labels in zip(torch.split(seen, CHUNK), torch.split(truth, CHUNK), strict=True):
        cosine, near = (functional.normalize(rows, dim=1) @ known.T).topk(k)
        votes = x.new_zeros(len(rows), classes).scatter_add_(1, y[near], (cosine / temperature).exp())
        right += int((votes.argmax(1) == labels).sum())
    return right / len(truth)


def nearest(x: Features, seen: Others, k: int, *, farthest: bool = False) -> tuple[Tensor, Int64[Tensor, "m k"]]:
    """Distances and rows of the k nearest (or farthest) rows of `x`, in order, for every row of `seen`.

    Example:
        >>> nearest(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0]]), 1)[1].item()
        0
    """
    found = [torch.cdist(rows, x).topk(k, largest=farthest) for rows in torch.split(seen, CHUNK)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
