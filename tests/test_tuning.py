"""Sweeps: the space is checked, a model is trained once and looked at many times, what ran is not run again."""

import subprocess
import sys
from dataclasses import replace

import pytest
from ray import tune

from cluster.files import read_json
from cluster.lease import Lease
from cluster.plan import Plan, upload_bytes
from cluster.run import Run, read_result
from cluster.workers import Workers
from genlib import InputError, PointDiffusion
from tuning.driver import run_sweep
from tuning.space import looks, settings
from tuning.sweep import Launching, Sweep, plan

TINY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)
SPACE = {"schedule": ["exp3", "exp5"], "sampling_steps": [2, 4, 8]}


def sweep(**given):
    return Sweep(**{"name": "a sweep", "study": TINY, "space": SPACE, "metric": "sliced_wasserstein", **given})


# -- the space ---------------------------------------------------------------------------------------------------------


def test_evaluation_fields_share_one_training():
    assert looks(TINY, SPACE) == [{"sampling_steps": steps} for steps in (2, 4, 8)]
    assert settings(TINY, SPACE, search="grid") == [{"schedule": "exp3"}, {"schedule": "exp5"}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"space": {"shedule": ["exp3"]}}, "no field 'shedule'"),
        ({"space": {"schedule": ["exp3", "exp7"]}}, "schedule: got 'exp7'"),
        ({"space": {"width": []}}, "'width' no values"),
        ({"space": {"width": 64}}, "give a list of values"),
        ({"space": {"seed": [0, 1]}}, "give seeds to the sweep"),
        ({"space": {"learning_rate": tune.uniform(-1, 1)}}, "learning_rate: got -1"),
        ({"space": {"width": tune.uniform(8, 16)}}, r"width: got \d+\.\d+; allowed is an integer"),
        ({"space": {"width": tune.sample_from(lambda: 8)}}, "its range cannot be checked"),
        ({"space": {"sampling_steps": tune.randint(1, 5)}}, "only looks at a trained model"),
        ({"space": {"learning_rate": tune.loguniform(1e-4, 1e-2)}}, "search 'random' or 'optuna'"),
        ({"search": "random"}, "needs a number of runs"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (-1,)}, "seed: got -1"),
        ({"space": {"classes": [0, 4]}}, "classes: got 4"),
    ],
)
def test_spaces_that_do_not_fit_are_refused_before_anything_starts(given, said):
    with pytest.raises(InputError, match=said):
        sweep(**given)


def test_a_random_search_is_the_same_every_time_and_tries_nothing_twice():
    space = {"learning_rate": tune.loguniform(1e-4, 1e-2), "schedule": ["exp3", "exp5"]}
    first = settings(TINY, space, search="random", runs=6, seed=1)
    assert first == settings(TINY, space, search="random", runs=6, seed=1)
    assert first != settings(TINY, space, search="random", runs=6, seed=2)
    assert all(1e-4 <= setting["learning_rate"] <= 1e-2 for setting in first)
    assert len(settings(TINY, {"schedule": ["exp3", "exp5"]}, search="random", runs=9)) == 2


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_the_plan_refuses_what_cannot_be_placed_with_both_numbers():
    told = plan(sweep(seeds=(0, 1)), Launching(storage="nowhere", cpus=2))
    assert (told.runs, told.looks, told.at_once) == (4, 3, 2)
    with pytest.raises(InputError, match=r"a run needs 8 CPUs .* there are 2"):
        Plan(1, 1, Workers(8, 8), {"CPU": 2.0, "GPU": 0.0}, 0.0).check()
    with pytest.raises(InputError, match=r"needs 1 GPUs .* there are 0"):
        Plan(1, 1, Workers(gpus=1), {"CPU": 2.0, "GPU": 0.0}, 0.0).check()


def test_the_upload_leaves_out_what_the_ignore_files_name(tmp_path):
    (tmp_path / "code.py").write_bytes(b"x" * 100)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "big").write_bytes(b"x" * 10_000)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "objects").write_bytes(b"x" * 10_000)
    (tmp_path / ".rayignore").write_text("runs/\n")
    assert upload_bytes(tmp_path) == 100 + 6


# -- running -----------------------------------------------------------------------------------------------------------


def test_a_sweep_trains_once_evaluates_often_and_is_not_done_twice(tmp_path, session):
    asked = sweep(seeds=(0, 1))
    swept = run_sweep(asked, Launching(tmp_path))
    assert [result.status for result in swept.results] == ["FINISHED"] * 4
    assert len(swept.rows) == 6
    assert all(set(row.metrics) == {0, 1} for row in swept.rows)
    means = [sum(row.values("sliced_wasserstein")) / 2 for row in swept.rows]
    assert means == sorted(means)
    record = read_json(tmp_path / "a-sweep" / "sweep.json")
    assert record["status"] == "FINISHED"
    assert [known["fields"]["schedule"] for known in record["settings"]] == ["exp3", "exp5"] * 2
    alone = Run(replace(TINY, schedule="exp5", sampling_steps=2, seed=1), tmp_path / "alone")
    (metrics,) = alone.execute(figures=False)
    row = next(r for r in swept.rows if r.fields == {"schedule": "exp5", "sampling_steps": 2})
    assert row.metrics[1]["nll"] == metrics["nll"]  # in a trial or here: the same bits
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("a-sweep/*/journal/*")}
    again = run_sweep(asked, Launching(tmp_path))
    assert [row.metrics for row in again.rows] == [row.metrics for row in swept.rows]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("a-sweep/*/journal/*")} == stamps


