"""The jobs of many runs: their plans, their tables, the leaderboard."""

import json
import signal
import time
from pathlib import Path

import pytest
from support.scripts import ROOT, launch, run_script

from cluster.directory import read_result
from cluster.files import read_json
from cluster.journal import last_row
from cluster.storage import run_folders
from genlib import PointDiffusion
from genlib.checkpoint import checkpoints, is_whole


def test_of_several_sweeps_the_best_settings_come_best_first():
    from experiments.command.sweeps import View, _best_of_each
    from tuning.sweep import Measured, Sweep, Swept

    study = PointDiffusion.preset("tiny")
    values = {"worse": 2.0, "better": 1.0}
    views = [View(Sweep(name=name, study=study, space={"width": [8]}, metric="nll"), "width", "") for name in values]
    swept = [Swept([], [Measured({"width": 8}, study, {0: {"nll": nll}})], {}, Path()) for nll in values.values()]
    assert list(_best_of_each(views, swept).columns[0].cells) == ["better", "worse"]


@pytest.mark.slow
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
    assert len(runs) == 12  # four methods, three budgets
    folder = tmp_path / "runs" / "leaderboard-points-0.002"
    assert {"evaluations.png", "training_time.png", "leaderboard.md", "leaderboard.json"} <= {
        path.name for path in folder.iterdir()
    }
    table = (folder / "leaderboard.md").read_text()
    assert all(method in table for method in ("diffusion", "affine", "spline", "flow matching"))
    for key, looks in json.loads((folder / "leaderboard.json").read_text()).items():
        assert len({look["nll"] for look in looks}) == 1, key  # in few steps it would be the likelihood of nothing
        assert all(look["nll_gap"] > -4 * look["nll_error"] for look in looks), key


MINE = """
from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from tuning import Sweep

STUDY = PointDiffusion.preset("tiny", steps=20_000, validate_every=20_000)
if __name__ == "__main__":
    sweep_script(Sweep(name="long", study=STUDY, space={"width": [8, 16]}, metric="nll"), across="width", by="width")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_stopped_keeps_the_states_of_its_runs(tmp_path, name):
    script, storage, said = tmp_path / "mine.py", tmp_path / "runs", tmp_path / "said.txt"
    script.write_text(MINE)
    process = launch(script, "--storage", storage, said=said, MLFLOW_TRACKING_URI="none", PYTHONPATH=str(ROOT))
    while sum(map(bool, map(last_row, storage.glob("long/*/journal")))) < 2:
        assert process.poll() is None, said.read_text()
        time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(name)
    assert process.wait(timeout=60) == 128 + name
    assert time.monotonic() - began < 12
    assert f"stopped by {signal.Signals(name).name}" in said.read_text()
    assert "***" not in said.read_text()  # Ray's core would abort after three seconds
    assert read_json(storage / "long" / "sweep.json")["status"] == "KILLED"
    runs = list(run_folders(storage))
    assert [read_result(path).status for path in runs] == ["KILLED", "KILLED"]
    for path in runs:
        (kept,) = checkpoints(path / "checkpoints")
        assert is_whole(kept)
        assert int(kept.name.partition("-")[2]) >= last_row(path / "journal")["step"]
