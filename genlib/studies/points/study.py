"""What studies of a density in the plane share: where points come from, and how a finished model is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from genlib.data.points import DensityName, PointDensity, Points, density
from genlib.draws import Draws
from genlib.errors import InputError
from genlib.metrics import sliced_wasserstein
from genlib.metrics.points import likelihood_metrics, likelihood_points, sample_metrics
from genlib.study import Data, Evaluation, Model, Study, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class PointStudy(Study[Model]):
    """A study of a density whose truth is known. A method answers `model`, `loss`, `generate`, `log_prob`, …"""

    density: DensityName = setting("rings")
    """The density to learn. All but the square are standardised."""
    points: int = setting(0, low=0)
    """Number of fixed training points; 0 draws fresh points for every batch."""
    classes: int = setting(0, low=0)
    """Number of classes to condition on: all that the density has, or 0 for none."""
    class_embedding: int = setting(64, low=1)
    """Number of features that stand for the class."""

    samples: int = setting(10_000, low=50, evaluation=True)
    """Number of samples that are measured."""
    likelihood_points: int = setting(2_000, low=2, evaluation=True)
    """Number of real points whose exact likelihood is computed."""

    def check(self) -> None:
        name, available = type(self).__name__, self.truth.classes
        if self.classes not in (0, available):
            has = f"{available} classes; use 0 (none) or {available}" if available else "no classes; use 0"
            raise InputError(f"{name}.classes: got {self.classes}, but the density '{self.density}' has {has}.")
        if not self.points and self.balanced and self.batch_size % self.classes:
            raise InputError(
                f"{name}.batch_size: got {self.batch_size}; fresh points by class need a multiple of {self.classes}."
            )
        if self.points and self.points < self.classes:
            raise InputError(
                f"{name}.points: got {self.points}; allowed is 0 (fresh points) or at least one per class."
            )

    @property
    def truth(self) -> PointDensity:
        """The density, with all that is known about it."""
        return density(self.density)

    @property
    def data_std(self) -> float:
        """The data's standard deviation along an axis."""
        return float(self.truth.moments[1][0] ** 0.5)

    @property
    def balanced(self) -> bool:
        """Whether fresh batches hold equally many points of every class: p(x|c) is the same whatever their shares."""
        return self.classes > 0 and min(self.truth.priors) < 0.9 / self.classes

    @property
    def rows(self) -> int | None:
        return self.points or None

    def data(self) -> Data:
        train = self.truth.sample(self.points, self.draws("data", device="cpu"))
        test = self.truth.sample(self.likelihood_points, self.draws("test", device="cpu"))
        return Data(self._tensors(train), self._tensors(test))

    def batch(self, train: Tensors, draws: Draws) -> Tensors:
        if self.points:
            return super().batch(train, draws)
        if self.balanced:
            return self._tensors(self.truth.sample_balanced(self.batch_size // self.classes, draws))
        return self._tensors(self.truth.sample(self.batch_size, draws))

    @torch.no_grad()
    def evaluate(self, model: Model, draws: Draws) -> Evaluation:
        with calls_of(model) as calls:
            drawn = self.sample(model, self.samples, draws)
        x, y = drawn["x"], drawn.get("y")
        metrics = sample_metrics(self.truth, x, y, draws.fork("metrics"))
        test, labels = likelihood_points(self.truth, self.likelihood_points, draws.fork("test"), bool(self.classes))
        metrics |= likelihood_metrics(self.truth, self.log_prob(model, test, labels), labels)
        metrics["evaluations"] = len(calls) or 1  # a coupling flow is gone through once, backwards
        return Evaluation(metrics, {name: tensor.cpu().numpy() for name, tensor in drawn.items()}, {})

    @torch.no_grad()
    def sample(self, model: Model, count: int, draws: Draws) -> Tensors:
        y = self.truth.sample(count, draws.fork("labels")).y if self.classes else None
        x = self.generate(model, count, draws.fork("samples"), y=y)
        return {"x": x} if y is None else {"x": x, "y": y}

    def score(self, model: Model, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.log_prob(model, x, y)

    # -- what a method answers besides ---------------------------------------------------------------------------------

    def generate(self, model: Model, count: int, draws: Draws, *, y: Tensor | None = None) -> Tensor:
        """Samples, of the classes `y` where the study has classes."""
        raise NotImplementedError

    def log_prob(self, model: Model, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The exact log-density of points under the model, given the class where the study has classes."""
        raise NotImplementedError

    # -- for the methods -----------------------------------------------------------------------------------------------

    def label(self, y: Tensor | None) -> Tensor | None:
        """The classes to give to the model: None where the study has none; refused where they are missing."""
        if self.classes and y is None:
            raise InputError(f"this model was trained by class: give the class of each point, 0 to {self.classes - 1}.")
        return y if self.classes else None

    def _tensors(self, points: Points) -> Tensors:
        return {"x": points.x, "y": points.y} if self.classes and points.y is not None else {"x": points.x}


def distance_of_few(study: Any, model: nn.Module, draws: Draws) -> float:
    """Sliced Wasserstein distance of 1,000 samples in at most 20 steps to the data: cheap enough for validation."""
    count = min(1_000, study.samples)
    clouds = [study.truth.sample(count, draws.fork(f"real {k}")) for k in range(4)]
    quick = replace(study, sampling_steps=min(20, study.sampling_steps))
    generated = quick.generate(model, count, draws.fork("samples"), y=clouds[0].y)
    return sum(sliced_wasserstein(cloud.x, generated) for cloud in clouds) / 4


@contextmanager
def calls_of(model: nn.Module) -> Iterator[list[None]]:
    """A list that gets an entry for every call of the model inside."""
    calls: list[None] = []
    hook = model.register_forward_pre_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        hook.remove()


def refuse_guidance(study: PointStudy[Any], guidance: float, label_dropout: float) -> None:
    """Guidance compares the model with and without classes, so it must have learnt both."""
    if guidance != 1 and not (study.classes and label_dropout):
        raise InputError(
            f"{type(study).__name__}.guidance: got {guidance:g}, which compares the model with and without classes; "
            "use 1, or train with classes and label_dropout above 0."
        )


@torch.no_grad()
def round_trip(study: Any, model: nn.Module, draws: Draws, count: int = 1_000) -> float:
    """The furthest that a real point lands from itself, sent to the noise and back along the study's `path`."""
    x, y = study.truth.sample(count, draws.fork("round trip"))
    z = study.path(model, x, y, inverse=True)[-1]
    return float((study.path(model, z, y)[-1] - x).abs().max())
