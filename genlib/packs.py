"""Packs: studies that differ only in numbers train as one, with every update computed for all of them at once.

    for reports in train_pack([PointDiffusion(seed=k) for k in range(32)]):
        for k, progress in reports.items():
            print(k, progress.step, progress.metrics)

A small model's update costs Python and kernel launches, not arithmetic; a pack pays for them once. Weights of all
members lie in one tensor, a row each, and `torch.vmap` carries the study's own `loss` over the rows. Every member keeps
its own random numbers, learning rate, weight decay, clipping and average, and a `State` like any other, whose tensors
are views of its row: at every report it can be saved, and continued alone. The numbers are those of training alone, up
to float error.

Random numbers come from a tape (`genlib.packing.tape`); a loss that draws otherwise at another update gets a new one.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from genlib.adam import Adam, AdamW
from genlib.draws import Draws
from genlib.errors import Diverged, InputError
from genlib.packing.numbers import carried_numbers, with_numbers, without_what_differs
from genlib.packing.rows import Optimiser, Rows, parameters_of, tensors_of
from genlib.packing.tape import OtherTape, Tape
from genlib.settings import carried_fields, evaluation_fields
from genlib.state import State
from genlib.study import Loss, Study, Tensors
from genlib.training import Launch, Objective, Progress, losses_of, refuse_lost, refuse_lost_weights, start, validation

Reports = dict[int, Progress | Diverged]
"""What is due at an update, by member: its progress, or how it was lost."""
OPTIMISERS = (Adam, AdamW, torch.optim.Adam, torch.optim.AdamW)
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


def _is_plain(optimiser: torch.optim.Optimizer) -> bool:
    """Whether a pack's own Adam does what this optimiser does."""
    groups = optimiser.param_groups
    return type(optimiser) in OPTIMISERS and not any(group["amsgrad"] or group["maximize"] for group in groups)


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
    if launch.world > 1 or launch.compile or launch.precision != "float32":
        raise InputError("a pack trains on one worker, in float32, and is not compiled.")
    states = list(states) if states else [start(study, launch) for study in studies]
    if not all(_is_plain(state.optimizer) for state in states):
        raise InputError(f"{type(studies[0]).__name__} says that it packs, and its optimiser is not Adam or AdamW.")
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
        self._tape: Tape | None = None
        self._generators: dict[int, torch.Generator] = {}
        there: dict[int, tuple[Tensor, Tensor]] = {}  # most studies have the same data under every seed

        def moved(tensor: Tensor) -> Tensor:
            if id(tensor) not in there:
                there[id(tensor)] = tensor, tensor.to(launch.device)
            return there[id(tensor)][1]

        self._data = {
            seed: {name: moved(tensor) for name, tensor in study.data().train.items()}
            for seed, study in {study.seed: study for study in studies}.items()
        }

    def join(self, states: dict[int, State]) -> None:
        """Take members in; all are at one update."""
        if not states:
            return
        self._hand_over()
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
        for state in self.states.values():
            for tensors in tensors_of(state):
                for tensor in tensors:
                    tensor.data = tensor.data.clone()

    def _stack(self) -> None:
        """Put the members' weights, averages and moments into one tensor each, and make theirs views of it."""
        self.members = list(self.states)
        if not self.members:
            return
        states = list(self.states.values())
        self.step = states[0].step
        self._rows = [Rows.of(parts) for parts in zip(*map(tensors_of, states), strict=True)]
        studies = [self.studies[k] for k in self.members]
        self._objective = Objective(studies[0], states[0].model)
        names = {id(p): name for name, p in states[0].model.named_parameters()}
        self._names = [f"model.{names[id(p)]}" for p in parameters_of(states[0])]
        others = [self._not_trained(state) for state in states]
        self._others = {f"model.{name}": torch.stack([one[name] for one in others]) for name in others[0]}
        self._optimiser = Optimiser(states, studies, self._rows)
        self._carried = carried_numbers(studies, self.launch.device)
        self._study = without_what_differs(studies)
        self._seeds = [study.seed for study in studies]

    def _not_trained(self, state: State) -> dict[str, Tensor]:
        """Buffers, and parameters that the optimiser does not update: each member has its own."""
        trained = set(map(id, parameters_of(state)))
        left = {name: tensor.detach() for name, tensor in state.model.named_parameters() if id(tensor) not in trained}
        return left | dict(state.model.named_buffers())

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
        study, seeds = self._study, list(dict.fromkeys(self._seeds))
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
                loss = carried(leaves, self._others, self._carried, batch, played)
        except OtherTape:
            self._tape = None
            return self._losses(leaves)
        terms, diagnostics = loss
        return reduce(operator.add, terms.values()), Loss(terms, diagnostics)

    def _loss_of_one(
        self, leaves: list[Tensor], others: Tensors, carried: Tensors, batch: Tensors, played: list[Tensor]
    ) -> tuple[Tensors, Tensors]:
        assert self._tape is not None
        draws = self._tape.play(played, self._like)
        self._objective.study = with_numbers(self._study, carried)
        loss = functional_call(self._objective, dict(zip(self._names, leaves, strict=True)) | others, (batch, draws))
        return loss.terms, loss.diagnostics

    def _draws(self, seed: int) -> Draws:
        generator = self._generators.setdefault(seed, torch.Generator(self.launch.device))
        return Draws(seed, "train", self.step, device=self.launch.device, generator=generator)

    def _recorded(self, batch: Tensors) -> Tape:
        """What the loss draws at this update."""
        member = self.members[0]
        study, tape = self.studies[member], Tape()
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
