"""Coupling flows: affine couplings and rational-quadratic splines, with or without classes."""

from genlib.methods.coupling_flow.affine import Affine
from genlib.methods.coupling_flow.flow import CouplingLayers
from genlib.methods.coupling_flow.spline import Spline

__all__ = ["Affine", "CouplingLayers", "Spline"]