def test_the_best_settings_are_confirmed_under_the_other_seeds(tmp_path, session):
    swept = run_sweep(sweep(seeds=(0, 1, 2), confirm=1), Launching(tmp_path))
    assert len(swept.results) == 2 + 2
    best = swept.rows[0].fields["schedule"]
    assert {row.fields["schedule"]: len(row.metrics) for row in swept.rows}[best] == 3
    assert sorted(len(row.metrics) for row in swept.rows) == [1, 1, 1, 3, 3, 3]


def test_hopeless_runs_are_stopped_early_and_stay_stopped(tmp_path, session):
    study = replace(TINY, steps=60, validate_every=10)
    space = {"learning_rate": [1e-3, 1e-9, 1e-8, 3e-9, 3e-3, 2e-9]}
    asked = sweep(study=study, space=space, stopping="asha")
    swept = run_sweep(asked, Launching(tmp_path))
    assert swept.stopped
    assert [result.status for result in swept.results] == ["FINISHED"] * 6
    for key, step in swept.stopped.items():
        assert read_json(tmp_path / "a-sweep" / key / "result.json")["stopped_early"] == step < 60
    again = run_sweep(asked, Launching(tmp_path))
    assert again.stopped.items() >= swept.stopped.items()
    assert len(again.rows) == len(swept.rows)


def test_optuna_proposes_and_is_told_again(tmp_path, session):
    pytest.importorskip("optuna")
    asked = sweep(space={"learning_rate": tune.loguniform(1e-4, 1e-1)}, search="optuna", runs=4)
    swept = run_sweep(asked, Launching(tmp_path))
    assert len(swept.rows) == 4
    assert len({row.fields["learning_rate"] for row in swept.rows}) == 4
    again = run_sweep(asked, Launching(tmp_path))
    assert sorted(r.fields["learning_rate"] for r in again.rows) == sorted(
        r.fields["learning_rate"] for r in swept.rows
    )


def test_a_search_by_the_journal_evaluates_nothing(tmp_path, session):
    asked = sweep(space={"learning_rate": [1e-3, 1e-2]}, metric="validation/loss")
    swept = run_sweep(asked, Launching(tmp_path))
    assert len(swept.rows) == 2
    assert not list(tmp_path.glob("*/*/evaluations"))
    assert run_sweep(asked, Launching(tmp_path)).rows == swept.rows
    with pytest.raises(InputError, match="'sampling_steps' matters to evaluations alone"):
        sweep(metric="validation/loss")


def test_a_run_that_fails_stops_no_other(tmp_path, session):
    swept = run_sweep(sweep(space={"learning_rate": [1e-3, 1e30]}), Launching(tmp_path))
    assert sorted(result.status for result in swept.results) == ["FAILED", "FINISHED"]
    failed = next(result for result in swept.results if result.status == "FAILED")
    assert "learning_rate" in failed.message
    assert len(swept.rows) == 1


def test_a_metric_that_is_not_measured_is_named(tmp_path, session):
    with pytest.raises(InputError, match=r"there is no metric 'fid': there are .*nll"):
        run_sweep(sweep(metric="fid", space={"schedule": ["exp3"]}), Launching(tmp_path))


def test_a_sweep_that_is_driven_is_refused_to_a_second_driver(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease\n"
    code += "lease = Lease.claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    folder = tmp_path / "runs" / "a-sweep" / "lease"
    from cluster.storage import open_storage

    open_storage(tmp_path / "runs")
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="is being driven already: process"):
            run_sweep(sweep(), Launching(tmp_path / "runs"))
        other.kill()
    assert Lease.claim(folder).epoch == 2


def test_an_orphaned_trial_ends_with_its_driver(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease, exit_when_lapsed\n"
    driver = Lease.claim(tmp_path)
    code += "with exit_when_lapsed(Path(sys.argv[1]), 1): print('works', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as trial:
        assert trial.stdout.readline() == "works\n"
        driver.release()
        assert trial.wait(timeout=30) == 3


def test_many_runs_at_once(tmp_path, session):
    from tuning.many import run_many

    def train(run):
        return run.execute(figures=False)[0]["nll"]

    studies = [PointDiffusion.preset("tiny", seed=seed) for seed in (0, 1, 0)]
    done = list(run_many(studies, tmp_path, train))
    assert {item.study.seed for item in done} == {0, 1}
    assert all(read_result(item.path).status == "FINISHED" for item in done)
