"""Flow matching: velocities, pairings, the loss, paths and likelihoods."""

from genlib.methods.flow_matching.matching import Spacing, late, log_prob, matching_loss, path, times
from genlib.methods.flow_matching.pairing import optimal_pairing
from genlib.methods.flow_matching.velocity import PlainVelocity, PreconditionedVelocity, variance

__all__ = [
    "PlainVelocity",
    "PreconditionedVelocity",
    "Spacing",
    "late",
    "log_prob",
    "matching_loss",
    "optimal_pairing",
    "path",
    "times",
    "variance",
]
