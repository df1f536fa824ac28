"""A sweep says beforehand what it would run."""

from cluster.run import Run
from genlib import JointVAE, PointDiffusion
from tuning.sweep import Placement, Sweep, plan

TINY = PointDiffusion.preset("tiny")


def test_a_plan_counts_runs_looks_and_what_they_need_once():
    study = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)
    space = {"schedule": ["exp3", "exp5"], "sampling_steps": [2, 4, 8]}
    sweep = Sweep(name="a sweep", study=study, space=space, metric="sliced_wasserstein", seeds=(0, 1))
    found = plan(sweep, Placement("nowhere", cpus=2))
    assert (found.runs, found.looks, found.at_once, found.needs) == (4, 3, 2, ())
    joint = Sweep(name="joint", study=JointVAE.preset("tiny"), space={"beta": [1.0, 2.0]}, metric="clarity", mode="max")
    assert plan(joint, Placement(storage="nowhere", cpus=2)).needs == ("digit-judge",)


def test_a_plan_counts_what_is_done(tmp_path):
    sweep = Sweep(name="a sweep", study=TINY, space={"width": [4, 8]}, metric="nll", seeds=(0, 1))
    Run(sweep.trained()[0], tmp_path).execute(evaluation=False, figures=False)
    found = plan(sweep, Placement(tmp_path))
    assert (found.runs, found.done) == (4, 1)
    assert "4, each evaluated 1 time; of 1 the training is done" in "\n".join(found.lines())
    assert "done" not in "\n".join(plan(sweep, Placement(tmp_path / "elsewhere")).lines())


def test_epochs_are_an_axis():
    study = PointDiffusion.preset("tiny", points=100, batch_size=50)
    sweep = Sweep(name="epochs", study=study, space={"epochs": [5, 25], "width": [8]}, metric="nll")
    assert [sweep.with_setting(setting).steps for setting in sweep.settings()] == [10, 50]
