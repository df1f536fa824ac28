"""A variational autoencoder with a plane for its code (report C1).

`report` is the report's: four outputs of the encoder, two means and two log-variances. `binarised` has a wide code and
black-and-white digits, of which it gives a likelihood in nats that published models can be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from genlib.studies.autoencoders.study import BEST, TINY, Autoencoder, Code
from genlib.study import setting


@dataclass(frozen=True, kw_only=True)
class ContinuousVAE(Autoencoder):
    """A VAE whose code is normal."""

    continuous: int = setting(2, low=1)
    """Number of dimensions of the code."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": BEST,
        "binarised": {
            "pixels": "binary",
            "binarised": "afresh",
            "continuous": 50,
            "steps": 40_000,
            "validate_every": 4_000,
            "learning_rate": 2e-3,
            "learning_rate_schedule": "cosine",
            "ema_decay": 0.999,
            "beta_warmup": 4_000,
            "likelihood_images": 8_000,
        },
        "tiny": TINY,
    }

    @property
    def code(self) -> Code:
        return Code(continuous=self.continuous)
