"""Adam and AdamW are torch's, and do without torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from genlib import adam

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def steps(optimizer, layer, count):
    for _ in range(count):
        optimizer.zero_grad()
        layer(X).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("fused", [True, False])
def test_every_bit_is_that_of_torch(name, fused):
    layer = nn.Linear(3, 2)
    other = copy.deepcopy(layer)
    ours, theirs = (
        getattr(module, name)(one.parameters(), lr=0.05, weight_decay=0.1, fused=fused)
        for module, one in ((adam, layer), (torch.optim, other))
    )
    steps(ours, layer, 5)
    steps(theirs, other, 5)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))  # and goes on from ours
    steps(ours, layer, 5)
    steps(theirs, other, 5)
    for one, another in zip(layer.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, another)


def test_hooks_are_called():
    layer, called = nn.Linear(3, 2), []
    optimizer = adam.Adam(layer.parameters())
    optimizer.register_step_post_hook(lambda *_: called.append(1))
    steps(optimizer, layer, 3)
    assert len(called) == 3


WORK = """
import sys
from genlib import PointDiffusion, TinyGPT, fit, train
from genlib.packs import train_pack
fit(PointDiffusion.preset("tiny")).evaluation
list(train(TinyGPT.preset("tiny")))
list(train_pack([PointDiffusion.preset("tiny", seed=seed) for seed in range(3)]))
print("torch._dynamo" in sys.modules)
"""


def test_training_does_not_load_the_compiler():
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
