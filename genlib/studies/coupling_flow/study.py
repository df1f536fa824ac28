"""A coupling flow on the Olympic rings (report D1).

`report` is the report's own model: 15 affine couplings, each moving one axis, as a small network of the other says.
`best` trains the same couplings better; `spline` bends the axes by rational-quadratic splines instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genlib.draws import Draws
from genlib.methods import normal
from genlib.methods.coupling_flow import Affine, CouplingLayers, Spline
from genlib.nets.mlp import Activation, FourierFeatures, StackedMLP
from genlib.studies.points.study import PointStudy, round_trip
from genlib.study import Evaluation, Loss, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class CouplingFlow(PointStudy[CouplingLayers]):
    """A normalising flow of couplings on a density in the plane whose truth is known."""

    steady: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/loss", "min")

    steps: int = setting(5_000, low=1)
    """Number of updates of the weights: about a CPU-minute."""
    batch_size: int = setting(500, low=1)
    """Number of rows in the global batch, over all workers."""
    validate_every: int = setting(250, low=1)
    """Number of updates between validations; the last update is always validated."""
    coupling: Literal["affine", "spline"] = setting("affine")
    """What a layer does to its axis: scale and shift it, or bend it by a monotone rational-quadratic spline."""
    layers: int = setting(15, low=2)
    """Number of couplings; they move the two axes in turns."""
    scale_bound: float = setting(2.0, above=0)
    """Largest log-scale of one affine coupling. Without a bound training diverges."""
    bins: int = setting(16, low=2)
    """Number of pieces of a spline."""
    reach: float = setting(4.0, above=0)
    """Reach of a spline, which bends [−reach, reach] and leaves the rest of the axis alone."""
    width: int = setting(64, low=1)
    """Number of features of each hidden layer of a coupling's network."""
    depth: int = setting(2, low=1)
    """Number of hidden layers of a coupling's network."""
    activation: Activation = setting("relu")
    """Activation function between the layers."""
    fourier_features: int = setting(0, low=0)
    """Number of random Fourier frequencies at which a coupling's network also sees the fixed axis."""
    fourier_scale: float = setting(1.0, above=0)
    """Standard deviation of the random Fourier frequencies, in periods per unit."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {  # faster rates and higher frequencies explode midway under one seed in four
            "steps": 5_400,
            "batch_size": 125,
            "layers": 32,
            "scale_bound": 0.5,
            "depth": 1,
            "fourier_features": 8,
            "fourier_scale": 0.25,
            "clip_norm": 0.3,
            "learning_rate": 1e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 200,
            "ema_decay": 0.999,
        },
        "spline": {
            "coupling": "spline",
            "layers": 4,
            "fourier_features": 8,
            "learning_rate": 3e-3,
            "learning_rate_schedule": "cosine",
            "warmup_steps": 200,
            "ema_decay": 0.999,
        },
        "tiny": {
            "steps": 20,
            "batch_size": 60,
            "layers": 4,
            "width": 16,
            "validate_every": 10,
            "samples": 200,
            "likelihood_points": 50,
        },
    }

    def model(self) -> CouplingLayers:
        with self.draws("model").default_generator():
            transform = Affine(self.scale_bound) if self.coupling == "affine" else Spline(self.bins, self.reach)
            features = None
            if self.fourier_features:
                features = FourierFeatures(1, self.fourier_features, scale=self.fourier_scale)
            inputs = (features.outputs if features else 1) + (self.class_embedding if self.classes else 0)
            kind: dict[str, Any] = {"width": self.width, "depth": self.depth, "activation": self.activation}
            nets = StackedMLP(self.layers, inputs, transform.size, last=0.01, **kind)
            labels = nn.Embedding(self.classes, self.class_embedding) if self.classes else None
            return CouplingLayers(transform, nets, features=features, labels=labels)

    def loss(self, model: CouplingLayers, batch: Tensors, draws: Draws) -> Loss:
        return Loss({"nll": -model(batch["x"], batch.get("y")).mean()})

    @torch.no_grad()
    def validate(self, model: CouplingLayers, draws: Draws) -> dict[str, float]:
        x, y = self.truth.sample(2_000, draws)
        z, log_det = model.to_latent(x, self.label(y))
        log_z = normal.log_prob(z)
        loss = -(log_z + log_det).mean().item()
        return {
            "validation/loss": loss,
            "validation/nll_gap": loss - self.floor,
            "validation/log_det": log_det.mean().item(),
            "validation/log_prob_z": log_z.mean().item(),
        }

    def evaluate(self, model: CouplingLayers, draws: Draws) -> Evaluation:
        evaluation = super().evaluate(model, draws)
        evaluation.metrics["round_trip"] = round_trip(self, model, draws)
        return evaluation

    def example(self) -> tuple[Tensor, ...]:
        x = torch.zeros(4, 2)
        return (x, torch.zeros(4, dtype=torch.long)) if self.classes else (x,)

    # -- what the trained model can do ---------------------------------------------------------------------------------

    def generate(self, model: CouplingLayers, count: int, draws: Draws, *, y: Tensor | None = None) -> Tensor:
        return model.to_data(draws.normal(count, 2), self.label(y))[0]

    def log_prob(self, model: CouplingLayers, x: Tensor, y: Tensor | None = None) -> Tensor:
        return model(x, self.label(y))

    @property
    def floor(self) -> float:
        """The NLL of a perfect model."""
        return self.truth.conditional_entropy if self.classes else self.truth.entropy

    def path(self, model: CouplingLayers, start: Tensor, y: Tensor | None = None, *, inverse: bool = False) -> Tensor:
        """Where points are before the first layer and after each: from noise to data, or back."""
        return model.path(start, self.label(y), inverse=inverse)
