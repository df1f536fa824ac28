"""Sweeps run: a model is trained once and looked at many times, and what ran is not run again."""

import subprocess
import sys
from dataclasses import replace

import pytest
from ray import tune

from cluster.files import read_json
from cluster.lease import Fenced, Lease
from cluster.opening import open_run
from cluster.run import Run
from cluster.storage import open_storage
from genlib import InputError, PointDiffusion
from genlib.settings import digits
from tuning import engine
from tuning.driver import Driver
from tuning.engine import run_sweep
from tuning.report import summary
from tuning.sweep import Placement, Sweep

TINY = PointDiffusion.preset("tiny", samples=100, likelihood_points=20)
SPACE = {"schedule": ["exp3", "exp5"], "sampling_steps": [2, 4, 8]}


def sweep(**given):
    return Sweep(**{"name": "a sweep", "study": TINY, "space": SPACE, "metric": "sliced_wasserstein", **given})


def test_a_sweep_trains_once_evaluates_often_and_is_not_done_twice(tmp_path, session):
    asked = sweep(seeds=(0, 1))
    swept = run_sweep(asked, Placement(tmp_path))
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
    again = run_sweep(asked, Placement(tmp_path))
    assert [row.metrics for row in again.rows] == [row.metrics for row in swept.rows]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("a-sweep/*/journal/*")} == stamps


