"""`ray job submit` against a head with a token: refused without storage, stopped in its three seconds, continued."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.directory import read_result
from cluster.files import read_json
from cluster.storage import run_folders

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
RAY = str(Path(sys.executable).parent / "ray")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head of our own, in the foreground of a process that we can end."""
    temporary = Path("/tmp") / f"gl{secrets.token_hex(3)}"  # Ray's socket paths must be short
    dashboard = free_port()
    environment = os.environ | {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(24), "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    command = [RAY, "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", f"--port={free_port()}"]
    command += [f"--dashboard-port={dashboard}", f"--temp-dir={temporary}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        environment["RAY_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
        for _ in range(60):
            if job(environment, "list").returncode == 0:
                break
            time.sleep(1)
        yield environment
        process.terminate()


def job(environment, *arguments):
    command = [RAY, "job", *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


def submit(environment, name, *arguments):
    script = ("--working-dir", ".", "--submission-id", name, "--", "python", "experiments/sweep_diffusion.py")
    return job(environment, "submit", *(["--no-wait"] if name == "first" else []), *script, *arguments)


def statuses(storage):
    return [read_result(path).status for path in run_folders(storage)]


def test_without_a_token_nothing_is_answered(head):
    stranger = {name: value for name, value in head.items() if not name.startswith("RAY_AUTH")}
    assert job(stranger | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guess"}, "list").returncode != 0


def test_a_job_is_refused_stopped_and_continued(head, tmp_path):
    refused = submit(head, "nowhere")
    assert "give --storage, or GENLIB_STORAGE" in refused.stdout
    submit(head, "first", "--storage", tmp_path)
    for _ in range(120):
        if statuses(tmp_path).count("FINISHED") >= 2:
            break
        time.sleep(0.5)
    job(head, "stop", "first")
    found = statuses(tmp_path)
    assert found.count("FINISHED") >= 2
    assert set(found) <= {"FINISHED", "KILLED"}
    assert read_json(tmp_path / "diffusion-schedules" / "sweep.json")["status"] == "KILLED"
    done = submit(head, "second", "--storage", tmp_path, "--json")
    assert "succeeded" in done.stdout + done.stderr
    assert statuses(tmp_path) == ["FINISHED"] * 8
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags["genlib.run"] for run in runs}) == len(runs) == 1 + 8 * 3


def test_a_study_of_ones_own_runs_as_a_job_from_its_own_folder(head, tmp_path):
    (tmp_path / "work").mkdir()
    shutil.copy(ROOT / "experiments" / "example_study.py", tmp_path / "work" / "mine.py")
    script = ("--working-dir", tmp_path / "work", "--submission-id", "own", "--", "python", "mine.py")
    done = job(head, "submit", *script, "--storage", tmp_path / "runs")
    assert "succeeded" in done.stdout + done.stderr
    assert statuses(tmp_path / "runs") == ["FINISHED"] * 6


LEAKING = """
import os
from experiments.command.sweeps import sweep_script
from genlib import PointDiffusion
from tuning import Sweep

if __name__ == "__main__":
    print("the address is there:", os.environ["MLFLOW_TRACKING_URI"].startswith("http://me:"), flush=True)
    study = PointDiffusion.preset("tiny")
    sweep_script(Sweep(name="leaks", study=study, space={"width": [8, 16]}, metric="nll"), across="width", by="width")
"""


def test_a_jobs_log_holds_no_secret(head, tmp_path):
    canary = f"canary{secrets.token_hex(8)}"
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.py").write_text(LEAKING)
    around = {"env_vars": {"MLFLOW_TRACKING_URI": f"http://me:{canary}@127.0.0.1:9", "MY_API_TOKEN": canary}}
    (tmp_path / "env.json").write_text(json.dumps(around))  # Ray keeps it with the job; the log is what people read
    script = ("--working-dir", tmp_path / "work", "--submission-id", "leaks", "--", "python", "mine.py")
    done = job(head, "submit", "--runtime-env", tmp_path / "env.json", *script, "--storage", tmp_path / "runs")
    log = job(head, "logs", "leaks").stdout + done.stdout + done.stderr
    assert "the address is there: True" in log
    assert "does not answer" in log
    assert statuses(tmp_path / "runs") == ["FINISHED"] * 2
    assert canary not in log
    kept = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if canary.encode() in path.read_bytes()] == []
