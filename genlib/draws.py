"""Randomness as a function of (seed, stream, step).

A `Draws` is a named source of random numbers that remembers nothing: the same (seed, stream, step) gives the same
numbers, on any day, in any process. So a checkpoint holds no generator, a resumed run is bit for bit the uninterrupted
one, and the caller's own generators are never touched. Draws are made for the *global* batch, of which every rank keeps
its own rows: N workers see exactly the numbers that one would.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

from genlib.errors import InputError


def hashed_seed(*parts: object) -> int:
    """A 32-bit seed from anything printable. (CPU generators read only 32 bits of a seed, so hash; never shift.)"""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


class Draws:
    """Random tensors for one step of one stream.

    The first size of every draw counts the rows of the global batch; with `world` > 1 this rank's rows come back.

    Example:
        >>> draws = Draws(seed=0, stream="train", step=7)
        >>> draws.normal(4, 2).shape
        torch.Size([4, 2])
        >>> bool((Draws(0, "train", 7).normal(4, 2) == Draws(0, "train", 7).normal(4, 2)).all())
        True
    """

    __slots__ = ("device", "generator", "rank", "seed", "step", "stream", "world")

    def __init__(
        self,
        seed: int,
        stream: str,
        step: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> None:
        """Seed the generator: `generator`, whose state is overwritten, or a new one."""
        self.seed, self.stream, self.step = seed, stream, step
        self.rank, self.world = rank, world
        self.device = torch.device(device)
        kind = "cpu" if self.device.type == "meta" else self.device  # tensors without values need no numbers
        self.generator = generator if generator is not None else torch.Generator(kind)
        self.generator.manual_seed(hashed_seed(seed, stream, step))

    def __repr__(self) -> str:
        return f"Draws(seed={self.seed}, stream={self.stream!r}, step={self.step})"

    def at(self, step: int) -> Draws:
        """The same stream at another step."""
        return Draws(self.seed, self.stream, step, rank=self.rank, world=self.world, device=self.device)

    def fork(self, name: str) -> Draws:
        """A separate stream, so that what one consumer draws never moves what another one gets."""
        stream = f"{self.stream}/{name}"
        return Draws(self.seed, stream, self.step, rank=self.rank, world=self.world, device=self.device)

    def whole(self) -> Draws:
        """The same numbers for the whole global batch, on every worker; `mine` then picks this worker's rows."""
        return Draws(self.seed, self.stream, self.step, device=self.device)

    def normal(self, rows: int, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return self.mine(torch.randn(rows, *shape, generator=self.generator, device=self.device))

    def uniform(self, rows: int, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self.mine(torch.rand(rows, *shape, generator=self.generator, device=self.device))

    def integers(self, high: int, rows: int, *shape: int) -> Tensor:
        """Uniform integers in [0, high)."""
        return self.mine(torch.randint(high, (rows, *shape), generator=self.generator, device=self.device))

    def batch(self, size: int, batch_size: int) -> Tensor:
        """The rows of this step's batch in a data set of `size`: epochs of fresh permutations, no row left over."""
        first = self.step * batch_size
        pieces = []
        while first < (self.step + 1) * batch_size:
            epoch, offset = divmod(first, size)
            taken = min(size - offset, (self.step + 1) * batch_size - first)
            order = _permutation(self.seed, self.stream, epoch, size, self.device)
            pieces.append(order if taken == size else order[offset : offset + taken])
            first += taken
        return self.mine(pieces[0] if len(pieces) == 1 else torch.cat(pieces))

    def whole_of(self, mine: Tensor) -> Tensor:
        """The global batch, put together from the rows of every worker; without gradients."""
        if self.world == 1:
            return mine.detach()
        parts = [torch.empty_like(mine) for _ in range(self.world)]
        torch.distributed.all_gather(parts, mine.detach().contiguous())
        return torch.cat(parts)

    @contextmanager
    def default_generator(self) -> Iterator[None]:
        """Seed torch's default generators (for weight initialisation), and give the caller's state back afterwards."""
        lent = DefaultGenerators(self.device)
        lent.take()
        try:
            lent.seed(self)
            yield
        finally:
            lent.give_back()

    def mine(self, whole: Tensor) -> Tensor:
        """This worker's rows of a global batch."""
        if self.world == 1:
            return whole
        if len(whole) % self.world:
            raise InputError(
                f"a global batch of {len(whole)} cannot be split over {self.world} workers: make it a multiple."
            )
        share = len(whole) // self.world
        return whole[self.rank * share : (self.rank + 1) * share]


class DefaultGenerators:
    """torch's own generators (dropout draws from them), taken for a while and given back as the caller had them."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._taken: list[Tensor] = []

    def take(self) -> None:
        """Remember the caller's state."""
        self._taken = [torch.get_rng_state()]
        if self._device.type == "cuda":
            self._taken.append(torch.cuda.get_rng_state(self._device))

    def seed(self, draws: Draws) -> None:
        """Seed the generators by the draws' seed, stream, step and rank."""
        seed = hashed_seed(draws.seed, draws.stream, draws.step, "default", draws.rank)
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):
                torch.cuda.manual_seed(seed)

    def give_back(self) -> None:
        """Restore the caller's state."""
        if self._taken:
            torch.set_rng_state(self._taken[0])
            if len(self._taken) > 1:
                torch.cuda.set_rng_state(self._taken[1], self._device)
        self._taken = []


@lru_cache(maxsize=128)  # a pack has many seeds
def _permutation(seed: int, stream: str, epoch: int, size: int, device: torch.device) -> Tensor:
    generator = _SCRATCH.__dict__.get(str(device))
    if generator is None:  # making a generator costs more than most permutations
        generator = _SCRATCH.__dict__[str(device)] = torch.Generator(device)
    generator.manual_seed(hashed_seed(seed, stream, "epoch", epoch))
    return torch.randperm(size, generator=generator, device=device)


_SCRATCH = threading.local()
"""A generator for each device and thread, seeded before every use."""
