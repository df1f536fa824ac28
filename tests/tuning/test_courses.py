"""Sweeps and gatherings compute what runs share once: shorter runs, and the models that others need."""

from dataclasses import replace

import pytest

from cluster.directory import read_result
from cluster.journal import read_rows, read_segments
from cluster.run import Run
from genlib import PointDiffusion, VICReg
from tuning.engine import run_sweep
from tuning.many import run_many
from tuning.sweep import Placement, Sweep, plan

TINY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)
VIEWS = VICReg.preset("tiny", steps=10, guide_steps=20)
SWEEP = Sweep(
    name="lengths",
    study=VIEWS,
    space={"positives": ["neighbours", "views"], "steps": [20, 10], "variance_weight": [25.0, 0.0]},
    metric="validation/knn_accuracy",
    mode="max",
    seeds=(0, 1),
)


def rows(path):
    return [(row["step"], row["metrics"]) for row in read_rows(path / "journal")]


def computed(path):
    """Updates that a run's own processes computed, from its first to its last row."""
    return [segment.head["after"] for segment in read_segments(path / "journal") if "copied" not in segment.head]


@pytest.mark.slow
def test_a_sweep_over_lengths_computes_the_common_part_once(tmp_path, session):
    swept = run_sweep(SWEEP, Placement(tmp_path))
    assert [result.status for result in swept.results] == ["FINISHED"] * 16
    begun = {}
    for seed in (0, 1):
        for study in SWEEP.trained(seed):
            path = tmp_path / "lengths" / study.key()
            begun[study] = computed(path)
    longer = {study: after for study, after in begun.items() if study.steps == 20}
    assert all(after and min(after) >= 10 for after in longer.values() if after)
    # Where the guide passed through the short run, or went before it, the long run of views is the guide's, whole.
    short = {study: after for study, after in begun.items() if study.steps == 10}
    assert all(after == [0] for after in short.values())
    guides = list((tmp_path / "vicreg").iterdir())
    assert len(guides) == 2  # one for each seed
    assert all(computed(path) in ([], [20]) for path in guides)  # the sweep's own run of views was first, or later
    for study in begun:
        alone = Run(study, tmp_path / "alone")
        alone.execute(evaluation=False, figures=False)
        assert rows(alone.path) == rows(tmp_path / "lengths" / study.key()), study


def test_the_plan_says_what_is_shared(tmp_path):
    found = plan(SWEEP, Placement(tmp_path))
    assert found.shared == (8, 80, 240)
    assert "8 runs pass through shorter ones, which saves 80 of 240 updates" in "\n".join(found.lines())
    assert found.needs == ("vicreg",)
    steady = replace(SWEEP, space={"steps": [20, 10]}, study=replace(VIEWS, learning_rate_schedule="cosine"))
    assert not any("shared" in line for line in plan(steady, Placement(tmp_path)).lines())


def test_a_sweep_that_stops_early_still_gives_every_run_its_own_rows(tmp_path, session):
    sweep = Sweep(
        name="stopped", study=TINY, space={"steps": [20, 40], "width": [8, 16]}, metric="nll", stopping="asha"
    )
    swept = run_sweep(sweep, Placement(tmp_path))
    assert all(result.status == "FINISHED" for result in swept.results)
    for study in sweep.trained():
        found = rows(tmp_path / "stopped" / study.key())
        alone = Run(study, tmp_path / "alone")
        alone.execute(evaluation=False, figures=False)
        assert found == rows(alone.path)[: len(found)]


def _train(run):
    from cluster.execution import execute

    execute(run, evaluation=False)


@pytest.mark.parametrize("order", [1, -1])
def test_a_gathering_does_shorter_runs_and_needs_first(order, tmp_path, session):
    wanted = [VIEWS, replace(VIEWS, steps=20), replace(VIEWS, steps=20, positives="neighbours")]
    done = [one.study for one in run_many(wanted[::order], tmp_path, _train, evaluated=False)]
    assert set(done) == set(wanted)
    assert done.index(wanted[0]) < done.index(wanted[1]) < done.index(wanted[2])
    assert computed(Run(wanted[1], tmp_path).path) == [10]
    assert len(list((tmp_path / "vicreg").iterdir())) == 3  # the guide is one of those that were wanted
    assert all(read_result(Run(study, tmp_path).path).status == "FINISHED" for study in wanted)
