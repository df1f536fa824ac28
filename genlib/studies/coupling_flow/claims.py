"""What the report found about the coupling flow, as claims."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genlib.claims import Claim
from genlib.studies.coupling_flow.study import CouplingFlow
from genlib.studies.points.claims import on_off_claims
from genlib.trained import Trained

Compared = Sequence[Trained[CouplingFlow]]
REPORT = CouplingFlow.preset("report")


def _off_axis(runs: Compared) -> float:
    """Minus the furthest that any layer moves any point along its second axis."""
    study = runs[0].study
    positions = study.path(runs[0].model, study.draws("claims/axes").normal(1_000, 2))
    moves = positions.diff(dim=0).abs()  # (layers, n, axis)
    return -float(torch.minimum(moves[..., 0], moves[..., 1]).max())


def _moved(runs: Compared) -> float:
    """The mean distance by which a layer moves a point."""
    study = runs[0].study
    return float(study.path(runs[0].model, study.draws("claims/axes").normal(1_000, 2)).diff(dim=0).norm(dim=-1).mean())


CLAIMS = (
    Claim(
        "Each layer moves a point along one axis only",
        (REPORT,),
        _off_axis,
        "minus the furthest move of 1,000 points along the other axis (0 by construction)",
        margin=-1e-6,
    ),
    Claim("… and it does move it", (REPORT,), _moved, "mean move of a layer", margin=0.01),
    *on_off_claims(REPORT),
)
