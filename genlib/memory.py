"""The memory that a study asks for, told without taking it: its model is made on torch's meta device.

Only a model that is known to be small is then asked for real what it keeps of a row: the meta device would load torch's
compiler for that, which takes longer than all the rest. The amounts are bounds from below: whoever has less need not
begin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genlib.errors import InputError
from genlib.study import Study

COPIES = 5
"""Copies of the weights while training: themselves, gradients, Adam's two moments, the last good state."""
SMALL, MUCH = 64 * 2**20, 2**30
"""Bytes of the weights of a small model, and of what it may make of a few rows to count as one."""
MEASURED = ("samples", "likelihood_points")
"""Evaluation fields that count rows."""


def memory_of(study: Study[Any]) -> dict[str, float]:
    """Bytes, at least, by the field or the part of the study that asks for them.

    Example:
        >>> from genlib import PointDiffusion
        >>> memory_of(PointDiffusion(width=64, batch_size=10**12))["batch_size"] > 1e14
        True
    """
    example = study.example()
    row = sum(tensor[:1].numel() * tensor.element_size() for tensor in example)
    asked = {name: 2.0 * row * getattr(study, name) for name in MEASURED if hasattr(study, name)}
    weights, activations = _of_model(study, example)
    return asked | {"the weights": COPIES * weights, "batch_size": (row + activations) * study.batch_size}


def _of_model(study: Study[Any], example: tuple[Tensor, ...]) -> tuple[float, float]:
    """Bytes of the weights, and those kept for the gradient of one row; 0 where the meta device cannot tell."""
    try:
        with torch.device("meta"):
            model = study.model()
        weights = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    except InputError:
        raise
    except Exception:  # a user's own model may do anything, and then asks the machine itself
        return 0.0, 0.0
    made = None
    if weights <= SMALL and sum(tensor.numel() * tensor.element_size() for tensor in example) <= SMALL:
        made = _made_by(study.model, example, "cpu")
    made = made if made is not None else _made_by(lambda: model, example, "meta")
    return weights, (made or 0.0) / 4 / max(1, len(example[0]))  # a part of them, for not all are kept


def _made_by(model: Callable[[], Any], example: tuple[Tensor, ...], device: str) -> float | None:
    """Bytes of the tensors that a model makes of an example; None where it cannot be told."""
    try:
        net = model()
        with torch.no_grad(), torch.device(device), _Made(MUCH if device == "cpu" else math.inf) as made:
            net(*(torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in example))
    except Exception:  # on the meta device: values that decide the course are not there
        return None
    return made.bytes


class _Made(TorchDispatchMode):
    """Counts the bytes of every tensor that is made, views apart, up to a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit, self.bytes = limit, 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled: torch need not load its compiler to know that."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in func._schema.returns):
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(tensor, Tensor):
                    self.bytes += math.prod(tensor.shape) * tensor.element_size()
        if self.bytes > self.limit:
            raise MemoryError
        return result
