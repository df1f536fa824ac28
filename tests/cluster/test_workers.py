"""Several workers under Ray Train give what one process gives, end when it makes no sense to go on, and share Tune."""

import math
from dataclasses import replace

import pytest

from cluster.run import Run
from cluster.workers import DRIVER, Workers, execute_with_workers
from genlib import STUDIES, InputError, PointDiffusion

TINY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)


def agree(one, other):
    """The same steps and names, and values equal up to float error."""
    assert [step for step, _ in one.history().rows] == [step for step, _ in other.history().rows]
    for (_, left), (_, right) in zip(one.history().rows, other.history().rows, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert math.isclose(left[name], right[name], rel_tol=1e-3, abs_tol=1e-4), name


def test_two_workers_give_the_losses_of_one_process(tmp_path, session):
    # Losses reported and checkpoints saved at different steps: the window in between is shared by the workers.
    study = replace(TINY, log_every=7, validate_every=10)
    here, there = Run(study, tmp_path / "one"), Run(study, tmp_path / "two")
    here.execute(figures=False)
    result = execute_with_workers(there, Workers(2, 2), figures=False)
    assert result.status == "FINISHED"
    agree(here, there)
    assert result.metrics["nll"] == pytest.approx(here.result().metrics["nll"], abs=1e-2)
    assert execute_with_workers(there, Workers(2, 2), figures=False) == result  # nothing is left to do


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.title())
def test_every_study_gives_the_same_on_two_workers(tmp_path, session, kind):
    study = kind.preset("tiny")
    if study.title() == "vicreg":  # norms of small batches and Adam make float error grow tenfold in a few updates
        study = replace(study, steps=4, log_every=1)
    here, there = Run(study, tmp_path / "one"), Run(study, tmp_path / "two")
    here.execute(figures=False)
    assert execute_with_workers(there, Workers(2, 2), figures=False).status == "FINISHED"
    agree(here, there)


@pytest.mark.slow
def test_one_worker_gives_the_same_bits(tmp_path, session):
    here, there = Run(TINY, tmp_path / "one"), Run(TINY, tmp_path / "two")
    here.execute(figures=False)
    assert execute_with_workers(there, Workers(1, 1), figures=False).status == "FINISHED"
    assert here.history().rows == there.history().rows


@pytest.mark.slow
def test_elastic_workers_take_what_there_is(tmp_path, session):
    run = Run(TINY, tmp_path)
    assert execute_with_workers(run, Workers(1, 2), figures=False).status == "FINISHED"


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="a global batch of 64 cannot be split over 3 workers"):
        execute_with_workers(Run(TINY, tmp_path), Workers(2, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_would_fail_again_is_not_tried_again(tmp_path, session):
    run = Run(replace(TINY, learning_rate=1e30), tmp_path)
    result = execute_with_workers(run, Workers(2, 2), figures=False)
    assert result.status == "FAILED"
    assert "learning_rate" in result.message
    assert not (run.path / DRIVER / "tries.json").exists() or len(list((run.path / "journal").glob("*"))) <= 1


@pytest.mark.slow
def test_trials_with_workers_of_their_own_do_not_wait_for_each_other(tmp_path, session):
    from tuning.engine import run_sweep
    from tuning.sweep import Placement, Sweep

    sweep = Sweep(name="wide", study=TINY, space={"schedule": ["exp3", "exp5"]}, metric="nll")
    swept = run_sweep(sweep, Placement(tmp_path, workers=Workers(2, 2)))
    assert [result.status for result in swept.results] == ["FINISHED"] * 2
    assert len(swept.rows) == 2
