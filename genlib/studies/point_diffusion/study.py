"""Diffusion on points in the plane, with or without classes: the report's first study (A1, A2).

`report` is the report's own setting: 1,000 fixed points of the square, a 1024-wide network that predicts the noise,
σ(t) = exp(5(t−1)). `best` beats it with a smaller network: fresh points, EDM preconditioning, Fourier features, a
running average of the weights and a falling learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genlib.data.points import DensityName
from genlib.data.points.square import noise_floor, posterior_mean
from genlib.draws import Draws
from genlib.methods import diffusion
from genlib.methods.guidance import guided
from genlib.nets.mlp import MLP, Activation, FourierFeatures
from genlib.studies.points.study import PointStudy, distance_of_few, refuse_guidance
from genlib.study import Evaluation, Loss, Tensors, setting

Denoiser = diffusion.PlainDenoiser | diffusion.PreconditionedDenoiser
PROBES: tuple[tuple[str, tuple[float, float], int], ...] = (
    ("inside class 0", (0.1, 0.1), 0),
    ("inside class 2", (0.5, 0.5), 2),
    ("class 2, point of class 0", (0.0, 0.0), 2),
    ("class 0, point of class 3", (0.7, 0.6), 0),
    ("class 4, point of class 1", (0.3, 0.3), 4),
    ("class 2, outside the square", (1.3, 0.0), 2),
    ("corner, class 4", (0.9, 0.9), 4),
    ("corner, class 3", (0.9, 0.9), 3),
)
"""Name, point, class of each probe: inside the class, inside another class, outside the data, one corner twice."""


@dataclass(frozen=True, kw_only=True)
class PointDiffusion(PointStudy[nn.Module]):
    """Diffusion on a density in the plane whose truth is known."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/sliced_wasserstein", "min")

    steps: int = setting(3_000, low=1)
    """Number of updates of the weights: about two CPU-minutes at the report's width."""
    density: DensityName = setting("square")
    """The density to learn. All but the square are standardised."""
    points: int = setting(1_000, low=0)
    """Number of fixed training points; 0 draws fresh ones per batch (equally many by class, without label dropout)."""
    schedule: diffusion.ScheduleName = setting("exp5")
    """Noise schedule σ(t): exp(k(t−1)), k = 3, 5, 10; linear and cosine as in DDPM; geometric from .003 to 4; EDM's."""
    denoiser: Literal["plain", "preconditioned"] = setting("plain")
    """What the network predicts: the noise itself, or what EDM's preconditioning leaves to it."""
    weighting: diffusion.Weighting = setting("noise")
    """Weighting of the loss: the squared error of the noise as it is, or times EDM's weight."""
    width: int = setting(1024, low=1)
    """Number of features of each hidden layer."""
    depth: int = setting(2, low=1)
    """Number of hidden layers."""
    activation: Activation = setting("leaky_relu")
    """Activation function between the layers."""
    fourier_features: int = setting(0, low=0)
    """Number of random Fourier frequencies at which the network also sees the point."""
    fourier_scale: float = setting(1.0, above=0)
    """Standard deviation of the random Fourier frequencies, in periods per unit."""
    label_dropout: float = setting(0.0, low=0, below=1)
    """Share of training points whose class is withheld, so that the model also learns the density without classes."""

    sampler: diffusion.SamplerName = setting("ddim", evaluation=True)
    """Method of drawing samples."""
    sampling_steps: int = setting(100, low=1, evaluation=True)
    """Number of steps from noise to sample."""
    start: diffusion.StartName = setting("matched", evaluation=True)
    """Noise that sampling starts from: what the forward process ends in, or N(0, σ(1)²) as in the report."""
    guidance: float = setting(1.0, low=0, evaluation=True)
    """Weight of the class against none (classifier-free guidance); needs label_dropout unless it is 1."""
    likelihood_steps: int = setting(25, low=1, evaluation=True)
    """Number of Runge–Kutta steps of the likelihood."""
    bound_draws: int = setting(1_000, low=2, evaluation=True)
    """Number of draws of (t, ε) per point in the variational bound."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {
            "points": 0,
            "schedule": "geometric",
            "denoiser": "preconditioned",
            "weighting": "edm",
            "width": 128,
            "depth": 3,
            "activation": "silu",
            "fourier_features": 32,
            "fourier_scale": 0.5,
            "batch_size": 2_000,
            "steps": 24_000,
            "learning_rate": 3e-3,
            "learning_rate_schedule": "cosine",
            "ema_decay": 0.999,
            "validate_every": 4_000,
            "likelihood_points": 5_000,
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
            "bound_draws": 20,
        },
    }

    def check(self) -> None:
        super().check()
        refuse_guidance(self, self.guidance, self.label_dropout)

    @property
    def noise(self) -> diffusion.Schedule:
        """The noise schedule."""
        return diffusion.SCHEDULES[self.schedule]

    @property
    def balanced(self) -> bool:
        return self.classes > 0 and not self.label_dropout  # the density without classes needs the classes' own shares

    def model(self) -> nn.Module:
        with self.draws("model").default_generator():
            features = (
                FourierFeatures(2, self.fourier_features, scale=self.fourier_scale) if self.fourier_features else None
            )
            inputs = (features.outputs if features else 2) + 1 + (self.class_embedding if self.classes else 0)
            net: nn.Module = MLP(inputs, 2, width=self.width, depth=self.depth, activation=self.activation)
            labels = nn.Embedding(self.classes + 1, self.class_embedding) if self.classes else None
            if self.denoiser == "plain":
                ends = {"lowest": self.noise.lowest, "highest": self.noise.highest}
                preserving = self.noise.preserving
                return diffusion.PlainDenoiser(net, **ends, preserving=preserving, labels=labels, features=features)
            return diffusion.PreconditionedDenoiser(net, data_std=self.data_std, labels=labels, features=features)

    def loss(self, model: nn.Module, batch: Tensors, draws: Draws) -> Loss:
        x, y = batch["x"], batch.get("y")
        rows = len(x) * draws.world
        sigma, noise = self.noise.sigma(draws.uniform(rows)), draws.normal(rows, 2)
        if y is not None and self.label_dropout:
            y = torch.where(draws.uniform(rows) < self.label_dropout, self.classes, y)
        predicted = model(x + sigma.unsqueeze(1) * noise, sigma, y)
        error = diffusion.denoising_loss(predicted, noise, sigma, weighting=self.weighting, data_std=self.data_std)
        plain = {} if self.weighting == "noise" else {"noise_mse": (predicted - noise).square().mean()}
        return Loss({"noise": error}, plain)

    @torch.no_grad()
    def validate(self, model: nn.Module, draws: Draws) -> dict[str, float]:
        x, y = self.truth.sample(2_000, draws.fork("points"))
        y = y if self.classes else None
        sigma = self.noise.sigma(draws.uniform(len(x)))
        noise = draws.normal(*x.shape)
        noised = x + sigma.unsqueeze(1) * noise
        predicted = model(noised, sigma, y)
        metrics = {"validation/loss": diffusion.denoising_loss(predicted, noise, sigma).item()}
        if self.density == "square" and not self.classes:  # how far it is from the perfect denoiser
            perfect = (noised - posterior_mean(noised, sigma)) / sigma.unsqueeze(1)
            metrics["validation/excess"] = (predicted - perfect).square().mean().item()
        metrics["validation/sliced_wasserstein"] = distance_of_few(self, model, draws)
        return metrics

    @torch.no_grad()
    def evaluate(self, model: nn.Module, draws: Draws) -> Evaluation:
        evaluation = super().evaluate(model, draws)
        if self.radial:
            evaluation.tables["log_prob"] = log_prob_table(self, model, draws.fork("table"))
        return evaluation

    def example(self) -> tuple[Tensor, ...]:
        x, sigma = torch.zeros(4, 2), torch.ones(4)
        return (x, sigma, torch.zeros(4, dtype=torch.long)) if self.classes else (x, sigma)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    def predictor(self, model: nn.Module, y: Tensor | None = None) -> diffusion.NoisePredictor:
        """The noise predictor with class and guidance settled."""
        no_class = self.classes if self.label_dropout else None
        return guided(model, self.label(y), guidance=self.guidance, no_class=no_class)

    def start_at(self, sigma: float, y: Tensor | None = None) -> diffusion.Start:
        """Where sampling starts at a noise level; given classes, each point's own."""
        moments = torch.tensor(self.truth.moments if y is None else self.truth.class_moments)
        mean, variance = moments if y is None else moments.to(y.device)[y].unbind(1)
        return diffusion.start_at(sigma, mean, variance, start=self.start)

    def first_noise(self, draws: Draws, count: int, y: Tensor | None = None) -> Tensor:
        """Starting points."""
        noise = draws.normal(count, 2)
        start = self.start_at(self.noise.highest, y if self.classes else None)
        return start.mean.to(noise) + start.std.to(noise) * noise

    def generate(self, model: nn.Module, count: int, draws: Draws, *, y: Tensor | None = None) -> Tensor:
        """Samples, of the classes `y` where the study has classes."""
        x = self.first_noise(draws, count, y)
        sigmas = self.noise.sigmas(self.sampling_steps).to(x)
        return diffusion.sample(self.predictor(model, y), x, sigmas, draws, diffusion.SAMPLERS[self.sampler])

    @torch.no_grad()
    def log_prob(self, model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The exact log-density of points under the model."""
        return diffusion.log_prob(
            self.predictor(model, y),
            x,
            lowest=self.noise.lowest,
            highest=self.noise.highest,
            start=self.start_at(self.noise.highest, y if self.classes else None),
            steps=self.likelihood_steps,
        )

    def floor(self) -> float | None:
        """The mean squared error that a perfect model makes in predicting the noise, where it is known."""
        if self.density != "square" or self.classes:
            return None
        times = (torch.arange(1_000, dtype=torch.float64) + 0.5) / 1_000
        return float(noise_floor(self.noise.sigma(times)).mean())

    @property
    def radial(self) -> bool:
        """Whether the classes are the square's, by distance from the origin."""
        return self.density == "square" and self.classes > 0


def log_prob_table(study: PointDiffusion, model: nn.Module, draws: Draws) -> list[dict[str, Any]]:
    """log p(x|c) at chosen points of the square: exact, bound with error, truth; `PROBES` says which and why."""
    x = torch.tensor([probe[1] for probe in PROBES], device=draws.device)
    y = torch.tensor([probe[2] for probe in PROBES], device=draws.device)
    exact = study.log_prob(model, x, y)
    # The flow has no sampling error; what it has is the integrator's, estimated by halving the steps.
    coarse = replace(study, likelihood_steps=max(1, study.likelihood_steps // 2)).log_prob(model, x, y)
    rows = []
    for k, (name, point, label) in enumerate(PROBES):
        bound = diffusion.variational_bound(
            study.predictor(model, y[k : k + 1].expand(study.bound_draws)),
            x[k : k + 1],
            draws.fork(name),
            lowest=study.noise.lowest,
            highest=study.noise.highest,
            start=study.start_at(study.noise.highest, y[k : k + 1]),
            samples=study.bound_draws,
        )
        rows.append(
            {
                "point": name,
                "x1": point[0],
                "x2": point[1],
                "class": label,
                "log_prob": exact[k].item(),
                "log_prob_error": (exact[k] - coarse[k]).abs().item(),
                "bound": -bound.total.item(),
                "bound_error": bound.error.item(),
                "truth": study.truth.log_prob(x[k : k + 1], y[k : k + 1]).item(),
            }
        )
    return rows