def test_a_sweep_that_is_over_starts_no_ray(tmp_path, session, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("Ray is asked for")

    asked = sweep(seeds=(0, 1), confirm=1)
    swept = run_sweep(asked, Placement(tmp_path, figures=1))
    with monkeypatch.context() as without:
        without.setattr(engine, "ray_session", refused)
        again = run_sweep(asked, Placement(tmp_path, figures=1))
        assert [(row.fields, row.metrics) for row in again.rows] == [(row.fields, row.metrics) for row in swept.rows]
        assert again.results == swept.results
        assert read_json(tmp_path / "a-sweep" / "sweep.json")["status"] == "FINISHED"
        for more in (Placement(tmp_path, figures=6), Placement(tmp_path / "elsewhere")):
            with pytest.raises(RuntimeError, match="asked for"):
                run_sweep(asked, more)
        with pytest.raises(RuntimeError, match="asked for"):
            run_sweep(sweep(seeds=(0, 1)), Placement(tmp_path))
    best = Run(swept.rows[0].study, tmp_path, sweep="a-sweep")
    (best.evaluation_folder(best.study) / "metrics.json").write_text("damaged")
    measured = run_sweep(asked, Placement(tmp_path, figures=1))
    assert [row.metrics for row in measured.rows] == [row.metrics for row in swept.rows]


def test_every_setting_is_confirmed_once(tmp_path, session):
    asked = sweep(space={"schedule": ["exp3", "exp5"]}, seeds=(0, 1), stopping="median")
    swept = run_sweep(asked, Placement(tmp_path))
    assert len(swept.results) == 4
    driver = Driver(asked, Placement(tmp_path))
    with driver.holding():
        assert engine._is_over(driver)  # which has listed all four by now
        assert engine._confirmed(driver) == [({"schedule": "exp3"}, 1), ({"schedule": "exp5"}, 1)]


def test_the_best_settings_are_confirmed_under_the_other_seeds(tmp_path, session):
    swept = run_sweep(sweep(seeds=(0, 1, 2), confirm=1), Placement(tmp_path))
    assert len(swept.results) == 2 + 2
    best = swept.rows[0].fields["schedule"]
    assert {row.fields["schedule"]: len(row.metrics) for row in swept.rows}[best] == 3
    assert sorted(len(row.metrics) for row in swept.rows) == [1, 1, 1, 3, 3, 3]


@pytest.mark.slow
def test_a_random_search_over_lists_and_distributions_counts_every_seed_of_a_setting(tmp_path, session):
    space = {"learning_rate": tune.loguniform(1e-4, 1e-2), "width": [8, 16], "sampling_steps": [4, 8]}
    asked = sweep(space=space, search="random", runs=2, seeds=(0, 1, 2), confirm=2)
    swept = run_sweep(asked, Placement(tmp_path))
    assert [set(row.metrics) for row in swept.rows] == [{0, 1, 2}] * 4
    assert [list(row.fields) for row in swept.rows] == [list(space)] * 4
    columns, _, first, *_ = [line.split(" | ") for line in summary(asked, swept).splitlines()[2:]]
    assert [word.strip("| ") for word in columns] == [*space, "sliced_wasserstein"]
    assert [word.strip("| ") for word in first[:3]] == [digits(value) for value in swept.rows[0].fields.values()]


def test_hopeless_runs_are_stopped_early_and_stay_stopped(tmp_path, session):
    study = replace(TINY, steps=60, validate_every=10)
    space = {"learning_rate": [1e-3, 1e-9, 1e-8, 3e-9, 3e-3, 2e-9]}
    asked = sweep(study=study, space=space, stopping="asha")
    swept = run_sweep(asked, Placement(tmp_path))
    assert swept.stopped
    assert [result.status for result in swept.results] == ["FINISHED"] * 6
    for key, step in swept.stopped.items():
        assert read_json(tmp_path / "a-sweep" / key / "result.json")["stopped_early"] == step < 60
    again = run_sweep(asked, Placement(tmp_path))
    assert again.stopped.items() >= swept.stopped.items()
    assert len(again.rows) == len(swept.rows)


@pytest.mark.slow
def test_optuna_proposes_and_is_told_again(tmp_path, session):
    pytest.importorskip("optuna")
    asked = sweep(space={"learning_rate": tune.loguniform(1e-4, 1e-1)}, search="optuna", runs=4)
    swept = run_sweep(asked, Placement(tmp_path))
    assert len(swept.rows) == 4
    assert len({row.fields["learning_rate"] for row in swept.rows}) == 4
    again = run_sweep(asked, Placement(tmp_path))
    assert sorted(r.fields["learning_rate"] for r in again.rows) == sorted(
        r.fields["learning_rate"] for r in swept.rows
    )


@pytest.mark.slow
def test_a_search_by_the_journal_evaluates_nothing(tmp_path, session):
    asked = sweep(space={"learning_rate": [1e-3, 1e-2]}, metric="validation/loss")
    swept = run_sweep(asked, Placement(tmp_path))
    assert len(swept.rows) == 2
    assert not list(tmp_path.glob("*/*/evaluations"))
    assert run_sweep(asked, Placement(tmp_path)).rows == swept.rows
    with pytest.raises(InputError, match="'sampling_steps' matters to evaluations alone"):
        sweep(metric="validation/loss")


def test_a_run_that_fails_stops_no_other(tmp_path, session):
    swept = run_sweep(sweep(space={"learning_rate": [1e-3, 1e30]}), Placement(tmp_path))
    assert sorted(result.status for result in swept.results) == ["FAILED", "FINISHED"]
    failed = next(result for result in swept.results if result.status == "FAILED")
    assert "learning_rate" in failed.message
    assert len(swept.rows) == 1


def test_a_run_whose_directory_goes_missing_has_failed(tmp_path, session):
    asked = sweep(space={"learning_rate": [1e-3, 2e-3]}, metric="validation/excess")
    driver = Driver(asked, Placement(open_storage(tmp_path)))
    with driver.holding():
        pairs = [(setting, 0) for setting in asked.settings()]
        driver.add(*pairs)
        driver.run(*pairs[0]).train()
        driver.run(*pairs[0]).conclude(open_run(driver.run(*pairs[0]).path), (), figures=False, evaluation=False)
    results = {result.status: result.message for result in driver.swept().results}
    assert results == {"FINISHED": "", "FAILED": "its directory is gone"}
    assert read_json(tmp_path / "a-sweep" / "sweep.json")["status"] == "FAILED"


def test_a_driver_that_was_taken_over_writes_nothing(tmp_path):
    driver = Driver(sweep(), Placement(open_storage(tmp_path)))
    setting = driver.sweep.settings()[0]

    def end():
        with driver.holding():
            driver.add((setting, 0))
            heir = Lease.claim(tmp_path / "a-sweep" / "lease", anyhow=True)
            run = Run(driver.run(setting, 0).study, tmp_path, sweep="a-sweep", drivers={"sweep": heir.epoch})
            run.train()
            with pytest.raises(Fenced):  # a mark by force
                driver.stop_early(run.key, 20)
            driver.folder.write(note="too late")

    with pytest.raises(Fenced):
        end()
    record = read_json(tmp_path / "a-sweep" / "sweep.json")
    assert (record["status"], record["note"], record["stopped"]) == ("RUNNING", "", {})


def test_a_damaged_record_forgets_no_early_stop(tmp_path):
    asked = sweep(stopping="asha")
    (setting, *_), first = asked.settings(), Driver(asked, Placement(open_storage(tmp_path)))
    with first.holding():
        first.add((setting, 0))
        first.run(setting, 0).take_and_mark("FINISHED", "", stopped_early=20)
        key, began = first.run(setting, 0).key, first.folder.record.began
        with first.run(setting, 0).claimed():
            pass
    (tmp_path / "a-sweep" / "sweep.json").write_text("{")
    second = Driver(asked, Placement(tmp_path))
    with second.holding():
        assert second.stopped == {key: 20}
        assert second.folder.record.began == began


def test_a_metric_that_is_not_measured_is_named(tmp_path, session):
    with pytest.raises(InputError, match=r"there is no metric 'fid': there are .*nll"):
        run_sweep(sweep(metric="fid", space={"schedule": ["exp3"]}), Placement(tmp_path))


def test_a_sweep_that_is_driven_is_refused_to_a_second_driver(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease\n"
    code += "lease = Lease.claim(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    folder = tmp_path / "runs" / "a-sweep" / "lease"
    open_storage(tmp_path / "runs")
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="is being driven already: process"):
            run_sweep(sweep(), Placement(tmp_path / "runs"))
        other.kill()
    assert Lease.claim(folder).epoch == 2
