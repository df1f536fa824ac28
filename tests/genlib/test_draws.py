"""Draws depend on (seed, stream, step) alone, leave the caller's generators as they were, and split over workers."""

import pytest
import torch

from genlib import Draws, InputError


def test_equal_keys_give_equal_numbers_and_others_differ():
    base = Draws(3, "train", 5).normal(100)
    assert torch.equal(base, Draws(3, "train", 5).normal(100))
    others = [Draws(4, "train", 5), Draws(3, "other", 5), Draws(3, "train", 6), Draws(3, "train", 5).fork("a")]
    for other in others:
        assert abs(torch.corrcoef(torch.stack((base, other.normal(100))))[0, 1]) < 0.4


def test_the_callers_generator_is_not_touched():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draws = Draws(0, "train", 0)
    draws.normal(5), draws.uniform(5), draws.integers(3, 5), draws.batch(10, 5)
    with draws.default_generator():
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)


def test_default_generator_is_seeded_inside():
    with Draws(0, "model").default_generator():
        first = torch.rand(3)
    with Draws(0, "model").default_generator():
        assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("world", [2, 3])
def test_workers_share_the_global_batch(world):
    whole = Draws(0, "train", 2)
    expected = [whole.normal(12, 2), whole.integers(9, 12), whole.batch(30, 12)]
    parts = [Draws(0, "train", 2, rank=rank, world=world) for rank in range(world)]
    shares = [[part.normal(12, 2), part.integers(9, 12), part.batch(30, 12)] for part in parts]
    for k, tensor in enumerate(expected):
        assert torch.equal(torch.cat([share[k] for share in shares]), tensor)


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="batch of 10 cannot be split over 3 workers"):
        Draws(0, "train", 0, rank=0, world=3).normal(10)


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (10, 10), (7, 20)])
def test_batches_are_shuffled_epochs_with_nothing_left_over(size, batch):
    steps = 3 * size
    rows = torch.cat([Draws(0, "train", step).batch(size, batch) for step in range(steps)])
    epochs = rows.reshape(-1, size)
    assert torch.equal(epochs.sort(1).values, torch.arange(size).expand(len(epochs), size))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1
