"""The state of a training run: all that an uninterrupted run would have in memory, and nothing else."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from genlib.study import Loss


class State:
    """Model, running average, optimizer, and the losses not yet reported. No generators: see `genlib.draws`."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, *, averaged: bool) -> None:
        self.model = model
        self.optimizer = optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.average = copy.deepcopy(model).requires_grad_(False) if averaged else None
        self._live, self._mean = _tensors(model), _tensors(self.average)
        self.step = 0
        self.cpu_seconds = 0.0
        self._window: dict[str, list[Tensor]] = {}

    def finished(self) -> Any:
        """The model to look at: the running average where one is kept, in evaluation mode, without gradients."""
        model = self.average if self.average is not None else copy.deepcopy(self.model).requires_grad_(False)
        return model.eval()

    def result(self) -> Any:
        """A copy of the finished model, which later updates do not touch; on the device it was trained on."""
        return copy.deepcopy(self.finished())

    def advance(self, decay: float) -> None:
        """Count an update and let the average follow; its decay warms up, so that first weights are soon forgotten."""
        if self.average is not None:
            weight = 1 - min(decay, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                torch._foreach_lerp_(self._mean[0], self._live[0], weight)
                for mean, buffer in zip(self._mean[1], self._live[1], strict=True):
                    mean.copy_(buffer)
        self.step += 1

    def remember(self, total: Tensor, loss: Loss) -> None:
        """Keep this update's losses, on their device, until they are reported."""
        window = self._window
        window.setdefault("loss", []).append(total.detach())
        for name, term in loss.terms.items():
            window.setdefault(f"loss/{name}", []).append(term.detach())
        for name, value in loss.diagnostics.items():
            window.setdefault(name, []).append(value.detach())

    def catch_up(self, step: int, losses: dict[str, list[Tensor]]) -> None:
        """Note updates that were made on this state's tensors elsewhere: their number by now, and their losses."""
        self.step = step
        for known in self.optimizer.state.values():
            known["step"].fill_(step)
        for name, values in losses.items():
            self._window.setdefault(name, []).extend(values)

    def pending_losses(self) -> Tensor:
        """The losses since the last report, in order."""
        return torch.stack(self._window["loss"])

    def average_window(self) -> None:
        """Replace the losses since the last report by means over all workers. Averaging them again changes nothing."""
        for name, values in self._window.items():
            total = torch.stack(values).float()
            torch.distributed.all_reduce(total)
            self._window[name] = list((total / torch.distributed.get_world_size()).unbind())

    def take_window(self) -> dict[str, Tensor]:
        """The losses since the last report, one entry per update; the window is empty afterwards."""
        window, self._window = self._window, {}
        return {name: torch.stack(values).float() for name, values in window.items()}

    def capture(self) -> dict[str, Any]:
        """A copy that later updates do not touch, of tensors and plain values only (safe to load from disk)."""
        return {
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "model": _copied(self.model.state_dict()),
            "average": None if self.average is None else _copied(self.average.state_dict()),
            "optimizer": _copied_within(self.optimizer.state_dict()),
            "window": {name: torch.stack(values) for name, values in self._window.items()},
        }

    def restore(self, captured: dict[str, Any]) -> None:
        """Go back to a captured state."""
        self.step = captured["step"]
        self.cpu_seconds = captured["cpu_seconds"]
        self.model.load_state_dict(captured["model"])
        if self.average is not None:
            self.average.load_state_dict(captured["average"])
        self.optimizer.load_state_dict(_copied_within(captured["optimizer"]))
        self._window = {name: list(values.unbind()) for name, values in captured["window"].items()}


def _tensors(model: nn.Module | None) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers, listed once: walking the modules costs more than averaging them."""
    return ([], []) if model is None else ([*model.parameters()], [*model.buffers()])


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _copied_within(value: Any) -> Any:
    """A copy of dictionaries, lists and tensors. A deep copy of a tensor that is part of another has all of that."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {name: _copied_within(one) for name, one in value.items()}
    return [_copied_within(one) for one in value] if isinstance(value, list) else copy.deepcopy(value)
