"""The training loop: a generator that yields progress and leaves the rest to its caller.

    for progress in train(PointDiffusion()):
        print(progress.step, progress.metrics)

Print it, journal it, report it to a tuner, stop: whoever iterates decides. The loop knows no files and no cluster.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, NamedTuple, NoReturn

import torch
from torch import nn

from genlib.draws import DefaultGenerators, Draws
from genlib.errors import Diverged, InputError
from genlib.state import State
from genlib.study import Loss, Study, Tensors


@dataclass(frozen=True)
class Launch:
    """Where and how a study runs: nothing of it belongs to the study's identity.

    Arguments:
        device: a torch device.
        precision: `bfloat16` runs the forward pass under autocast.
        compile: compile the objective with `torch.compile`.
        rank, world: number of this worker, and of all; with several, `torch.distributed` is already initialised.
    """

    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        device = known_device(self.device)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {self.device!r}: torch sees no GPU here; use 'cpu'.")
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise InputError(f"device {self.device!r}: this machine has {torch.cuda.device_count()} GPUs, from cuda:0.")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision: got {self.precision!r}; allowed is one of float32, bfloat16.")
        if self.precision == "bfloat16" and not self.device.startswith("cuda"):
            # Some CPUs announce bfloat16 instructions and die of them.
            raise InputError(f"precision: bfloat16 needs a GPU, and device is {self.device!r}; use float32.")

    @property
    def kind(self) -> str:
        """The kind of device, without its number."""
        return self.device.partition(":")[0]

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)


def known_device(name: str) -> torch.device:
    """A device of a kind that is tested: the CPU, or a GPU under CUDA. It need not be here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name!r} is none that torch knows: use 'cpu' or 'cuda'.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is of a kind that genlib is not tested on: use 'cpu' or 'cuda'.")
    return device


class Objective(nn.Module):
    """Study and model as one module: what DDP and `torch.compile` wrap."""

    def __init__(self, study: Study[Any], model: nn.Module) -> None:
        super().__init__()
        self.study = study
        self.model = model

    def forward(self, batch: Tensors, draws: Draws) -> Loss:
        return self.study.loss(self.model, batch, draws)


class Progress(NamedTuple):
    """What the loop yields: the updates made so far, the metrics due at this step, the live state."""

    step: int
    metrics: dict[str, float]
    state: State


def start(study: Study[Any], launch: Launch | None = None) -> State:
    """The state before the first update."""
    launch = launch or Launch()
    model = study.model().to(launch.device)
    return State(model, study.optimizer(model), averaged=study.ema_decay > 0)


def train(
    study: Study[Any],
    state: State | None = None,
    *,
    until: int | None = None,
    launch: Launch | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Progress, None, None]:
    """Train a study, from the start or from a state, to its last update, to update `until`, or until told to stop.

    Yields wherever a metric is due (losses every `log_every` updates, as means over them; validation every
    `validate_every`; both at the end) and where it ends. The state in `Progress` is live: save it before iterating on.

    Arguments:
        stop: asked after every update; True ends the training there.

    Raises:
        Diverged: a loss or a validation metric stopped being finite; the error carries the last good state.
    """
    launch = launch or Launch()
    state = state or start(study, launch)
    last = study.steps if until is None else min(until, study.steps)
    batches = {name: tensor.to(launch.device) for name, tensor in study.data().train.items()}
    objective = _wrapped(Objective(study, state.model), launch)
    parameters = list(state.model.parameters())
    varying = study.learning_rate_schedule != "constant" or study.warmup_steps > 0
    good = state.capture()
    generator, lent = torch.Generator(launch.device), DefaultGenerators(launch.device)
    where: dict[str, Any] = {
        "rank": launch.rank,
        "world": launch.world,
        "device": launch.device,
        "generator": generator,
    }
    autocast, clock = launch.autocast(), time.process_time()
    lent.take()
    try:
        for step in range(state.step, last):
            draws = Draws(study.seed, "train", step, **where)
            lent.seed(draws)
            with autocast:
                loss = objective(study.batch(batches, draws), draws)
            total = reduce(operator.add, loss.terms.values())
            state.optimizer.zero_grad()
            total.backward()
            if study.clip_norm:
                nn.utils.clip_grad_norm_(parameters, study.clip_norm)
            if varying:
                for group, rate in zip(state.optimizer.param_groups, state.rates, strict=True):
                    group["lr"] = rate * study.learning_rate_factor(step)
            state.optimizer.step()
            state.advance(study.ema_decay)
            state.remember(total, loss)

            logs = state.step % study.log_every == 0 or state.step == study.steps
            validates = state.step % study.validate_every == 0 or state.step == study.steps
            ends = state.step == last or stop()
            if not (logs or validates or ends):
                continue
            if launch.world > 1:  # from here on every worker sees the same numbers, and decides alike
                state.average_window()
            refuse_lost(study, state, launch, good)
            if validates or ends:  # at these steps states are kept
                refuse_lost_weights(study, state, launch, good)
            metrics = losses_of(state) if logs else {}
            state.cpu_seconds += _over_workers(time.process_time() - clock, launch)
            if validates:
                metrics.update(validation(study, state, launch, good))
                good = state.capture()
            lent.give_back()
            yield Progress(state.step, metrics, state)
            if ends:
                break
            lent.take()
            clock = time.process_time()
    finally:
        lent.give_back()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, whatever the process is set to: bits on a CPU depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wrapped(objective: nn.Module, launch: Launch) -> nn.Module:
    if launch.world > 1:
        device = torch.device(launch.device)
        devices = [device.index or 0] if device.type == "cuda" else None
        # Without broadcast_buffers=False rank 0 would overwrite the other ranks' buffers.
        objective = nn.parallel.DistributedDataParallel(objective, device_ids=devices, broadcast_buffers=False)
    if launch.compile:
        objective.compile()
    return objective


