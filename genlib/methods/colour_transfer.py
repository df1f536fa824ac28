"""Colour transfer between two domains without pairs: a CycleGAN, both players in one objective. Zhu et al., 2017.

Two generators carry images from one domain to the other, two critics tell real from carried. Every term sees the other
side detached, so one backward pass and one optimizer serve both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Generator = Literal["local", "wide"]


class LocalGenerator(nn.Module):
    """The report's: three 3 × 3 convolutions, 3 → 32 → 40 → 3. A pixel of its output has seen 7 × 7 of the input."""

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


class WideGenerator(nn.Module):
    """Looks at the whole image first: what it saw decides how every pixel is coloured.

    Arguments:
        context: features of the whole image.
        width: of the perceptron that colours each pixel.
    """

    def __init__(self, context: int = 32, width: int = 64) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 64),
            nn.ReLU(),
            nn.Linear(64, context),
        )
        self.colour = nn.Sequential(
            nn.Conv2d(3 + context, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, 3, 1)
        )

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, "n 3 28 28"]:
        seen = self.look(x)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.colour(torch.cat((x, seen), 1)).sigmoid()


class Critic(nn.Module):
    """The report's: 3 → 32 → 64 channels, each convolution pooled, then 3136 → 84 → 1; the logit of being real."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
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
        )

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, " n"]:
        return self.net(x).squeeze(1)


class Players(nn.Module):
    """Both generators and both critics.

    Arguments:
        generator: `local`, the report's, or `wide`.
    """

    def __init__(self, generator: Generator = "local") -> None:
        super().__init__()
        made: Callable[[], nn.Module] = {"local": LocalGenerator, "wide": WideGenerator}[generator]
        self.a_to_b, self.b_to_a = made(), made()
        self.critic_a, self.critic_b = Critic(), Critic()

    def forward(self, x: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, "n 3 28 28"]:
        """From domain A to domain B."""
        return self.a_to_b(x)

    def terms(
        self,
        a: Float[Tensor, "n 3 28 28"],
        b: Float[Tensor, "n 3 28 28"],
        *,
        cycle: float = 10.0,
        identity: float = 0.0,
    ) -> dict[str, Float[Tensor, ""]]:
        """What is minimised, by name and already weighted.

        Arguments:
            cycle: weight of the mean absolute difference after going there and back.
            identity: weight of the mean absolute difference that a generator makes to images of its own target domain.
        """
        fake_a, fake_b = self.b_to_a(b), self.a_to_b(a)
        there_and_back = functional.l1_loss(self.b_to_a(fake_b), a) + functional.l1_loss(self.a_to_b(fake_a), b)
        found = {
            "generators": real_loss(judged(self.critic_a, fake_a)) + real_loss(judged(self.critic_b, fake_b)),
            "cycle": cycle * there_and_back,
            "critic_a": critic_loss(self.critic_a, a, fake_a),
            "critic_b": critic_loss(self.critic_b, b, fake_b),
        }
        if identity:
            kept = functional.l1_loss(self.b_to_a(a), a) + functional.l1_loss(self.a_to_b(b), b)
            found["identity"] = identity * kept
        return found


def judged(critic: nn.Module, fake: Float[Tensor, "n 3 28 28"]) -> Float[Tensor, " n"]:
    """The critic's logits; gradients go to the images, none to the critic."""
    fixed = {name: parameter.detach() for name, parameter in critic.named_parameters()}
    return torch.func.functional_call(critic, fixed, (fake,))


def real_loss(logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Cross-entropy of being taken for real."""
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def critic_loss(
    critic: nn.Module, real: Float[Tensor, "n 3 28 28"], fake: Float[Tensor, "n 3 28 28"]
) -> Float[Tensor, ""]:
    """Cross-entropy of telling real from carried; none of it reaches the generator."""
    false = critic(fake.detach())
    return real_loss(critic(real)) + functional.binary_cross_entropy_with_logits(false, torch.zeros_like(false))
