"""A variational autoencoder with categories for its code, learnt through Gumbel-softmax draws (report C2).

Draws are relaxed in training only: what is validated, measured and drawn has whole categories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from genlib.methods import vae
from genlib.studies.autoencoders.study import BEST, TINY, Autoencoder, Code
from genlib.study import setting


@dataclass(frozen=True, kw_only=True)
class DiscreteVAE(Autoencoder):
    """A VAE whose code is categorical."""

    variables: int = setting(20, low=1)
    """Number of categorical variables in the code."""
    categories: int = setting(10, low=2)
    """Number of values of each categorical variable."""
    least_temperature: float = setting(0.5, above=0, high=1)
    """Lowest temperature of the relaxed draws, which start at 1."""
    cooling: float = setting(3e-4, low=0)
    """Rate at which the temperature of relaxed draws falls: exp(−cooling · update)."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": BEST,
        "tiny": {**TINY, "variables": 3, "categories": 10},
    }

    @property
    def code(self) -> Code:
        return Code(variables=self.variables, categories=self.categories)

    def temperature(self, step: int) -> float:
        return vae.temperature(step, least=self.least_temperature, rate=self.cooling)
