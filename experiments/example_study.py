"""A complete study of your own in one file: which digit is it? Copy it anywhere and change it; genlib need not know.

    python experiments/train.py experiments/example_study.py:Perceptron --width 16
    python experiments/claims.py experiments/example_study.py:Perceptron
    python experiments/example_study.py --seeds 0 1 2          # the sweep below

It reads the digits of 8 × 8 pixels that ship with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genlib import Claim, Data, Drawing, Draws, Entry, Evaluation, History, Loss, Study, Views, setting


@dataclass(frozen=True, kw_only=True)
class Perceptron(Study[nn.Module]):
    """A perceptron that recognises digits."""

    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/accuracy", "max")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"report": {}, "tiny": {"steps": 40, "validate_every": 20}}

    steps: int = setting(400, low=1)
    """Number of updates of the weights."""
    batch_size: int = setting(100, low=1)
    """Number of rows in the global batch, over all workers."""
    width: int = setting(32, low=1)
    """Features of the hidden layer."""
    threshold: float = setting(0.5, above=0, below=1, evaluation=True)
    """Probability above which an answer counts as sure."""

    def data(self) -> Data:
        x, y = digits()
        return Data({"x": x[360:], "y": y[360:]}, {"x": x[:360], "y": y[:360]})

    def model(self) -> nn.Module:
        with self.draws("model").default_generator():
            return nn.Sequential(nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, 10))

    def loss(self, model: nn.Module, batch: dict[str, Tensor], draws: Draws) -> Loss:
        return Loss({"cross_entropy": functional.cross_entropy(model(batch["x"]), batch["y"])})

    def validate(self, model: nn.Module, draws: Draws) -> dict[str, float]:
        return {"validation/accuracy": self.scores(model, draws.device)["accuracy"]}

    def evaluate(self, model: nn.Module, draws: Draws) -> Evaluation:
        return Evaluation(self.scores(model, draws.device), {}, {})

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(4, 64),)

    @torch.no_grad()
    def scores(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """The share of test digits that are recognised, and the share of answers that are sure."""
        x, y = (tensor.to(device) for tensor in self.data().test.values())
        probabilities = model(x).softmax(1)
        sure = probabilities.amax(1) > self.threshold
        right = (probabilities.argmax(1) == y).float().mean()
        return {"accuracy": right.item(), "sure": sure.float().mean().item()}


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 digits, each a row of 64 pixels in [0, 1], and their classes."""
    from sklearn.datasets import load_digits

    dataset = load_digits()
    return torch.from_numpy(dataset.data).float() / 16, torch.from_numpy(dataset.target)


def draw(study: Perceptron, model: nn.Module, history: History) -> dict[str, Drawing]:
    """Draw the accuracy by update. Without this function the losses would be drawn."""
    from matplotlib.figure import Figure

    steps, values = history.series("validation/accuracy")
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, values, marker="o")
    axes.set(xlabel="update", ylabel="share of test digits told rightly", ylim=(0, 1))
    return {"accuracy": Drawing(figure, {"accuracy": values})}


CLAIMS = (
    Claim(
        "A wide perceptron tells more digits than a narrow one",
        (Perceptron(width=32), Perceptron(width=2)),
        lambda runs: runs[0].evaluation.metrics["accuracy"] - runs[1].evaluation.metrics["accuracy"],
        "difference of the share of test digits told rightly",
    ),
)
ENTRY = Entry(Perceptron, views=lambda: Views(draw, CLAIMS))

if __name__ == "__main__":
    from experiments.command.sweeps import sweep_script
    from tuning import Sweep

    SWEEP = Sweep(
        name="widths of a perceptron",
        study=Perceptron(),
        space={"width": [4, 16, 64], "epochs": [5, 25], "threshold": [0.5, 0.9]},
        metric="accuracy",
        mode="max",
    )
    sweep_script(SWEEP, across="width", by="epochs")
