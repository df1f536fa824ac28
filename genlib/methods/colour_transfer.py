"""Colour transfer between two domains without pairs: a CycleGAN, both players in one objective. Zhu et al., 2017.

Two generators carry images from one domain to the other, two critics tell real from carried. Every term sees the other
side detached, so one backward pass and one optimizer serve both.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from genlib.draws import Draws

GeneratorName = Literal["local", "matrix"]
CriticName = Literal["pooled", "strided"]


class LocalGenerator(nn.Module):
    """The report's generator: three 3 × 3 convolutions, 3 → 32 → 40 → 3. An output pixel sees 7 × 7 of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 40, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(40, 3, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, "n 3 28 28"]:
        return self.net(x).sigmoid()


class MatrixGenerator(nn.Module):
    """A generator that looks at the whole image and names one matrix, by which the colour of every pixel is multiplied.

    The matrix's entries are in [0, 1], so strokes stay where they are and black stays black. Values above 1 are not
    clipped: in training the critics prevent them, and clipping would let no gradient through.
    """

    def __init__(self) -> None:
        super().__init__()
        self.look = _strided(9)

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, "n 3 28 28"]:
        matrices = self.look(x).reshape(x.shape[0], 3, 3).sigmoid()
        return torch.bmm(matrices, x.flatten(2)).reshape(x.shape)


def pooled_critic() -> nn.Sequential:
    """The report's critic: 3 → 32 → 64 channels, each convolution pooled, then 3136 → 84 → 1, the logit of real."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 84),
        nn.ReLU(),
        nn.Linear(84, 1),
        nn.Flatten(0),
    )


def strided_critic() -> nn.Sequential:
    """A critic of a tenth of the arithmetic: strides in the place of pooling, half the channels."""
    return nn.Sequential(*_strided(1), nn.Flatten(0))


def _strided(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.LeakyReLU(0.1),
        nn.Linear(128, outputs),
    )


class Players(nn.Module):
    """Both generators and both critics.

    Arguments:
        generator: `local`, the report's, or `matrix`.
        critic: `pooled`, the report's, or `strided`.
        pool: number of earlier carried images that the critics are shown again; 0 shows them only the newest.
    """

    pool_a: Tensor
    pool_b: Tensor

    def __init__(self, generator: GeneratorName = "local", critic: CriticName = "pooled", pool: int = 0) -> None:
        super().__init__()
        carries = {"local": LocalGenerator, "matrix": MatrixGenerator}[generator]
        judges = {"pooled": pooled_critic, "strided": strided_critic}[critic]
        self.a_to_b, self.b_to_a = carries(), carries()
        self.critic_a, self.critic_b = judges(), judges()
        self.register_buffer("pool_a", torch.zeros(pool, 3, 28, 28))
        self.register_buffer("pool_b", torch.zeros(pool, 3, 28, 28))

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, "n 3 28 28"]:
        """Images of domain A, carried to domain B."""
        return self.a_to_b(x)

    def terms(
        self,
        a: Float[Tensor, "n 3 28 28"],
        b: Float[Tensor, "n 3 28 28"],
        *,
        cycle: float = 10.0,
        identity: float = 0.0,
        noise: float = 0.0,
        draws: Draws | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss terms, by name and already weighted.

        Arguments:
            cycle: weight of the mean absolute difference after going there and back.
            identity: weight of the mean absolute difference that a generator makes to images of its own target domain.
            noise: standard deviation of the colour that is added to whatever the critics see; needs draws.
            draws: randomness that picks the images of the pool the critics are shown; None shows them the newest.
        """
        fake_a, fake_b = self.b_to_a(b), self.a_to_b(a)
        there_and_back = functional.l1_loss(self.b_to_a(fake_b), a) + functional.l1_loss(self.a_to_b(fake_a), b)
        shown_a, shown_b = fake_a.detach(), fake_b.detach()
        real_a, real_b = a, b
        if draws is not None:
            shown_a = self._shown(self.pool_a, shown_a, draws.fork("pool a"))
            shown_b = self._shown(self.pool_b, shown_b, draws.fork("pool b"))
        if draws is not None and noise:
            pairs = {"fake a": fake_a, "fake b": fake_b, "old a": shown_a, "old b": shown_b, "a": a, "b": b}
            blurred = [recoloured(x, noise, draws.fork(name)) for name, x in pairs.items()]
            fake_a, fake_b, shown_a, shown_b, real_a, real_b = blurred
        terms = {
            "generators": real_loss(judged(self.critic_a, fake_a)) + real_loss(judged(self.critic_b, fake_b)),
            "cycle": cycle * there_and_back,
            "critic_a": critic_loss(self.critic_a, real_a, shown_a),
            "critic_b": critic_loss(self.critic_b, real_b, shown_b),
        }
        if identity:
            change = functional.l1_loss(self.b_to_a(a), a) + functional.l1_loss(self.a_to_b(b), b)
            terms["identity"] = identity * change
        return terms

    @torch.no_grad()
    def _shown(self, pool: Tensor, fake: Tensor, draws: Draws) -> Tensor:
        """What a critic sees of carried images: half the new ones, half older ones, whose places the new ones take.

        Every worker keeps the same pool, of the images that all of them carried.
        """
        if not len(pool):
            return fake
        fresh = draws.whole_of(fake).to(pool.dtype)
        count, size = len(fresh), len(pool)
        filled = draws.step * count
        if filled < size:  # the pool fills first
            pool[filled : filled + count] = fresh[: size - filled]
            return fake
        chance = draws.whole()
        rows = chance.uniform(count).argsort()[: min(count // 2, size)]
        places = chance.uniform(size).argsort()[: len(rows)]
        shown = fresh.clone()
        shown[rows], pool[places] = pool[places], fresh[rows]
        return draws.mine(shown)


def recoloured(x: Float[Tensor, "n 3 28 28"], std: float, draws: Draws) -> Float[Tensor, "n 3 28 28"]:
    """Images with a random colour added to their strokes, in proportion to their brightness.

    Instance noise where colours live (Sønderby et al., 2017): critics of blurred colours slope everywhere towards the
    right ones, where critics of sharp ones are flat between them and a wrong colour stays.
    """
    colour = std * draws.normal(x.shape[0] * draws.world, 3)
    return x + colour[:, :, None, None] * x.detach().amax(1, keepdim=True)


def judged(critic: nn.Module, fake: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, " n"]:
    """The critic's logits; gradients go to the images, none to the critic."""
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    return torch.func.functional_call(critic, fixed, (fake,))


def real_loss(logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross-entropy of logits with being real."""
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def critic_loss(
    critic: nn.Module, real: Float[Tensor, "n 3 28 28"], fake: Float[Tensor, "n 3 28 28"]
) -> Float[Tensor, ""]:
    """Cross-entropy of telling real from carried; none of it reaches the generator."""
    false = critic(fake.detach())
    return real_loss(critic(real)) + functional.binary_cross_entropy_with_logits(false, torch.zeros_like(false))
