"""A disk that fills up in the middle of a run: one sentence, whole checkpoints, then the same bits with room again."""

import os
import signal
import subprocess

import pytest
from support.evidence import (
    assert_same_run,
    mlflow_equals_journal,
    storage_with_its_mirror,
    wait_for,
)
from support.scripts import ROOT, finish, launch

from cluster.journal import last_row
from cluster.run import Run
from genlib import PointDiffusion
from genlib.checkpoint import checkpoints, load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TRAIN = ROOT / "experiments" / "train.py"
CASES = {
    # Checkpoints are many and large, the journal's lines few: it still has room in its last page.
    "a checkpoint": {"log_every": 20, "validate_every": 20, "steps": 400, "width": 64},
    # A line per update, and no checkpoint before the disk is full.
    "the journal": {"log_every": 1, "validate_every": 1_000, "steps": 2_000, "width": 16},
}
COMMON = {"samples": 100, "likelihood_points": 20, "batch_size": 500}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Take all that is left; returns what is to be deleted again."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.parametrize("mlflow", ["elsewhere", "on the same disk"])
@pytest.mark.parametrize("case", CASES)
def test_a_full_disk_ends_in_one_sentence_and_the_same_command_continues(case, mlflow, small_disk, tmp_path):
    fields = CASES[case] | COMMON
    study = PointDiffusion.preset("tiny", **fields)
    undisturbed = Run(study, tmp_path / "undisturbed")
    undisturbed.execute(figures=False)
    given = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
    with storage_with_its_mirror(small_disk / "runs") as storage:
        uri = f"sqlite:///{(tmp_path if mlflow == 'elsewhere' else storage) / 'mlflow.db'}"
        more = {"MLFLOW_TRACKING_URI": uri} if mlflow == "elsewhere" else {}
        arguments = ["point-diffusion", "--preset", "tiny", *given, "--storage", storage]
        run = Run(study, storage)
        from_step = 1_010 if case == "the journal" else 60
        driver = launch(TRAIN, *arguments, said=tmp_path / "driver.txt", **more)

        def far_enough():
            row = last_row(run.path / "journal")
            return driver.poll() is not None or (row is not None and row["step"] >= from_step)

        assert wait_for(far_enough, 120, step=0.002)
        os.kill(driver.pid, signal.SIGSTOP)  # so that it is full at one moment, not little by little
        filler = fill(small_disk)
        before = [path.name for path in checkpoints(run.path / "checkpoints")]
        os.kill(driver.pid, signal.SIGCONT)
        code = driver.wait(120)
        told = (tmp_path / "driver.txt").read_text()
        assert "Traceback" not in told, told
        assert code == 1, told
        sentences = [line for line in told.splitlines() if "the storage took no more at" in line]
        assert len(sentences) == 1, told
        assert "free some space" in sentences[0]
        assert before
        for name in before[-1:]:
            assert load_checkpoint(run.path / "checkpoints" / name, study).step == int(name[5:])
        assert run.result().status in ("FAILED", "KILLED")
        filler.unlink()
        done = finish(TRAIN, *arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        assert_same_run(run.path, undisturbed.path, case)
        brought = finish(ROOT / "experiments" / "mirror.py", "--storage", storage, "--minutes", 3, **more)
        assert brought.returncode == 0, brought.stderr
        mlflow_equals_journal(storage, uri, case)
