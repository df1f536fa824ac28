"""The job of SLURM's on a host of its own, with Ray's real `symmetric-run`, which ends every Ray process there."""

import signal

import pytest
from support.evidence import wait_for
from support.scripts import ROOT
from support.slurm import JOB, standins

from cluster.directory import read_result
from cluster.journal import last_row
from cluster.run import Run
from genlib import PointDiffusion
from genlib.checkpoint import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STUDY = PointDiffusion.preset("tiny", steps=6_000, log_every=20, validate_every=3_000)
TRAIN = [ROOT / "experiments" / "train.py", "point-diffusion", "--preset", "tiny", "--steps", 6_000, "--log-every", 20,
         "--validate-every", 3_000, "--tracking", "none", "--workers", 1]  # fmt: skip


def test_a_job_whose_time_is_over_goes_on_when_it_is_queued_again(hosts, tmp_path):
    host = hosts[0]
    settings, said = standins(tmp_path, ray=False, address=host.address)
    run = Run(STUDY, tmp_path / "runs")
    log = tmp_path / "log.txt"

    def step():
        row = last_row(run.path / "journal") if (run.path / "journal").exists() else None
        return row["step"] if row else 0

    def job():
        return host.popen("bash", JOB, *TRAIN, said=log, **settings)

    first = job()
    assert wait_for(lambda: step() > 200 or first.poll() is not None, 180), log.read_text()
    assert first.poll() is None, log.read_text()
    host.tell("genlib.sbatch", signal.SIGUSR1)
    assert first.wait(90) == 0, log.read_text()
    assert said.read_text() == "scontrol requeue 4242\n"
    assert read_result(run.path).status == "KILLED"
    kept = int(checkpoints(run.path / "checkpoints")[-1].name.partition("-")[2])
    assert step() <= kept < STUDY.steps
    assert job().wait(240) == 0, log.read_text()
    assert read_result(run.path).status == "FINISHED"
    assert not list((tmp_path / "runs").glob(".slurm-*"))
