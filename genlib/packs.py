"""Packs: studies that differ only in numbers train as one, with every update computed for all of them at once.

    for reports in train_pack([PointDiffusion(seed=k) for k in range(32)]):
        for k, progress in reports.items():
            print(k, progress.step, progress.metrics)

A small model's update costs Python and kernel launches, not arithmetic; a pack pays for them once. Weights of all
members lie in one tensor, a row each, and `torch.vmap` carries the study's own `loss` over the rows. Every member keeps
its own random numbers, learning rate, weight decay, clipping and average, and a `State` like any other, whose tensors
are views of its row: at every report it can be saved, and continued alone. The numbers are those of training alone, up
to float error.

Random numbers cannot be drawn under `vmap`. So what the loss draws is written down once (a tape), drawn for every
member from its own `Draws`, and handed to the loss. A loss that draws otherwise at another update gets a new tape.
"""

from __future__ import annotations

import copy
import operator
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import fields
from functools import reduce
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from genlib.draws import Draws
from genlib.errors import Diverged, InputError
from genlib.settings import carried_fields, evaluation_fields
from genlib.state import State
from genlib.study import Loss, Study, Tensors
from genlib.training import Launch, Objective, Progress, losses_of, refuse_lost, refuse_lost_weights, start, validation

Reports = dict[int, Progress | Diverged]
"""What is due at an update, by member: its progress, or how it was lost."""
OPTIMISERS = (torch.optim.Adam, torch.optim.AdamW)
"""Optimisers that a pack computes for all members at once."""


def fit_together(studies: Sequence[Study[Any]]) -> bool:
    """Whether studies can train as one: of one kind, which packs, and equal but for fields that a pack carries.

    Example:
        >>> from genlib import PointDiffusion
        >>> fit_together([PointDiffusion(seed=0), PointDiffusion(seed=1, learning_rate=1e-4)])
        True
        >>> fit_together([PointDiffusion(width=64), PointDiffusion(width=128)])
        False
    """
    return len({shape_of(study) for study in studies}) <= 1 and all(study.can_pack() for study in studies)


def shape_of(study: Study[Any]) -> tuple[Any, ...]:
    """What studies that train as one have in common."""
    free = carried_fields(type(study)).union(evaluation_fields(type(study)))
    fixed = {name: value for name, value in study.fields().items() if name not in free}
    return (type(study), study.ema_decay > 0, tuple(map(tuple, map(_plain, fixed.items()))))


def _plain(item: tuple[str, Any]) -> tuple[str, Any]:
    return item[0], tuple(item[1]) if isinstance(item[1], list) else item[1]


def train_pack(
    studies: Sequence[Study[Any]],
    states: Sequence[State] | None = None,
    *,
    launch: Launch | None = None,
    stop: Callable[[int], bool] = lambda member: False,
) -> Generator[Reports, None, None]:
    """Train several studies as one, each to its last update or until told to stop.

    Yields wherever anything is due of any member, as `train` does of one. A member that diverges leaves with its
    `Diverged`, one that ends or is stopped with its last progress; the others do not notice. Members at different
    updates are brought to the same one first.

    Arguments:
        studies: the members, which must fit together.
        states: where each goes on from; by default from the start.
        stop: asked of every member after every update; True ends its training there.
    """
    launch = launch or Launch()
    if not fit_together(studies):
        raise InputError("studies that differ in more than a pack can carry, or whose kind does not pack, train alone.")
    if launch.world > 1 or launch.compile:
        raise InputError("a pack trains on one worker, and is not compiled.")
    states = list(states) if states else [start(study, launch) for study in studies]
    waiting = {k: state for k, state in enumerate(states) if state.step < studies[k].steps}
    pack = _Pack(studies, launch)
    while waiting or pack.states:
        # Whoever is furthest back goes first, until it has reached the next.
        at = min([state.step for state in waiting.values()] + ([pack.step] if pack.states else []))
        pack.join({k: waiting.pop(k) for k, state in list(waiting.items()) if state.step == at})
        until = min((state.step for state in waiting.values()), default=max(study.steps for study in studies))
        yield from pack.train(until, stop)


