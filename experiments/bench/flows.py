"""Flows against other libraries: equal architecture, batch and optimiser, interleaved on one thread.

    pip install -e '.[bench]'
    python experiments/bench/flows.py [--repeats 15]

genlib runs its own `train()`, loop, batches and reports included; the others run the loop that their guides show, on
the same points. Ratios above 1 say that genlib is faster. The NLL after equal CPU time is printed beside them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from experiments.bench.timing import Burst, TimingOptions, comparison_cells, is_installed, race, show
from experiments.command.arguments import read
from experiments.command.tables import cell
from genlib import CouplingFlow, FlowMatching, Progress, train
from genlib.data.points import density
from genlib.draws import Draws
from genlib.methods import flow_matching, normal
from genlib.metrics.points import likelihood_metrics

BATCH, BURST = 512, 20
ENDLESS: dict[str, Any] = {"steps": 10**9, "validate_every": 10**9, "batch_size": BATCH, "points": 20_000}
COUPLING = CouplingFlow(layers=8, width=64, depth=2, activation="relu", **ENDLESS)
MATCHING = FlowMatching(width=256, depth=2, activation="silu", log_every=10, **ENDLESS)
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Options(TimingOptions):
    """How long to measure."""

    seconds: float = 10.0
    """CPU-seconds of training before the NLL is measured; 0 skips it."""
    seeds: int = 3
    """Number of trainings behind each NLL, each with a seed of its own."""


def by_genlib(study: Any) -> tuple[Burst, Score]:
    """genlib's loop, a burst of updates at a time."""
    progress = train(replace(study, seed=torch.initial_seed()))
    latest: list[Progress] = []

    def burst() -> None:
        for _ in range(BURST // study.log_every):
            latest[:] = [next(progress)]

    def score(x: Tensor) -> Tensor:
        with torch.no_grad():
            return study.log_prob(latest[0].state.finished(), x)

    return burst, score


def by_loop(model: nn.Module, loss: Callable[[Tensor], Tensor], rate: float) -> Burst:
    """The usual training loop around the loss of a batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    points = COUPLING.data().train["x"]

    def burst() -> None:
        losses = []
        for _ in range(BURST):
            value = loss(points[torch.randint(len(points), (BATCH,))])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        float(torch.stack(losses).mean())

    return burst


def by_normflows() -> tuple[Burst, Score]:
    """normflows: eight `AffineCouplingBlock`s, with the axes swapped between them."""
    import normflows as nf

    layers: list[Any] = []
    for _ in range(COUPLING.layers):
        layers += [
            nf.flows.AffineCouplingBlock(nf.nets.MLP([1, 64, 64, 2], init_zeros=True)),
            nf.flows.Permute(2, mode="swap"),
        ]
    model = nf.NormalizingFlow(nf.distributions.base.DiagGaussian(2, trainable=False), layers)
    return by_loop(model, model.forward_kld, COUPLING.learning_rate), model.log_prob


def by_zuko() -> tuple[Burst, Score]:
    """zuko: eight affine `GeneralCouplingTransform`s with alternating masks."""
    import zuko
    from zuko.flows.coupling import GeneralCouplingTransform

    layers = [
        GeneralCouplingTransform(features=2, mask=torch.tensor([k % 2 == 0, k % 2 == 1]), hidden_features=(64, 64))
        for k in range(COUPLING.layers)
    ]
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(2), torch.ones(2), buffer=True
    )
    model = zuko.flows.Flow(layers, base)
    burst = by_loop(model, lambda x: -model().log_prob(x).mean(), COUPLING.learning_rate)
    return burst, lambda x: model().log_prob(x)


def by_torchcfm() -> tuple[Burst, Score]:
    """torchcfm: its `ConditionalFlowMatcher` with genlib's network."""
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

    matcher, model = ConditionalFlowMatcher(sigma=0.0), MATCHING.model()

    def loss(x: Tensor) -> Tensor:
        t, place, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        return (model(place, t) - velocity).square().mean()

    return by_loop(model, loss, MATCHING.learning_rate), lambda x: _log_prob(model, x)


def by_flow_matching() -> tuple[Burst, Score]:
    """flow_matching: its `CondOTProbPath` with genlib's network."""
    from flow_matching.path import CondOTProbPath

    path, model = CondOTProbPath(), MATCHING.model()

    def loss(x: Tensor) -> Tensor:
        sample = path.sample(t=torch.rand(len(x)), x_0=torch.randn_like(x), x_1=x)
        return (model(sample.x_t, sample.t) - sample.dx_t).square().mean()

    return by_loop(model, loss, MATCHING.learning_rate), lambda x: _log_prob(model, x)


def _log_prob(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return flow_matching.log_prob(model, x, flow_matching.times(MATCHING.likelihood_steps, "late"))


def likelihoods() -> dict[str, Burst]:
    """Bursts that score 2,000 points by 50 midpoint steps and exact divergence, with the same network and times."""
    from flow_matching.solver import ODESolver

    model, x = MATCHING.model().requires_grad_(False), density("rings").sample(2_000, Draws(0, "bench")).x
    times = flow_matching.times(50)

    def ours() -> Tensor:
        with torch.no_grad():
            return flow_matching.log_prob(model, x, times, "midpoint")

    def theirs() -> Tensor:
        return ODESolver(lambda x, t: model(x, t)).compute_likelihood(
            x, normal.log_prob, step_size=None, method="midpoint", time_grid=times.flip(0), exact_divergence=True
        )[1]

    assert torch.allclose(ours(), theirs(), atol=1e-4)
    return {"genlib": ours, "flow_matching": theirs}


def nll_gap(make: Callable[[], tuple[Burst, Score]], seed: int, budget: float) -> float:
    """The NLL above the truth after `budget` CPU-seconds of bursts."""
    torch.manual_seed(seed)
    burst, score = make()
    began = time.process_time()
    while time.process_time() - began < budget:
        burst()
    truth = density("rings")
    with torch.no_grad():
        log_p = score(truth.sample(5_000, Draws(0, "bench")).x)
    return likelihood_metrics(truth, log_p.detach(), None)["nll_gap"]


def main(options: Options) -> None:
    """Measure what is installed, and print."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table(title=f"medians of {options.repeats} interleaved measurements [95 % interval], one thread")
    budget = f"NLL above the truth after {options.seconds:g} CPU-s"
    for column in ("what", "library", "per CPU-second", "time ÷ genlib's", *([budget] if options.seconds else [])):
        table.add_column(column, justify="left" if column in ("what", "library") else "right")
    training = {
        "updates of 8 couplings [1, 64, 64, 2], batch 512": (COUPLING, {"normflows": by_normflows, "zuko": by_zuko}),
        "updates of a velocity MLP 3-256-256-2, batch 512": (
            MATCHING,
            {"torchcfm": by_torchcfm, "flow_matching": by_flow_matching},
        ),
    }
    for what, (study, peers) in training.items():
        makers = {"genlib": lambda study=study: by_genlib(study)} | {
            n: make for n, make in peers.items() if is_installed(n)
        }
        raced = {name: make() for name, make in makers.items()}
        times = race({name: burst for name, (burst, _) in raced.items()}, options.repeats)
        for name, make in makers.items():
            gaps = [nll_gap(make, seed, options.seconds) for seed in range(options.seeds if options.seconds else 0)]
            gap = [cell(gaps, 3)] if gaps else []
            table.add_row(what, name, *comparison_cells(times, name, BURST), *gap)
        table.add_section()
    if is_installed("flow_matching"):
        times = race(likelihoods(), max(3, options.repeats // 3))
        for name in times:
            table.add_row("points scored, 50 midpoint steps, exact", name, *comparison_cells(times, name, 2_000))
    show(table, "flows", record=options.record, width=150)


if __name__ == "__main__":
    main(read(Options, about=__doc__))
