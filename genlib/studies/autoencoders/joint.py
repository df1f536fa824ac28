"""A variational autoencoder with both codes, a plane and categories, from one trunk (report C3).

The hope: categories take the digit, the plane takes what varies continuously, such as the colour of the ink.
"""

from __future__ import annotations

from dataclasses import dataclass

from genlib.studies.autoencoders.discrete import DiscreteVAE
from genlib.studies.autoencoders.study import Code
from genlib.study import setting


@dataclass(frozen=True, kw_only=True)
class JointVAE(DiscreteVAE):
    """A VAE whose code is categorical and normal."""

    continuous: int = setting(2, low=1)
    """Number of dimensions of the normal code."""

    @property
    def code(self) -> Code:
        return super().code._replace(continuous=self.continuous)
