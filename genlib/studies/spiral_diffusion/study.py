"""Discrete denoising diffusion on the spiral: the report's second study (A3).

T = 40 steps with β rising linearly from 10⁻⁴ to .3, so that ᾱ_T = .0012 and the last step is a round disc. Drawn in
DDPM's own coordinates, x_t = √ᾱ_t x₀ + √(1−ᾱ_t) ε; computed, like all diffusion here, in σ = √(1−ᾱ)/√ᾱ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genlib.data.points import PointDensity, density
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods import diffusion
from genlib.metrics import sliced_wasserstein
from genlib.metrics.points import likelihood_metrics, sample_metrics
from genlib.nets.mlp import MLP, Activation
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class SpiralDiffusion(Study[nn.Module]):
    """Discrete DDPM on the noisy spiral, standardised."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/sliced_wasserstein", "min")

    steps: int = setting(20_000, low=1)
    """Number of updates of the weights."""
    validate_every: int = setting(2_000, low=1)
    """Number of updates between validations; the last update is always validated."""
    schedule: Literal["ddpm"] = setting("ddpm")
    """Noise schedule: β rises linearly over `diffusion_steps` discrete steps."""
    diffusion_steps: int = setting(40, low=2)
    """T, the number of discrete steps of the forward process."""
    lowest_beta: float = setting(1e-4, above=0, below=1)
    """β of the first step."""
    highest_beta: float = setting(0.3, above=0, below=1)
    """β of the last step. The usual .02 would leave ᾱ_T = .67 after 40 steps, and no disc."""
    points: int = setting(10_000, low=0)
    """Number of fixed training points; 0 draws fresh points for every batch."""
    denoiser: Literal["plain", "preconditioned"] = setting("plain")
    """What the network predicts: the noise itself, or what EDM's preconditioning leaves to it."""
    noise_levels: Literal["discrete", "continuous"] = setting("discrete")
    """Noise levels that the network is trained at: the T levels alone, or any between the first and the last."""
    width: int = setting(128, low=1)
    """Number of features of each hidden layer."""
    depth: int = setting(3, low=1)
    """Number of hidden layers."""
    activation: Activation = setting("relu")
    """Activation function between the layers."""

    sampler: diffusion.SamplerName = setting("ancestral", evaluation=True)
    """Method of drawing samples; ancestral is DDPM's own."""
    sampling_steps: int = setting(40, low=2, evaluation=True)
    """Number of steps from noise to sample, at most `diffusion_steps`; the last goes to x̂₀ (ancestral) or to t = 1."""
    samples: int = setting(10_000, low=50, evaluation=True)
    """Number of samples that are measured."""
    likelihood_points: int = setting(2_000, low=2, evaluation=True)
    """Number of real points whose exact likelihood is computed."""
    likelihood_steps: int = setting(25, low=1, evaluation=True)
    """Number of Runge–Kutta steps of the likelihood."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {
            "points": 0,
            "denoiser": "preconditioned",
            "noise_levels": "continuous",
            "batch_size": 2_000,
            "activation": "silu",
            "steps": 10_000,
            "learning_rate": 3e-3,
            "learning_rate_schedule": "cosine",
            "ema_decay": 0.999,
            "validate_every": 2_000,
            "sampler": "heun",
        },
        "tiny": {
            "steps": 20,
            "batch_size": 64,
            "points": 200,
            "width": 16,
            "validate_every": 10,
            "samples": 200,
            "sampling_steps": 8,
            "likelihood_points": 50,
            "likelihood_steps": 4,
        },
    }

    def check(self) -> None:
        if self.highest_beta <= self.lowest_beta:
            raise InputError(
                f"SpiralDiffusion.highest_beta: got {self.highest_beta:g}; "
                f"allowed is a number above lowest_beta, {self.lowest_beta:g}."
            )
        if self.sampling_steps > self.diffusion_steps:
            raise InputError(
                f"SpiralDiffusion.sampling_steps: got {self.sampling_steps}; "
                f"allowed is at most diffusion_steps, {self.diffusion_steps}."
            )

    @property
    def truth(self) -> PointDensity:
        """The spiral, with all that is known about it."""
        return density("spiral")

    @property
    def noise(self) -> diffusion.DiscreteLinear:
        """The noise schedule."""
        return diffusion.DiscreteLinear(self.diffusion_steps, self.lowest_beta, self.highest_beta)

    @property
    def rows(self) -> int | None:
        return self.points or None

    def data(self) -> Data:
        return Data(
            {"x": self.truth.sample(self.points, self.draws("data", device="cpu")).x}, {"x": self._test("cpu").x}
        )

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        return super().batch(train, draws) if self.points else {"x": self.truth.sample(self.batch_size, draws).x}

    def model(self) -> nn.Module:
        with self.draws("model").default_generator():
            net = MLP(3, 2, width=self.width, depth=self.depth, activation=self.activation)
            if self.denoiser == "preconditioned":
                return diffusion.PreconditionedDenoiser(net, data_std=1.0)
            return diffusion.PlainDenoiser(net, lowest=self.noise.lowest, highest=self.noise.highest, preserving=True)

    def loss(self, model: nn.Module, batch: Tensors, draws: Draws) -> Loss:
        x = batch["x"]
        rows = len(x) * draws.world
        sigma, noise = self.level_draws(x, rows, draws), draws.normal(rows, 2)
        return Loss({"noise": diffusion.denoising_loss(model(x + sigma.unsqueeze(1) * noise, sigma), noise, sigma)})

    @torch.no_grad()
    def validate(self, model: nn.Module, draws: Draws) -> dict[str, float]:
        x = self.truth.sample(2_000, draws.fork("points")).x
        sigma, noise = self.level_draws(x, len(x), draws), draws.normal(*x.shape)
        error = diffusion.denoising_loss(model(x + sigma.unsqueeze(1) * noise, sigma), noise, sigma).item()
        count = min(1_000, self.samples)
        generated = self.generate(model, count, draws.fork("samples"))
        real = self.truth.sample(count, draws.fork("real")).x
        return {"validation/loss": error, "validation/sliced_wasserstein": sliced_wasserstein(real, generated)}

    @torch.no_grad()
    def evaluate(self, model: nn.Module, draws: Draws) -> Evaluation:
        x = self.sample(model, self.samples, draws)["x"]
        metrics = sample_metrics(self.truth, x, None, draws.fork("metrics"))
        metrics |= likelihood_metrics(self.truth, self.log_prob(model, self._test(draws.device).x), None)
        return Evaluation(metrics, {"x": x.cpu().numpy()}, {})

    @torch.no_grad()
    def sample(self, model: nn.Module, count: int, draws: Draws) -> Tensors:
        return {"x": self.generate(model, count, draws.fork("samples"))}

    def score(self, model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None:
            raise InputError("the spiral has no classes: give points of two columns.")
        return self.log_prob(model, x)

    def example(self) -> tuple[Tensor, ...]:
        return torch.zeros(4, 2), torch.ones(4)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    def levels(self, like: Tensor) -> Tensor:
        """σ after 1, 2, … T steps."""
        return self.noise.table().to(like)

    def level_draws(self, like: Tensor, rows: int, draws: Draws) -> Tensor:
        """The σ of each row to train at."""
        if self.noise_levels == "continuous":
            return self.noise.sigma(draws.uniform(rows))
        return self.levels(like)[draws.integers(self.diffusion_steps, rows)]

    def sampling_sigmas(self) -> Tensor:
        """σ along the reverse process, from the last step down: as many as `sampling_steps`, and zero for DDPM."""
        levels = self.noise.sigma(torch.linspace(1, 0, self.sampling_steps, dtype=torch.float64))
        return torch.cat((levels, levels.new_zeros(int(self.sampler == "ancestral")))).float()

    def first_noise(self, count: int, draws: Draws) -> Tensor:
        """Pure noise: N(0, I) in DDPM's coordinates, which for standardised data is the matched start."""
        return self._start.place(draws.normal(count, 2))

    def generate(self, model: nn.Module, count: int, draws: Draws) -> Tensor:
        """Samples from pure noise."""
        x = self.first_noise(count, draws)
        step = diffusion.SAMPLERS[self.sampler]
        return diffusion.sample(model, x, self.sampling_sigmas().to(x), draws, step)

    @torch.no_grad()
    def log_prob(self, model: nn.Module, x: Tensor) -> Tensor:
        """The exact log-density under the model's probability flow.

        The flow passes through all noise levels; a model trained at discrete ones alone is interpolated between them.
        """
        low, high = self.noise.lowest, self.noise.highest
        return diffusion.log_prob(model, x, lowest=low, highest=high, start=self._start, steps=self.likelihood_steps)

    @property
    def _start(self) -> diffusion.Start:
        return diffusion.start_at(self.noise.highest, torch.zeros(2), torch.ones(2))

    def _test(self, device: torch.device | str) -> Any:
        return self.truth.sample(self.likelihood_points, self.draws("test", device=device))


@torch.no_grad()
def reverse_with_predictions(
    study: SpiralDiffusion, model: nn.Module, count: int, stream: str
) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """Along one reverse process, at a few steps t: x_t in DDPM's coordinates, x̂₀ predicted from it, and t."""
    draws = study.draws(stream)
    sigmas = study.sampling_sigmas()
    trajectories = diffusion.path(
        model, study.first_noise(count, draws), sigmas, draws, diffusion.SAMPLERS[study.sampler]
    )
    steps = study.sampling_steps
    labels = sorted({max(1, round(steps * share)) for share in (1, 0.6, 0.35, 0.2, 0.1, 0.025)}, reverse=True)
    points, clean = [], []
    for t in labels:
        x, sigma = trajectories[steps - t], sigmas[steps - t]
        points.append(x * study.noise.signal(sigma))
        clean.append(x - sigma * model(x, sigma))
    return points, clean, labels
