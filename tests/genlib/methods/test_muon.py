"""Muon: its matrices beside torch's own and the singular value decomposition, its Adam beside torch's."""

import copy

import pytest
import torch
from torch import nn

from genlib import VICReg
from genlib.methods.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(6, 6), (4, 30), (30, 4)])
def test_singular_values_become_about_one_and_singular_vectors_stay(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    assert s.max() / s.min() > 1.5
    found = u.T @ orthogonalised(x) @ v.T
    assert (found.diag() > 0.6).all()
    assert (found.diag() < 1.3).all()
    assert (found - torch.diag(found.diag())).abs().max() < 1e-4
    assert torch.allclose(orthogonalised(1e-3 * x), orthogonalised(x), atol=1e-4)


def problem():
    """A small net with a kernel, a matrix, vectors, and a last matrix; and losses for it."""
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 2))
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator) / max(p[0].numel(), 1) ** 0.5
    x = torch.randn(20, 16, 3, 4, 4, generator=generator)
    return net, lambda net, step: net(x[step]).square().mean()


def take_steps(net, optimizer, loss, steps):
    for step in steps:
        optimizer.zero_grad()
        loss(net, step).backward()
        optimizer.step()


def test_what_is_left_to_adam_is_torchs_adam():
    net, loss = problem()
    other = copy.deepcopy(net)
    ours = Muon(net.parameters(), matrices=[], rate=0.1, adam_rate=1e-2, weight_decay=0.1)
    take_steps(net, ours, loss, range(20))
    take_steps(other, torch.optim.Adam(other.parameters(), lr=1e-2, weight_decay=0.1), loss, range(20))
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_matrices_move_as_by_torchs_muon():
    net, loss = problem()
    other = copy.deepcopy(net)
    ours = Muon(net.parameters(), matrices=[net[2].weight, net[4].weight], rate=0.05, adam_rate=0.0)
    theirs = torch.optim.Muon([other[2].weight, other[4].weight], lr=0.05, weight_decay=0.0, momentum=0.95)
    before = net[2].weight.detach().clone()
    take_steps(net, ours, loss, range(10))
    take_steps(other, theirs, loss, range(10))
    for k in (2, 4):
        assert torch.allclose(net[k].weight, other[k].weight, atol=0.02)  # theirs computes in half precision
    assert (net[2].weight - before).norm() > 0.3


def test_a_kernel_is_the_matrix_of_its_rows():
    net, loss = problem()
    before = net[0].weight.detach().clone()
    take_steps(net, Muon(net.parameters(), matrices=[net[0].weight], rate=0.1, adam_rate=0.0), loss, range(1))
    moved = (net[0].weight - before).flatten(1) / 0.1
    assert torch.allclose(torch.linalg.svdvals(moved), torch.ones(8), atol=0.4)


def test_kernels_before_a_norm_keep_their_length():
    net, loss = problem()
    optimizer = Muon(net.parameters(), matrices=[net[0].weight], rate=0.1, adam_rate=0.0, normed=[net[0].weight])
    take_steps(net, optimizer, loss, range(3))
    assert net[0].weight.norm().item() == pytest.approx(8**0.5)
    model = VICReg.preset("tiny").model()
    normed = VICReg.preset("tiny", muon_rate=0.02).optimizer(model).normed
    assert {id(p) for p in normed} == {id(p) for p in model.parameters() if p.ndim == 4}


def test_it_goes_on_from_a_state_bit_for_bit():
    net, loss = problem()
    optimizer = Muon(net.parameters(), matrices=[net[0].weight, net[2].weight], rate=0.02, adam_rate=1e-2)
    take_steps(net, optimizer, loss, range(5))
    other = copy.deepcopy(net)
    again = Muon(other.parameters(), matrices=[other[0].weight, other[2].weight], rate=1.0, adam_rate=1.0)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(net, optimizer, loss, range(5, 9))
    take_steps(other, again, loss, range(5, 9))
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


def test_vicreg_leaves_vectors_the_last_matrix_and_codes_to_adam():
    study = VICReg.preset("tiny", muon_rate=0.02, codes=True, code_views=True, decoder_weight=1.0)
    model = study.model()
    matrices, others = (group["params"] for group in study.optimizer(model).param_groups)
    assert {p.ndim for p in matrices} == {2, 4}
    assert len(matrices) + len(others) == len([*model.parameters()])
    left = {id(p) for p in others}
    assert {id(model.codes), id(model.head[-1].weight), id(model.decoder[0].weight)} <= left
    labels = VICReg.preset("tiny", muon_rate=0.02, supervised=True)
    model = labels.model()
    assert id(model.head.weight) not in {id(p) for p in labels.optimizer(model).param_groups[0]["params"]}
    assert isinstance(VICReg.preset("tiny").optimizer(model), torch.optim.Adam)


def test_a_muon_that_is_off_leaves_the_key_alone():
    assert "muon_rate" not in VICReg.preset("tiny").identity()["fields"]
    assert VICReg.preset("tiny", muon_rate=0.02).key() != VICReg.preset("tiny").key()
