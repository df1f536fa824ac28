"""The jobs of many runs: their plans, their tables, the leaderboard."""

import json
from pathlib import Path

import pytest
from support.scripts import run_script

from genlib import PointDiffusion


def test_of_several_sweeps_the_best_settings_come_best_first():
    from experiments.command.sweeps import View, _best_of_each
    from tuning.sweep import Measured, Sweep, Swept

    study = PointDiffusion.preset("tiny")
    values = {"worse": 2.0, "better": 1.0}
    views = [View(Sweep(name=name, study=study, space={"width": [8]}, metric="nll"), "width", "") for name in values]
    swept = [Swept([], [Measured({"width": 8}, study, {0: {"nll": nll}})], {}, Path()) for nll in values.values()]
    assert list(_best_of_each(views, swept).columns[0].cells) == ["better", "worse"]


@pytest.mark.parametrize(
    "name",
    [
        "leaderboard_points",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sweep_flow", "sweep_flow_matching")),
    ],
)
def test_every_big_job_has_a_plan(tmp_path, name):
    done = run_script(name, "--plan", "--storage", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert "at once" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_plans_start_nothing(tmp_path):
    done = run_script("sweep_diffusion", "--plan", "--storage", tmp_path / "runs")
    assert done.returncode == 0
    assert "8, each evaluated 3 times" in done.stdout
    assert "MiB as a Ray job's working directory" in done.stdout
    done = run_script("train", "point-diffusion", "--plan", "--preset", "tiny", "--storage", tmp_path / "runs")
    assert done.returncode == 0
    done = run_script("train", "point-diffusion", "--preset", "tiny", "--workers", "64", "--storage", tmp_path / "runs")
    assert done.returncode == 2
    assert "a run needs 64 CPUs" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_leaderboard_ends_in_a_table_and_pictures_and_goes_on_where_it_was(tmp_path):
    options = ("--densities", "rings", "--seeds", 1, "--share", 0.002, "--storage", tmp_path / "runs", "--json")
    for _ in range(2):
        done = run_script("leaderboard_points", *options)
        assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert len(runs) == 16
    folder = tmp_path / "runs" / "leaderboard-points-0.002"
    assert {"evaluations.png", "training_time.png", "leaderboard.md", "leaderboard.json"} <= {
        path.name for path in folder.iterdir()
    }
    table = (folder / "leaderboard.md").read_text()
    assert all(method in table for method in ("diffusion", "affine", "spline", "flow matching"))
    for key, looks in json.loads((folder / "leaderboard.json").read_text()).items():
        assert len({look["nll"] for look in looks}) == 1, key  # in few steps it would be the likelihood of nothing
        assert all(look["nll_gap"] > -4 * look["nll_error"] for look in looks), key