class _Pack:
    """Members at the same update, as rows of one tensor."""

    def __init__(self, studies: Sequence[Study[Any]], launch: Launch) -> None:
        self.studies, self.launch = studies, launch
        self.states: dict[int, State] = {}
        self.step = 0
        self._good: dict[int, dict[str, Any]] = {}
        self._window: dict[str, list[Tensor]] = {}
        self._tape: _Tape | None = None
        self._generators: dict[int, torch.Generator] = {}
        self._data = {
            seed: {name: tensor.to(launch.device) for name, tensor in study.data().train.items()}
            for seed, study in {study.seed: study for study in studies}.items()
        }

    def join(self, states: dict[int, State]) -> None:
        """Take members in; all are at one update."""
        if not states:
            return
        self._let_go()
        self.states |= states
        self._good |= {k: state.capture() for k, state in states.items()}
        self._stack()

    def _leave(self, members: list[int]) -> None:
        """Members leave, each with its own tensors."""
        if members:
            self._let_go()
            for k in members:
                del self.states[k], self._good[k]
            self._stack()

    def _let_go(self) -> None:
        """Give every member tensors of its own."""
        self._hand_over()
        for state in self.states.values():
            for tensors in _tensors_of(state):
                for tensor in tensors:
                    tensor.data = tensor.data.clone()

    def _stack(self) -> None:
        """Put the members' weights, averages and moments into one tensor each, and make theirs views of it."""
        self.members = list(self.states)
        if not self.members:
            return
        states = list(self.states.values())
        self.step = states[0].step
        self._rows = [_Rows.of(parts) for parts in zip(*map(_tensors_of, states), strict=True)]
        studies = [self.studies[k] for k in self.members]
        self._objective = Objective(studies[0], states[0].model)
        names = {id(p): name for name, p in states[0].model.named_parameters()}
        self._names = [f"model.{names[id(p)]}" for p in _parameters(states[0])]
        buffers = [dict(state.model.named_buffers()) for state in states]
        self._buffers = {f"model.{name}": torch.stack([one[name] for one in buffers]) for name in buffers[0]}
        self._optimiser = _Optimiser(states, studies, self._rows)
        self._carried = _carried_numbers(studies, self.launch.device)
        self._seeds = [study.seed for study in studies]

    # -- an update -----------------------------------------------------------------------------------------------------

    def train(self, until: int, stop: Callable[[int], bool]) -> Iterator[Reports]:
        """Train to an update, or until a member leaves or nobody is left."""
        clock = time.process_time()
        while self.states and self.step < until:
            self._update()
            self.step += 1
            due = {k: self._due(k, stop) for k in self.members}
            if any(due.values()):
                share = (time.process_time() - clock) / len(self.members)
                self._hand_over()
                for state in self.states.values():
                    state.cpu_seconds += share
                reports = {k: self._report(k, what) for k, what in due.items() if what}
                gone = [k for k, report in reports.items() if isinstance(report, Diverged) or due[k].ends]
                yield reports
                self._leave(gone)
                clock = time.process_time()

    def _update(self) -> None:
        leaves = self._rows[0].leaves()
        total, loss = self._losses(leaves)
        total.sum().backward()
        gradient = torch.cat([leaf.grad.flatten(1) for leaf in leaves], 1)  # type: ignore[union-attr]
        self._optimiser.step(gradient, self.step)
        window = self._window
        for name, values in [
            ("loss", total),
            *((f"loss/{n}", v) for n, v in loss.terms.items()),
            *loss.diagnostics.items(),
        ]:
            window.setdefault(name, []).append(values.detach())

    def _losses(self, leaves: list[Tensor]) -> tuple[Tensor, Loss]:
        """Every member's total loss, with its parts."""
        study, seeds = self.studies[self.members[0]], list(dict.fromkeys(self._seeds))
        drawn = {seed: self._draws(seed) for seed in seeds}
        self._like = drawn[seeds[0]]
        batches = {seed: study.batch(self._data[seed], draws) for seed, draws in drawn.items()}
        tape = self._tape = self._tape or self._recorded(batches[self._seeds[0]])
        numbers = {seed: tape.numbers(draws) for seed, draws in drawn.items()}
        shared = len(seeds) == 1

        def gathered(values: dict[int, Tensor]) -> Tensor:
            return values[seeds[0]] if shared else torch.stack([values[seed] for seed in self._seeds])

        batch = {name: gathered({seed: batches[seed][name] for seed in seeds}) for name in batches[seeds[0]]}
        played = [gathered({seed: numbers[seed][k] for seed in seeds}) for k in range(len(numbers[seeds[0]]))]
        of_seeds = None if shared else 0
        carried = torch.vmap(self._loss_of_one, in_dims=(0, 0, 0, of_seeds, of_seeds), randomness="error")
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the fused ones have no rule for batches of weights
                loss = carried(leaves, self._buffers, self._carried, batch, played)
        except _OtherTape:
            self._tape = None
            return self._losses(leaves)
        terms, diagnostics = loss
        return reduce(operator.add, terms.values()), Loss(terms, diagnostics)

    def _loss_of_one(
        self, leaves: list[Tensor], buffers: Tensors, carried: Tensors, batch: Tensors, played: list[Tensor]
    ) -> tuple[Tensors, Tensors]:
        assert self._tape is not None
        draws = self._tape.play(played, self._like)
        self._objective.study = _with_numbers(self.studies[self.members[0]], carried)
        loss = functional_call(self._objective, dict(zip(self._names, leaves, strict=True)) | buffers, (batch, draws))
        return loss.terms, loss.diagnostics

    def _draws(self, seed: int) -> Draws:
        generator = self._generators.setdefault(seed, torch.Generator(self.launch.device))
        return Draws(seed, "train", self.step, device=self.launch.device, generator=generator)

    def _recorded(self, batch: Tensors) -> _Tape:
        """What the loss draws at this update."""
        member = self.members[0]
        study, tape = self.studies[member], _Tape()
        draws = Draws(study.seed, "train", self.step, device=self.launch.device)
        study.batch(self._data[study.seed], draws)  # draws first
        with torch.no_grad():
            study.loss(self.states[member].model, batch, tape.record(draws))
        return tape

    # -- a report ------------------------------------------------------------------------------------------------------

    def _due(self, member: int, stop: Callable[[int], bool]) -> _Due:
        study, last = self.studies[member], self.step == self.studies[member].steps
        return _Due(
            self.step % study.log_every == 0 or last,
            self.step % study.validate_every == 0 or last,
            last or stop(member),
        )

    def _hand_over(self) -> None:
        """Bring the members' states up to this update."""
        for row, state in enumerate(self.states.values()):
            state.catch_up(
                self.step, {name: [values[row] for values in window] for name, window in self._window.items()}
            )
        self._window = {}

    def _report(self, member: int, due: _Due) -> Progress | Diverged:
        study, state, good = self.studies[member], self.states[member], self._good[member]
        try:
            refuse_lost(study, state, self.launch, good)
            if due.validates or due.ends:
                refuse_lost_weights(study, state, self.launch, good)
            metrics = losses_of(state) if due.logs else {}
            if due.validates:
                metrics.update(validation(study, state, self.launch, good))
                self._good[member] = state.capture()
        except Diverged as lost:
            return lost
        return Progress(self.step, metrics, state)


