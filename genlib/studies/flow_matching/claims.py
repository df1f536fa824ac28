"""What the reports found about flow matching, as claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from genlib.claims import Claim
from genlib.methods import flow_matching
from genlib.metrics.paths import path_length, turning
from genlib.studies.coupling_flow.study import CouplingFlow
from genlib.studies.flow_matching.study import FlowMatching
from genlib.studies.points.claims import COUNT, c2st_to_data, distance_to_data, gain, on_off_claims
from genlib.trained import Trained

One = Trained[FlowMatching]
Compared = Sequence[One]
REPORT = FlowMatching.preset("report")
BY_CLASS = FlowMatching.preset("report", classes=5)


def _paths(run: One, count: int) -> Tensor:
    """Paths from noise to data, in a hundred small steps."""
    start = run.study.draws("claims/paths").normal(count, 2)
    return flow_matching.path(run.study.field(run.model), start, flow_matching.times(100))


def _compared(measure: Callable[[Tensor], Tensor]) -> Callable[[Sequence[Trained[Any]]], float]:
    """A measure of the coupling flow's paths minus that of flow matching's, from the same noise at as many places."""

    def effect(runs: Sequence[Trained[Any]]) -> float:
        matching, coupling = runs
        start = matching.study.draws("claims/paths").normal(500, 2)
        other = coupling.study.path(coupling.model, start)
        times = flow_matching.times(8 * coupling.study.layers)
        own = flow_matching.path(matching.study.field(matching.model), start, times)[::8]
        return float(measure(other).mean() - measure(own).mean())

    return effect


def _mean_moves(runs: Compared) -> float:
    """Minus the furthest that the mean of the cloud is ever from the data's, which is 0."""
    return -float(_paths(runs[0], COUNT).mean(1).norm(dim=1).max())


def _on_their_ring(runs: Compared) -> float:
    study = runs[0].study
    y = torch.arange(COUNT) % study.classes
    x = study.generate(runs[0].model, COUNT, study.draws("claims/rings"), y=y)
    inside = study.truth.contains(x, y)
    assert inside is not None
    return float(inside.float().mean())


CLAIMS = (
    *(
        Claim(
            f"A smaller Δt is closer: {1 / many:g} against {1 / few:g}, by {name}",
            (REPORT,),
            gain(metric, few, many, solver="euler", spacing="even"),
            f"fall of {name}",
        )
        for name, metric in (("C2ST", c2st_to_data), ("sliced Wasserstein", distance_to_data))
        for few, many in ((5, 10), (10, 50), (50, 500))
    ),
    Claim(
        "Paths are shorter than the coupling flow's",
        (REPORT, CouplingFlow.preset("report")),
        _compared(path_length),
        "mean length of 500 paths at 16 places each, coupling flow minus flow matching",
    ),
    Claim(
        "Paths are smoother than the coupling flow's",
        (REPORT, CouplingFlow.preset("report")),
        _compared(turning),
        "mean sum of the angles at the 14 places between, coupling flow (right angles) minus flow matching, radians",
    ),
    Claim(
        "The cloud's mean stays put",
        (REPORT,),
        _mean_moves,
        "minus the furthest that the mean of 10,000 points is from 0 at any t",
        margin=-0.05,
    ),
    *on_off_claims(REPORT),
    Claim(
        "Given a ring, paths end on it",
        (BY_CLASS,),
        _on_their_ring,
        "share of samples on the ring that was asked for, 10,000 samples",
        margin=0.8,
    ),
)
