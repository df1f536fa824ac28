"""Random numbers of a loss that is computed for several members at once: written down once, drawn for each, handed in.

Nothing can be drawn under `torch.vmap`. So what a loss draws is recorded once (a tape); at every update the numbers on
it are drawn from each member's own `Draws`, and the loss is given them in place of drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

from torch import Tensor

from genlib.draws import Draws


class OtherTape(Exception):
    """The loss asks for other random numbers than those on the tape."""


class _Call(NamedTuple):
    """Numbers that are drawn from a stream, or a stream that is made of another."""

    stream: int
    """Number of the stream, in the order in which they are made; 0 is the one that the loss is given."""
    kind: str
    arguments: tuple[Any, ...]


STREAMS = ("fork", "whole")
"""Calls that make a stream."""


class Tape:
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
                raise OtherTape
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
