"""A process that is stopped saves and marks its own runs, and leaves those of others alone."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.scripts import ROOT, command, environment, launch

from cluster.directory import read_result
from cluster.journal import last_row
from cluster.run import Run
from cluster.stopping import held_here, stop_runs
from genlib import PointDiffusion
from genlib.checkpoint import checkpoints

LONG = """
import sys
from cluster.run import Run
from genlib import PointDiffusion
Run(PointDiffusion.preset("tiny", steps=20_000, validate_every=20_000), sys.argv[1]).train()
"""
STUDY = PointDiffusion.preset("tiny", steps=20_000, validate_every=20_000)


def wait_for_a_row(run, process):
    while last_row(run.path / "journal") is None:
        assert process.poll() is None
        time.sleep(0.05)


@pytest.fixture
def other(tmp_path):
    """A run that another process trains."""
    run = Run(STUDY, tmp_path)
    with subprocess.Popen([sys.executable, "-c", LONG, str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        wait_for_a_row(run, process)
        yield run, process
        process.kill()


def test_anothers_run_is_not_stopped(other):
    run, process = other
    assert held_here([run]) == []
    assert stop_runs(held_here([run]), "SIGTERM") is None
    assert read_result(run.path).status == "RUNNING"
    assert process.poll() is None


def test_a_run_that_is_driven_says_where_it_goes_on(other):
    run, process = other
    where = stop_runs([run], "SIGINT")
    (kept,) = checkpoints(run.path / "checkpoints")
    assert where == f"from update {int(kept.name.partition('-')[2]):,}"
    assert (read_result(run.path).status, read_result(run.path).message) == ("KILLED", "stopped by SIGINT")
    assert process.wait(timeout=20) == 1
    assert "stopped at update" in process.stderr.read()


@pytest.mark.parametrize("script", ["train"])
def test_asked_by_a_file_a_script_ends_with_a_sentence(tmp_path, script):
    run = Run(STUDY, tmp_path)
    asked = [
        "point-diffusion",
        "--preset",
        "tiny",
        "--steps",
        20_000,
        "--validate-every",
        20_000,
        "--storage",
        tmp_path,
    ]
    line = command(ROOT / "experiments" / f"{script}.py", *asked, "--tracking", "none")
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment()
    ) as process:
        wait_for_a_row(run, process)
        (lease,) = (run.path / "lease").glob("*.json")
        lease.with_suffix(".stop").touch()
        assert process.wait(timeout=30) == 1
        said = process.stderr.read()
    assert "where the same command goes on" in said
    assert "Traceback" not in said
    assert run.result().status == "KILLED"


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_workers_keep_their_state_too(tmp_path, name):
    run = Run(STUDY, tmp_path / "runs")
    asked = ["point-diffusion", "--preset", "tiny", "--steps", 20_000, "--validate-every", 20_000, "--workers", 2]
    process = launch(
        ROOT / "experiments" / "train.py", *asked, "--storage", tmp_path / "runs", "--tracking", "none",
        said=tmp_path / "said.txt",
    )  # fmt: skip
    wait_for_a_row(run, process)
    os.kill(process.pid, name)
    assert process.wait(timeout=60) == 128 + name
    assert run.result().status == "KILLED"
    assert len(checkpoints(run.path / "checkpoints")) == 1
    assert "the plain same command continues from update" in (tmp_path / "said.txt").read_text()


@pytest.mark.slow
def test_a_refused_run_on_workers_leaves_nothing(tmp_path):
    first = Run(PointDiffusion.preset("tiny"), tmp_path / "runs")
    first.execute(figures=False)
    asked = ["point-diffusion", "--preset", "tiny", "--from", first.key, "--steps", 40, "--width", 64, "--workers", 2]
    process = launch(
        ROOT / "experiments" / "train.py", *asked, "--storage", tmp_path / "runs", "--tracking", "none",
        said=tmp_path / "said.txt",
    )  # fmt: skip
    assert process.wait(timeout=120) == 2
    assert "its model or optimizer is another" in (tmp_path / "said.txt").read_text()
    assert [path.name for path in (tmp_path / "runs" / "point-diffusion").iterdir()] == [first.key]
