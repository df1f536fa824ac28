"""Weights, moments and averages of several members as rows of one tensor each, and an optimiser of all rows at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genlib.state import State
from genlib.study import Study


def parameters_of(state: State) -> list[Tensor]:
    """The parameters, group by group."""
    return [parameter for group in state.optimizer.param_groups for parameter in group["params"]]


def tensors_of(state: State) -> list[list[Tensor]]:
    """Weights, both of Adam's moments, and the average where there is one, all in the order of the parameters."""
    parameters = parameters_of(state)
    for parameter in parameters:
        known = state.optimizer.state[parameter]
        if not known:
            known["step"] = torch.tensor(0.0, device=parameter.device)
            known["exp_avg"], known["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    moments = [[state.optimizer.state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq")]
    if state.average is None:
        return [parameters, *moments]
    averaged = dict(zip(map(id, state.model.parameters()), state.average.parameters(), strict=True))
    return [parameters, *moments, [averaged[id(p)] for p in parameters]]


class Rows:
    """One tensor with a row for each member, of which the members' own tensors are views."""

    def __init__(self, whole: Tensor, shapes: list[torch.Size]) -> None:
        self.whole, self.shapes = whole, shapes

    @classmethod
    def of(cls, members: Sequence[list[Tensor]]) -> Rows:
        """Stack members, each a list of tensors of the same shapes."""
        rows = cls(
            torch.stack([torch.cat([tensor.detach().flatten() for tensor in tensors]) for tensors in members]),
            [tensor.shape for tensor in members[0]],
        )
        for k, tensors in enumerate(members):
            for tensor, view in zip(tensors, rows._split(rows.whole[k : k + 1]), strict=True):
                tensor.data = view[0]
        return rows

    def leaves(self) -> list[Tensor]:
        """The stacked tensors, for gradients."""
        return [view.detach().requires_grad_() for view in self._split(self.whole)]

    def _split(self, rows: Tensor) -> list[Tensor]:
        sizes = [shape.numel() for shape in self.shapes]
        return [
            part.unflatten(1, shape) if shape else part[:, 0]
            for part, shape in zip(rows.split(sizes, 1), self.shapes, strict=True)
        ]


class Optimiser:
    """Adam or AdamW for all members at once, each with its own rates, decays and clipping; and the average behind."""

    def __init__(self, states: list[State], studies: list[Study[Any]], rows: list[Rows]) -> None:
        optimisers = [state.optimizer for state in states]
        self._decoupled = isinstance(optimisers[0], torch.optim.AdamW) or optimisers[0].defaults.get(
            "decoupled_weight_decay", False
        )
        self._weights, self._first, self._second, *averages = [one.whole for one in rows]
        self._average = averages[0] if averages else None
        self._studies = studies
        self._steps = [state.optimizer.state for state in states]
        place, self._groups = 0, []
        for groups in zip(*(optimiser.param_groups for optimiser in optimisers), strict=True):
            size = sum(parameter.numel() for parameter in groups[0]["params"])
            self._groups.append((slice(place, place + size), groups[0]["betas"], groups[0]["eps"], list(groups)))
            place += size
        self._rates = [list(state.rates) for state in states]

    def step(self, gradient: Tensor, step: int) -> None:
        """One update, number `step` from 0."""
        column = self._column
        clip = [study.clip_norm for study in self._studies]
        if any(clip):
            longest = column([norm or float("inf") for norm in clip])
            gradient.mul_((longest / (gradient.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0))
        factors = [study.learning_rate_factor(step) for study in self._studies]
        for k, (part, (beta1, beta2), eps, groups) in enumerate(self._groups):
            rate = column([rates[k] * factor for rates, factor in zip(self._rates, factors, strict=True)])
            decay = column([group["weight_decay"] for group in groups])
            weights, grad = self._weights[:, part], gradient[:, part]
            if self._decoupled:
                weights.mul_(1 - rate * decay)
            elif any(group["weight_decay"] for group in groups):
                grad = grad + decay * weights
            first, second = self._first[:, part], self._second[:, part]
            first.lerp_(grad, 1 - beta1)
            second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            root = second.sqrt().div_((1 - beta2 ** (step + 1)) ** 0.5).add_(eps)
            weights.sub_(first.div(root).mul_(rate / (1 - beta1 ** (step + 1))))
        if self._average is not None:
            follow = [1 - min(study.ema_decay, (1 + step) / (10 + step)) for study in self._studies]
            self._average.lerp_(self._weights, column(follow))

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=self._weights.dtype, device=self._weights.device).unsqueeze(1)