class _Due(NamedTuple):
    """What is due of a member."""

    logs: bool
    validates: bool
    ends: bool

    def __bool__(self) -> bool:
        return self.logs or self.validates or self.ends


def _parameters(state: State) -> list[Tensor]:
    """The parameters, group by group."""
    return [parameter for group in state.optimizer.param_groups for parameter in group["params"]]


def _tensors_of(state: State) -> list[list[Tensor]]:
    """Weights, both of Adam's moments, and the average where there is one, all in the order of the parameters."""
    parameters = _parameters(state)
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


class _Rows:
    """One tensor with a row for each member, of which the members' own tensors are views."""

    def __init__(self, whole: Tensor, shapes: list[torch.Size]) -> None:
        self.whole, self.shapes = whole, shapes

    @classmethod
    def of(cls, members: Sequence[list[Tensor]]) -> _Rows:
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


class _Optimiser:
    """Adam or AdamW for all members at once, each with its own rates, decays and clipping; and the average behind."""

    def __init__(self, states: list[State], studies: list[Study[Any]], rows: list[_Rows]) -> None:
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


# -- numbers that differ -----------------------------------------------------------------------------------------------


def _carried_numbers(studies: list[Study[Any]], device: str) -> Tensors:
    """The fields of the loss that differ from member to member, a value each."""
    usual = {declared.name for declared in fields(Study)}
    names = sorted(carried_fields(type(studies[0])) - usual)
    values = {name: [getattr(study, name) for study in studies] for name in names}
    return {name: torch.tensor(found, device=device) for name, found in values.items() if len(set(found)) > 1}


