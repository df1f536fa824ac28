"""Two players in one objective: each term moves its own side alone; what a generator can see is what it is said to."""

import pytest
import torch

from genlib import Draws
from genlib.methods.colour_transfer import LocalGenerator, MatrixGenerator, Players, recoloured

CRITICS = ("critic_a", "critic_b")


@pytest.fixture(params=[("local", "pooled"), ("matrix", "strided")], ids="-".join)
def players(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Players(*request.param)


def images(stream, n=4):
    return Draws(0, stream).uniform(n, 3, 28, 28)


def reached(players, term):
    """The parts that a term's gradient reaches."""
    players.zero_grad()
    term.backward(retain_graph=True)
    return {name.partition(".")[0] for name, p in players.named_parameters() if p.grad is not None and p.grad.any()}


def test_each_term_moves_its_own_side_alone(players):
    terms = players.terms(images("a"), images("b"), identity=1.0)
    assert set(terms) == {"generators", "cycle", "identity", *CRITICS}
    for name, term in terms.items():
        assert reached(players, term) == ({name} if name in CRITICS else {"a_to_b", "b_to_a"}), name


def test_gradients_reach_every_parameter(players):
    sum(players.terms(images("a"), images("b")).values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in players.parameters())


def test_the_gradient_of_the_sum_is_that_of_playing_in_turns(players):
    """Detaching is exact: the critics' gradients are those of a step of their own, and the generators' too."""
    a, b = images("a"), images("b")
    sum(players.terms(a, b).values()).backward()
    together = {name: p.grad.clone() for name, p in players.named_parameters()}
    players.zero_grad()
    fake_b = players.a_to_b(a)
    logits = players.critic_b(fake_b.detach())
    real = players.critic_b(b)
    cross = torch.nn.functional.binary_cross_entropy_with_logits
    (cross(real, torch.ones_like(real)) + cross(logits, torch.zeros_like(logits))).backward()
    for name, p in players.critic_b.named_parameters():
        assert torch.allclose(p.grad, together[f"critic_b.{name}"], atol=1e-6)


def seen_by(generator):
    x = images("x", 1).requires_grad_()
    generator(x)[0, :, 14, 14].sum().backward()
    rows, columns = x.grad.abs().sum((0, 1)).nonzero().unbind(1)
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def test_what_a_pixel_has_seen():
    assert seen_by(LocalGenerator()) == (7, 7)
    assert seen_by(MatrixGenerator()) == (28, 28)


def test_identity_is_an_option(players):
    assert "identity" not in players.terms(images("a"), images("b"))


def test_a_matrix_keeps_strokes_and_the_local_generator_stays_in_range():
    x = images("a")
    x[:, :, :10] = 0
    carried = MatrixGenerator()(x)
    assert (carried[:, :, :10] == 0).all()
    assert (carried[:, :, 10:] > 0).all()
    local = LocalGenerator()(x)
    assert ((local >= 0) & (local <= 1)).all()


def test_noise_is_a_colour_on_the_strokes():
    x = images("x", 400)
    x[:, :, :10] = 0
    added = recoloured(x, 0.3, Draws(0, "noise")) - x
    assert (added[:, :, :10] == 0).all()
    colour = added / x.amax(1, keepdim=True).clamp_min(1e-9)
    assert torch.allclose(colour[:, :, 12, 3], colour[:, :, 20, 17], atol=1e-4)  # one for an image
    assert colour[:, :, 12, 3].std() == pytest.approx(0.3, rel=0.1)


def test_the_pool_shows_the_critics_old_images_and_keeps_new_ones():
    players = Players("matrix", "strided", pool=6)
    fakes = [images(f"fake {k}") for k in range(4)]
    filling = [players._shown(players.pool_a, fake, Draws(0, "train", k)) for k, fake in enumerate(fakes[:2])]
    assert all(torch.equal(shown, fake) for shown, fake in zip(filling, fakes[:2], strict=True))
    before = players.pool_a.clone()
    assert torch.equal(before, torch.cat(fakes[:2])[:6])
    shown = players._shown(players.pool_a, fakes[2], Draws(0, "train", 2))
    old = [any(torch.equal(one, kept) for kept in before) for one in shown]
    assert sum(old) == 2
    taken_in = [any(torch.equal(one, kept) for kept in players.pool_a) for one in fakes[2]]
    assert taken_in == old  # the new ones that were not shown are kept
