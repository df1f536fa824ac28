"""An independent judge of generated digits: a small convolutional classifier that no study trains or sees.

It is trained once for a data set and kept in the data folder, under a hash of its data, its recipe and torch's version.
It reads the brightest channel, so ink of any colour is the same to it; the hue is told in closed form by
`genlib.data.images.colours`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from genlib.data.files import data_folder
from genlib.data.images import ImageName, Labelled, checksums, images
from genlib.draws import Draws

RECIPE: dict[str, Any] = {"version": 1, "batch": 128, "rate": 2e-3, "shift": 2, "seed": 0}
UPDATES = {"digits": 300, "mnist": 1_500, "fashion_mnist": 1_500, "cifar10": 1_500}
CHUNK = 1_000


class Judge(nn.Module):
    """Grey digits → logits of the ten classes.

    Arguments:
        classes: how many.
    """

    accuracy: Tensor
    """On the data set's test images, which it has not seen."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 64),
            nn.ReLU(),
            nn.Linear(64, classes),
        )
        self.register_buffer("accuracy", torch.zeros(()))

    def forward(self, x: Float[Tensor, "n c 28 28"]) -> Float[Tensor, "n k"]:
        """Logits, from the brightest channel."""
        return self.net(x.amax(1, keepdim=True))

    @torch.no_grad()
    def probabilities(self, x: Float[Tensor, "n c 28 28"]) -> Float[Tensor, "n k"]:
        """Of every class."""
        return torch.cat([self(chunk).softmax(1) for chunk in torch.split(x, CHUNK)])

    def digits(self, x: Float[Tensor, "n c 28 28"]) -> Int64[Tensor, " n"]:
        """The most probable class."""
        return self.probabilities(x).argmax(1)


@cache
def judge(name: ImageName, device: str = "cpu") -> Judge:
    """The judge of a data set: loaded, or trained (a minute on one thread) and kept."""
    content = json.dumps([RECIPE, UPDATES[name], checksums(name), name, torch.__version__], sort_keys=True)
    file = f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.pt"
    found = Judge()
    for shelf in _shelves():
        try:
            found.load_state_dict(torch.load(shelf / file, weights_only=True))
            break
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
            continue  # none here, or a damaged one
    else:
        found = _trained(name)
        any(_keep(found, shelf / file) for shelf in _shelves())
    return found.eval().requires_grad_(False).to(device)


def _shelves() -> list[Path]:
    """Where judges are kept: with the data, or in the home where the data may only be read."""
    return [folder / "judges" for folder in (data_folder(), Path.home() / ".cache" / "genlib")]


def _trained(name: ImageName) -> Judge:
    train, test = images(name)
    with Draws(RECIPE["seed"], "judge").default_generator():
        found = Judge()
    optimizer = torch.optim.Adam(found.parameters(), lr=RECIPE["rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES[name])
    with torch.enable_grad():
        for step in range(UPDATES[name]):
            draws = Draws(RECIPE["seed"], "judge", step)
            rows = draws.batch(len(train.x), RECIPE["batch"])
            loss = functional.cross_entropy(found(_shifted(train.x[rows].float() / 255, draws)), train.y[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    found.accuracy.fill_(accuracy(found, test))
    return found


def accuracy(found: Judge, images: Labelled) -> float:
    """The share of images whose class it tells."""
    return float((found.digits(images.x.float() / 255) == images.y).float().mean())


def _shifted(x: Tensor, draws: Draws) -> Tensor:
    """Every batch a few pixels off: what is generated is not always centred."""
    down, right = (draws.integers(2 * RECIPE["shift"] + 1, 2) - RECIPE["shift"]).tolist()
    return x.roll((down, right), (2, 3))


def _keep(found: Judge, path: Path) -> bool:
    """Written aside and renamed, so that others find it whole or not at all. False where that cannot be."""
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found.state_dict(), aside)
        aside.replace(path)
    except OSError:
        return False
    return True
