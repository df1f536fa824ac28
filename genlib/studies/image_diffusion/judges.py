"""Who judges generated images: a classifier that never trains with them, the same for every run of a data set.

Digits and clothes have the digits' judge, photographs of CIFAR-10 a net of VICReg's that was taught with labels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from genlib.data.images import ImageName, Labelled
from genlib.data.images.colours import as_bytes
from genlib.nets.embedder import Embedder
from genlib.studies.digit_judge.study import judge_of
from genlib.studies.vicreg.measures import Represented
from genlib.studies.vicreg.study import VICReg
from genlib.study import Study


class Judge(Protocol):
    """Features and classes of images in [0, 1]."""

    def features(self, x: Tensor) -> Tensor:
        """What distances between images are taken in."""

    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of every image."""


class Taught(NamedTuple):
    """A net of VICReg's that was taught with labels, as a judge."""

    study: VICReg
    model: Embedder

    def features(self, x: Tensor) -> Tensor:
        """The backbone's."""
        return self._represented(x).features

    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of every image."""
        return self._represented(x).embeddings.argmax(1)

    def _represented(self, x: Tensor) -> Represented:
        return self.study.represent(self.model, Labelled(as_bytes(x), torch.zeros(len(x), dtype=torch.long)))


def judge_study(data_set: ImageName) -> Study[Any]:
    """The judge of a data set, untrained."""
    return VICReg.preset("best", supervised=True) if data_set == "cifar10" else judge_of(data_set)


def judge_from(study: Study[Any], model: Any) -> Judge:
    """The judge, trained."""
    return Taught(study, model) if isinstance(study, VICReg) else model
