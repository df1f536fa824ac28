"""Flow matching on the Olympic rings, with or without classes (reports D2 and D3).

`report` is the reports' own: straight paths, a velocity MLP, Euler steps. `best` learns what a normal density would
leave (preconditioning), sees the plane through Fourier features, spends more of its time near the data, and averages
its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genlib.draws import Draws
from genlib.errors import InputError
from genlib.methods import flow_matching, ode
from genlib.methods.guidance import guided
from genlib.metrics.matching_floor import matching_floor
from genlib.nets.mlp import MLP, Activation, FourierFeatures
from genlib.studies.points.study import PointStudy, distance_of_few, refuse_guidance, round_trip
from genlib.study import Evaluation, Loss, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class FlowMatching(PointStudy[nn.Module]):
    """Flow matching on a density in the plane whose truth is known."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/sliced_wasserstein", "min")

    steps: int = setting(10_000, low=1)
    """Number of updates of the weights: about half a CPU-minute."""
    batch_size: int = setting(500, low=1)
    """Number of rows in the global batch, over all workers."""
    validate_every: int = setting(1_000, low=1)
    """Number of updates between validations; the last update is always validated."""
    pairing: Literal["independent", "optimal"] = setting("independent")
    """Which noise a data point comes from: any, or the nearest by optimal transport within the batch."""
    velocity: Literal["plain", "preconditioned"] = setting("plain")
    """What the network predicts: the velocity itself, or what a normal density would leave of it."""
    times: Literal["uniform", "late"] = setting("uniform")
    """Times that the network is trained at: uniform from noise to data, or more of them near the data."""
    width: int = setting(128, low=1)
    """Number of features of each hidden layer."""
    depth: int = setting(4, low=1)
    """Number of hidden layers."""
    activation: Activation = setting("silu")
    """Activation function between the layers."""
    fourier_features: int = setting(0, low=0)
    """Number of random Fourier frequencies at which the network also sees the point."""
    fourier_scale: float = setting(1.0, above=0)
    """Standard deviation of the random Fourier frequencies, in periods per unit."""
    time_features: int = setting(4, low=0)
    """Number of frequencies at which a preconditioned network also sees the time."""
    label_dropout: float = setting(0.0, low=0, below=1)
    """Share of training points whose class is withheld, so that the model also learns the density without classes."""

    solver: ode.Solver = setting("euler", evaluation=True)
    """Solver that follows the velocity: in fixed steps, or (`adaptive`) in as many as `tolerance` asks for."""
    sampling_steps: int = setting(100, low=1, evaluation=True)
    """Number of steps from noise to sample: Δt is one over it. (`adaptive` takes as many as it needs.)"""
    spacing: flow_matching.Spacing = setting("even", evaluation=True)
    """Spacing of the sampling steps: equal, or shorter near the data."""
    tolerance: float = setting(1e-4, above=0, evaluation=True)
    """Error allowed in one adaptive step."""
    guidance: float = setting(1.0, low=0, evaluation=True)
    """Weight of the class against none (classifier-free guidance); needs label_dropout unless it is 1."""
    likelihood_steps: int = setting(50, low=1, evaluation=True)
    """Number of Runge–Kutta steps of the likelihood and of inverse paths, finer near the data."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {
            "velocity": "preconditioned",
            "times": "late",
            "steps": 12_000,
            "width": 96,
            "depth": 5,
            "class_embedding": 16,
            "fourier_features": 32,
            "learning_rate": 3e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "solver": "midpoint",
            "sampling_steps": 50,
            "spacing": "late",
        },
        "tiny": {
            "steps": 20,
            "batch_size": 60,
            "width": 16,
            "validate_every": 10,
            "samples": 200,
            "sampling_steps": 8,
            "likelihood_points": 50,
            "likelihood_steps": 8,
        },
    }

    def check(self) -> None:
        super().check()
        refuse_guidance(self, self.guidance, self.label_dropout)
        if self.pairing == "optimal" and self.label_dropout:
            raise InputError(
                f"FlowMatching.label_dropout: got {self.label_dropout:g}; the optimal pairing is by class, and points "
                "without theirs would break it: use 0, or the independent pairing."
            )

    @property
    def balanced(self) -> bool:
        return super().balanced and not self.label_dropout  # the density without classes needs the classes' own shares

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        """Data points, and the noise that each comes from."""
        if self.pairing == "independent":
            x = super().batch(train, draws)
            return x | {"z": draws.normal(self.batch_size, 2)}
        shared = draws.fork("pairing").whole()  # of the global batch, whatever a worker's share of it
        batch = super().batch(train, shared)
        batch["z"] = flow_matching.optimal_pairing(shared.normal(self.batch_size, 2), batch["x"], batch.get("y"))
        return {name: draws.mine(tensor) for name, tensor in batch.items()}

    def model(self) -> nn.Module:
        with self.draws("model").default_generator():
            plain = self.velocity == "plain"
            others = 1 + (0 if plain else 2 * self.time_features) + (self.class_embedding if self.classes else 0)
            features = None
            if self.fourier_features:
                features = FourierFeatures(2, self.fourier_features, scale=self.fourier_scale)
            inputs = (features.outputs if features else 2) + others
            body = MLP(inputs, 2, width=self.width, depth=self.depth, activation=self.activation)
            net = nn.Sequential(features, body) if features else body
            number = self.classes + bool(self.label_dropout)
            labels = nn.Embedding(number, self.class_embedding) if self.classes else None
            if plain:
                return flow_matching.PlainVelocity(net, labels=labels)
            return flow_matching.PreconditionedVelocity(
                net, data_std=self.data_std, time_features=self.time_features, labels=labels
            )

    def loss(self, model: nn.Module, batch: Tensors, draws: Draws) -> Loss:
        x, z, y = batch["x"], batch["z"], batch.get("y")
        rows = len(x) * draws.world
        t = draws.uniform(rows)
        if self.times == "late":
            t = flow_matching.late(t, width=0.02)
        if y is not None and self.label_dropout:
            y = torch.where(draws.uniform(rows) < self.label_dropout, self.classes, y)
        predicted = model(torch.lerp(z, x, t.unsqueeze(1)), t, y)
        if self.velocity == "plain":
            return Loss({"velocity": flow_matching.matching_loss(predicted, x, z)})
        weight = flow_matching.variance(t, self.data_std)
        error = flow_matching.matching_loss(predicted, x, z, weight)
        return Loss({"velocity": error}, {"velocity_mse": flow_matching.matching_loss(predicted, x, z)})

    @torch.no_grad()
    def validate(self, model: nn.Module, draws: Draws) -> dict[str, float]:
        x, y = self.truth.sample(2_000, draws.fork("points"))
        z, t = draws.normal(*x.shape), draws.uniform(len(x))
        if self.pairing == "optimal":  # as it was trained: within a batch
            parts = [
                torch.split(part, self.batch_size) for part in (z, x, *([y] if self.classes and y is not None else []))
            ]
            z = torch.cat([flow_matching.optimal_pairing(*chunk) for chunk in zip(*parts, strict=True)])
        predicted = model(torch.lerp(z, x, t.unsqueeze(1)), t, self.label(y))
        metrics = {"validation/loss": flow_matching.matching_loss(predicted, x, z).item()}
        metrics["validation/sliced_wasserstein"] = distance_of_few(self, model, draws)
        return metrics

    def evaluate(self, model: nn.Module, draws: Draws) -> Evaluation:
        evaluation = super().evaluate(model, draws)
        evaluation.metrics["round_trip"] = round_trip(self, model, draws)
        return evaluation

    def example(self) -> tuple[Tensor, ...]:
        x, t = torch.zeros(4, 2), torch.full((4,), 0.5)
        return (x, t, torch.zeros(4, dtype=torch.long)) if self.classes else (x, t)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    def field(self, model: nn.Module, y: Tensor | None = None) -> ode.Field:
        """The velocity with class and guidance settled."""
        no_class = self.classes if self.label_dropout else None
        return guided(model, self.label(y), guidance=self.guidance, no_class=no_class)

    def generate(self, model: nn.Module, count: int, draws: Draws, *, y: Tensor | None = None) -> Tensor:
        z = draws.normal(count, 2)
        steps = 1 if self.solver == "adaptive" else self.sampling_steps  # it takes as many as it needs
        times = flow_matching.times(steps, self.spacing).to(z)
        return ode.integrate(self.field(model, y), z, times, self.solver, tolerance=self.tolerance)

    def log_prob(self, model: nn.Module, x: Tensor, y: Tensor | None = None) -> Tensor:
        learning = x.requires_grad or any(parameter.requires_grad for parameter in model.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):  # else a graph is made that nobody needs
            return flow_matching.log_prob(self.field(model, y), x, flow_matching.times(self.likelihood_steps, "late"))

    def path(self, model: nn.Module, start: Tensor, y: Tensor | None = None, *, inverse: bool = False) -> Tensor:
        """Where points are on the way from noise to data, or back, by the likelihood's Runge–Kutta steps."""
        times = flow_matching.times(self.likelihood_steps, "late")
        return flow_matching.path(self.field(model, y), start, times.flip(0) if inverse else times)

    def floor(self) -> float | None:
        """The least mean squared error of the velocity, per coordinate; None where the pairing lowers it."""
        return matching_floor(self.density, bool(self.classes)) if self.pairing == "independent" else None
