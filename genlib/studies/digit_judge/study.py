"""An independent judge of generated digits: a small classifier that other studies are measured with.

No study that it judges trains or sees it. It reads the digit, in ink of any colour; the hue is found in closed form by
`genlib.data.images.colours`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from genlib.data.images import GreyName, Labelled
from genlib.draws import Draws
from genlib.nets.classifier import Classifier
from genlib.studies.digits.study import DigitStudy
from genlib.study import Data, Evaluation, Loss, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class DigitJudge(DigitStudy[Classifier]):
    """A convolutional classifier of grey digits."""

    steady: ClassVar[bool] = True
    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/accuracy", "max")

    steps: int = setting(6_000, low=1)
    """Number of updates of the weights: three epochs of 60,000 digits, half a minute on one thread."""
    batch_size: int = setting(32, low=1)
    """Number of rows in the global batch, over all workers."""
    learning_rate: float = setting(2e-3, above=0)
    """Adam's learning rate at its highest."""
    learning_rate_schedule: Literal["constant", "cosine"] = setting("cosine")
    """Course of the learning rate: constant, or falling to zero as a half cosine over `steps`."""
    shift: int = setting(2, low=0, high=14)
    """Largest shift of a batch, in pixels: what is generated is not always centred."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {"steps": 30_000},
        "tiny": {"data_set": "digits", "steps": 20, "validate_every": 10, "log_every": 5},
    }

    def data(self) -> Data:
        return Data(self.images.train._asdict(), self.images.test._asdict())

    def model(self) -> Classifier:
        with self.draws("model").default_generator():
            return Classifier()

    def loss(self, model: Classifier, batch: Tensors, draws: Draws) -> Loss:
        down, right = (draws.whole().integers(2 * self.shift + 1, 2) - self.shift).tolist()
        x = (batch["x"].float() / 255).roll((down, right), (2, 3))
        return Loss({"cross_entropy": functional.cross_entropy(model(x), batch["y"])})

    @torch.no_grad()
    def validate(self, model: Classifier, draws: Draws) -> dict[str, float]:
        rows = self.images.validation.to(draws.device)
        loss = functional.cross_entropy(model(rows.x.float() / 255), rows.y).item()
        return {"validation/loss": loss, "validation/accuracy": accuracy(model, rows)}

    @torch.no_grad()
    def evaluate(self, model: Classifier, draws: Draws) -> Evaluation:
        return Evaluation({"accuracy": accuracy(model, self.images.evaluation.to(draws.device))}, {}, {})

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(4, 1, 28, 28),)


def judge_of(data_set: GreyName) -> DigitJudge:
    """The judge of a data set: the same for every study that is measured with it."""
    return DigitJudge(data_set=data_set, steps=600 if data_set == "digits" else 6_000)


def accuracy(model: Classifier, rows: Labelled) -> float:
    """The share of images whose class is read rightly."""
    return (model.classes(rows.x.float() / 255) == rows.y).float().mean().item()
