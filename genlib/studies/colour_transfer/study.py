"""Colour transfer between two colourings of digits, without pairs (report C4).

In each domain every digit has a colour of its own, so the right answer is known: the same strokes in the other domain's
colour of that digit. `report` is the report's network, whose generators see 7 × 7 pixels; those of `best` look at the
whole image, name one colour matrix for it, and need a tenth of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from genlib.adam import Adam
from genlib.data.images import Labelled
from genlib.data.images.colours import Domain, as_bytes, digit_hues, in_ink, inked
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods.colour_transfer import CriticName, GeneratorName, Players
from genlib.needs import needed
from genlib.studies.digit_judge.study import accuracy, judge_of
from genlib.studies.digits.study import DigitStudy
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting

CHUNK = 500
"""Number of images that are carried together."""
OTHER: dict[Domain, Domain] = {"a": "b", "b": "a"}


class Carried(NamedTuple):
    """Images of one domain, what became of them in the other, what should have, and what came back; their digits."""

    start: Tensor
    carried: Tensor
    truth: Tensor
    back: Tensor
    y: Tensor


@dataclass(frozen=True, kw_only=True)
class ColourTransfer(DigitStudy[Players]):
    """A CycleGAN between two domains whose truth is known."""

    steady: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/psnr", "max")

    steps: int = setting(1_500, low=1)
    """Number of updates of the weights: six epochs of 30,000 digits a domain."""
    batch_size: int = setting(120, low=1)
    """Number of images of either domain in the global batch, over all workers."""
    learning_rate: float = setting(3e-5, above=0)
    """Adam's learning rate at its highest."""
    validate_every: int = setting(250, low=1)
    """Number of updates between validations; the last update is always validated."""
    generator: GeneratorName = setting("local")
    """Kind of generator: three convolutions that see 7 × 7 pixels (the report's), or a colour matrix for each image."""
    critic: CriticName = setting("pooled")
    """Kind of critic: the report's, which pools, or one of a tenth of the arithmetic, with strides."""
    cycle_weight: float = setting(10.0, low=0)
    """Weight of the cycle term, which asks images to come back unchanged."""
    identity_weight: float = setting(0.0, low=0)
    """Weight of the identity term, which asks generators to leave images of their target domain alone; 0 leaves it
    out. Both domains have the same ten hues, so a generator that reads the ink alone cannot do this and carry."""
    pool: int = setting(0, low=0)
    """Number of images carried in earlier updates that the critics are shown again; 0 shows them only the newest."""
    noise: float = setting(0.0, low=0)
    """Initial standard deviation of the random colour on whatever the critics see; it falls linearly to zero."""
    noise_share: float = setting(0.5, above=0, high=1)
    """Share of the training over which `noise` falls to zero."""
    critic_rate: float = setting(1.0, above=0)
    """The critics' learning rate as a multiple of the generators'."""
    betas: tuple[float, ...] = setting((0.9, 0.999), low=0, below=1)
    """Adam's decays of the mean gradient and of its mean square."""

    samples: int = setting(1_000, low=10, evaluation=True)
    """Number of carried images that are kept with the evaluation."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {
            "steps": 3_000,
            "batch_size": 64,
            "validate_every": 500,
            "generator": "matrix",
            "critic": "strided",
            "learning_rate": 1e-3,
            "noise": 0.3,
            "learning_rate_schedule": "cosine",
            "betas": (0.5, 0.99),
        },
        "tiny": {
            "steps": 6,
            "batch_size": 8,
            "validate_every": 4,
            "log_every": 2,
            "data_set": "digits",
            "critic": "strided",
            "samples": 50,
        },
    }

    def check(self) -> None:
        if len(self.betas) != 2:
            raise InputError(f"ColourTransfer.betas: got {self.betas}; give two numbers, such as 0.9 and 0.999.")

    @property
    def rows(self) -> int:
        return super().rows // 2

    def course(self) -> str | None:
        return None if self.noise else super().course()  # which falls to zero by the length

    def evaluation_needs(self) -> dict[str, Study[Any]]:
        return {"judge": judge_of(self.data_set)}

    def data(self) -> Data:
        """Grey digits and their hues: one half of the training images in domain A, the other in B, so none in both."""
        train, test = self.images.train, self.images.test
        half = len(train.x) // 2
        order = self.draws("domains").uniform(2 * half).argsort()
        parts = {"a": order[:half], "b": order[half:]}
        halves = {domain: train.rows(rows) for domain, rows in parts.items()}
        return Data(_coloured(halves["a"], halves["b"]), _coloured(test, test))

    def model(self) -> Players:
        with self.draws("model").default_generator():
            players = Players(self.generator, self.critic, self.pool)
        for parameter in players.parameters():  # a quarter faster on a CPU
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return players

    def optimizer(self, model: Players) -> torch.optim.Optimizer:
        """One optimizer for all players; the critics have a learning rate of their own."""
        critics = [*model.critic_a.parameters(), *model.critic_b.parameters()]
        groups = [
            {"params": [*model.a_to_b.parameters(), *model.b_to_a.parameters()], "lr": self.learning_rate},
            {"params": critics, "lr": self.learning_rate * self.critic_rate},
        ]
        return Adam(groups, betas=(self.betas[0], self.betas[1]), weight_decay=self.weight_decay, fused=True)

    def loss(self, model: Players, batch: Tensors, draws: Draws) -> Loss:
        a, b = (inked(batch[domain], batch[f"hue_{domain}"]) for domain in ("a", "b"))
        noise = self.noise * max(0.0, 1 - draws.step / (self.noise_share * self.steps))
        weights = {"cycle": self.cycle_weight, "identity": self.identity_weight}
        return Loss(model.terms(a, b, **weights, noise=noise, draws=draws))

    @torch.no_grad()
    def validate(self, model: Players, draws: Draws) -> dict[str, float]:
        part = self.images.validation.to(draws.device)
        metrics = mean_of_both({domain: closeness(self.carry(model, part, domain), domain) for domain in OTHER})
        return {f"validation/{name}": value for name, value in metrics.items()}

    @torch.no_grad()
    def evaluate(self, model: Players, draws: Draws) -> Evaluation:
        """Digits kept (says an independent judge), hues right, and how close to the truth; mean of both directions."""
        judge, part = needed(self, "judge", draws.device), self.images.evaluation.to(draws.device)
        directions: dict[Domain, dict[str, float]] = {}
        for domain in OTHER:
            transfer = self.carry(model, part, domain)
            kept = (judge.classes(transfer.carried) == transfer.y).float().mean().item()
            directions[domain] = {"digit_kept": kept, **closeness(transfer, domain)}
        metrics = mean_of_both(directions) | {"judge_accuracy": accuracy(judge, part)}
        for domain, target in OTHER.items():
            metrics |= {f"{name}/{domain}_to_{target}": value for name, value in directions[domain].items()}
        return Evaluation(metrics, {k: v.cpu().numpy() for k, v in self.sample(model, self.samples, draws).items()}, {})

    @torch.no_grad()
    def sample(self, model: Players, count: int, draws: Draws) -> Tensors:
        """Test digits in A's colours and carried to B, as bytes, and their classes."""
        test = self.images.test
        rows = draws.integers(len(test.x), count).cpu()
        transfer = self.carry(model, test.rows(rows).to(draws.device), "a")
        return {"start": as_bytes(transfer.start), "x": as_bytes(transfer.carried), "y": transfer.y}

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(4, 3, 28, 28),)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    @torch.no_grad()
    def carry(self, model: Players, grey: Labelled, domain: Domain) -> Carried:
        """Digits in a domain's colours, carried to the other and back; values beyond [0, 1] are clipped."""
        there, back = (model.a_to_b, model.b_to_a) if domain == "a" else (model.b_to_a, model.a_to_b)
        start, truth = (inked(grey.x, digit_hues(grey.y, name)) for name in (domain, OTHER[domain]))
        carried = torch.cat([there(chunk).clamp(0, 1) for chunk in torch.split(start, CHUNK)])
        returned = torch.cat([back(chunk).clamp(0, 1) for chunk in torch.split(carried, CHUNK)])
        return Carried(start, carried, truth, returned, grey.y)


def closeness(seen: Carried, domain: Domain) -> dict[str, float]:
    """How close carried images are to the truth: share of right hues (of ten), peak signal-to-noise ratio of all pixels
    together in dB; and the mean absolute difference after going there and back.
    """
    asked = digit_hues(seen.y, OTHER[domain])
    error = (seen.carried - seen.truth).square().mean().item()
    return {
        "hue_right": in_ink(seen.carried, asked).float().mean().item(),
        "psnr": float(-10 * torch.tensor(max(error, 1e-10)).log10()),
        "cycle_l1": (seen.back - seen.start).abs().mean().item(),
    }


def mean_of_both(found: Mapping[Domain, Mapping[str, float]]) -> dict[str, float]:
    """The mean of two directions, metric by metric."""
    return {name: (value + found["b"][name]) / 2 for name, value in found["a"].items()}


def _coloured(a: Labelled, b: Labelled) -> Tensors:
    return {"a": a.x, "hue_a": digit_hues(a.y, "a"), "b": b.x, "hue_b": digit_hues(b.y, "b")}
