"""The memory that a study asks for is told without taking it."""

import pytest
import torch

from genlib import STUDIES, CouplingFlow, PointDiffusion, train
from genlib.memory import COPIES, memory_of


def test_weights_are_counted_exactly():
    study = CouplingFlow.preset("tiny")
    asked = memory_of(study)
    assert asked["the weights"] == COPIES * 4 * sum(tensor.numel() for tensor in study.model().parameters())


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.title())
def test_what_is_told_is_less_than_what_training_takes(kind):
    study = kind.preset("tiny", batch_size=64, steps=1)
    kept = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        list(train(study))
    assert 0.02 * sum(kept.values()) < memory_of(study)["batch_size"] < sum(kept.values())


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.title())
def test_every_study_tells_and_grows_with_its_batch(kind):
    study = kind.preset("tiny")
    twice = kind.preset("tiny", batch_size=2 * study.batch_size)
    assert memory_of(twice)["batch_size"] == pytest.approx(2 * memory_of(study)["batch_size"])
    assert memory_of(study)["the weights"] > 0


def test_absurd_sizes_take_nothing():
    assert memory_of(PointDiffusion(width=10**8))["the weights"] > 1e17
    assert memory_of(PointDiffusion(samples=10**15))["samples"] > 1e15


def test_a_model_that_cannot_be_made_without_values_says_nothing():
    class Stubborn(PointDiffusion):
        def model(self):
            return torch.nn.Linear(int(torch.ones(()).item()), 1)

    assert memory_of(Stubborn.preset("tiny"))["the weights"] == 0
