"""The memory that a study asks for, told without taking any of it: its model is made on torch's meta device.

The amounts are bounds from below: whoever has less need not begin.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from genlib.errors import InputError
from genlib.study import Study

COPIES = 5
"""Copies of the weights while training: themselves, gradients, Adam's two moments, the last good state."""
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
    try:
        with torch.no_grad(), torch.device("meta"), _Made() as made:
            model(*(torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in example))
    except Exception:  # values that decide the course are not there
        return weights, 0.0
    return weights, made.bytes / 4 / max(1, len(example[0]))  # a part of them, for not all are kept


class _Made(TorchDispatchMode):
    """Counts the bytes of every tensor that is made, views apart."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in func._schema.returns):
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(tensor, Tensor):
                    self.bytes += math.prod(tensor.shape) * tensor.element_size()
        return result
