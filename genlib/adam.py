"""Adam and AdamW of torch, without torch's compiler.

Torch loads its compiler at the first use of any optimiser, compiled or not, and that takes as long as torch itself. A
run of a few seconds, in a process of its own, feels it. Nothing here compiles an optimiser: `Launch(compile=True)`
compiles the objective.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

for _name in ("state_dict", "load_state_dict", "zero_grad", "add_param_group"):
    # These are wrapped: at its first call a wrapper loads the compiler, to ask it for a version that it leaves alone,
    # and keeps that here. The plain one is such a version. Where torch wraps otherwise, this has no effect.
    _plain = inspect.unwrap(getattr(torch.optim.Optimizer, _name))
    _plain.__dict__.setdefault("__dynamo_disable", _plain)


_step = inspect.unwrap(torch.optim.Adam.step)
"""The step of both, inside a wrapper that tells the compiler where to stop."""


class _Plain(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return _step(self, closure)


class Adam(_Plain, torch.optim.Adam):
    """Torch's Adam.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = Adam([weight], lr=0.1)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data
        tensor([-0.1000, -0.1000])
    """


class AdamW(_Plain, torch.optim.AdamW):
    """Torch's AdamW."""