def _with_numbers(study: Study[Any], numbers: Tensors) -> Study[Any]:
    """A study whose fields hold tensors, which its loss then computes with."""
    if not numbers:
        return study
    changed = copy.copy(study)
    for name, value in numbers.items():
        object.__setattr__(changed, name, value)
    return changed


# -- random numbers ----------------------------------------------------------------------------------------------------


class _OtherTape(Exception):
    """The loss asks for other random numbers than those on the tape."""


class _Call(NamedTuple):
    """Numbers that are drawn from a stream, or a stream that is made of another."""

    stream: int
    """Number of the stream, in the order in which they are made; 0 is the one that the loss is given."""
    kind: str
    arguments: tuple[Any, ...]


STREAMS = ("fork", "whole")
"""Calls that make a stream."""


class _Tape:
    """What a loss draws, in order."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def record(self, draws: Draws) -> Draws:
        """Draws that write down what is asked of them."""
        streams = [draws]

        def answer(call: _Call) -> Any:
            self._calls.append(call)
            made = getattr(streams[call.stream], call.kind)(*call.arguments)
            if call.kind not in STREAMS:
                return made
            streams.append(made)
            return len(streams) - 1

        return _Answered(draws, answer)

    def numbers(self, draws: Draws) -> list[Tensor]:
        """The numbers that the loss would draw."""
        streams, numbers = [draws], list[Tensor]()
        for stream, kind, arguments in self._calls:
            made = getattr(streams[stream], kind)(*arguments)
            if kind in STREAMS:
                streams.append(made)
            else:
                numbers.append(made)
        return numbers

    def play(self, numbers: list[Tensor], draws: Draws) -> Draws:
        """Draws that give these numbers to a loss which asks for them in the order of the tape."""
        calls, left, streams = iter(self._calls), iter(numbers), count(1)

        def answer(call: _Call) -> Any:
            if next(calls, None) != call:
                raise _OtherTape
            return next(streams) if call.kind in STREAMS else next(left)

        return _Answered(draws, answer)


class _Answered(Draws):
    """Draws whose numbers are given by a function. There is one worker, so its rows are all rows."""

    __slots__ = ("_answer", "_stream")

    def __init__(self, like: Draws, answer: Callable[[_Call], Any], stream: int = 0) -> None:
        self.seed, self.stream, self.step = like.seed, like.stream, like.step
        self.rank, self.world, self.device = 0, 1, like.device
        self._answer, self._stream = answer, stream

    def _asked(self, kind: str, *arguments: Any) -> Any:
        return self._answer(_Call(self._stream, kind, arguments))

    def fork(self, name: str) -> Draws:
        return _Answered(self, self._answer, self._asked("fork", name))

    def whole(self) -> Draws:
        return _Answered(self, self._answer, self._asked("whole"))

    def normal(self, rows: int, *shape: int) -> Tensor:
        return self._asked("normal", rows, *shape)

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return self._asked("uniform", rows, *shape)

    def integers(self, high: int, rows: int, *shape: int) -> Tensor:
        return self._asked("integers", high, rows, *shape)

    def batch(self, size: int, batch_size: int) -> Tensor:
        return self._asked("batch", size, batch_size)