def refuse_lost(study: Study[Any], state: State, launch: Launch, good: dict[str, Any]) -> None:
    """Raise where losses since the last report are not finite: no such state is yielded."""
    losses = state.pending_losses()
    if math.isfinite(losses.sum().item()):
        return
    bad = ~torch.isfinite(losses)
    if bad.any():
        step = state.step - len(bad) + int(bad.nonzero()[0]) + 1
        _diverged(study, state, good, f"the loss became {losses[bad][0].item()} at step {step}", launch, step)


def refuse_lost_weights(study: Study[Any], state: State, launch: Launch, good: dict[str, Any]) -> None:
    """Raise where weights are not finite: a finite loss may still have had a gradient that was not."""
    if not all(torch.isfinite(parameter).all() for parameter in state.model.parameters()):
        _diverged(study, state, good, f"weights were no longer finite by step {state.step}", launch, state.step)


def losses_of(state: State) -> dict[str, float]:
    """Means since the last report; empties the window."""
    return {name: values.mean().item() for name, values in state.take_window().items()}


def _over_workers(seconds: float, launch: Launch) -> float:
    """The seconds that all workers spent, summed."""
    if launch.world == 1:
        return seconds
    total = torch.tensor(seconds, dtype=torch.float64, device=launch.device)
    torch.distributed.all_reduce(total)
    return total.item()


def validation(study: Study[Any], state: State, launch: Launch, good: dict[str, Any]) -> dict[str, float]:
    """The study's metrics of the model as it is now; raise where one is not finite."""
    metrics = study.validate(state.finished(), study.draws("validate", device=launch.device))
    for name, value in metrics.items():
        if not math.isfinite(value):
            _diverged(study, state, good, f"{name} became {value} at step {state.step}", launch, state.step)
    return metrics


def _diverged(study: Study[Any], state: State, good: dict[str, Any], what: str, launch: Launch, step: int) -> NoReturn:
    state.restore(good)
    if step == 1:
        remedy = "a field that scales the data or the first weights: nothing was learnt yet"
    elif launch.precision == "bfloat16":
        remedy = "precision (got bfloat16): try float32"
    else:
        declared: Any = type(study).__dataclass_fields__["learning_rate"].default
        lower = min(study.learning_rate / 10, declared)
        remedy = f"learning_rate (got {study.learning_rate:g}): try {lower:g}"
        remedy += "" if study.clip_norm else ", or clip_norm 1"
    raise Diverged(
        f"{type(study).__name__}: {what}; most likely at fault is {remedy}. The state of step {state.step} is kept.",
        state,
    )
