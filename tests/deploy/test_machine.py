"""A deployment that runs: its doors, its passwords, a job that goes through it, a part that dies."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import psutil
import pytest
from support.doors import ANYWHERE, DOORS, answer, doors_of, free_port
from support.evidence import wait_for
from support.scripts import ROOT, environment

from cluster.directory import read_result
from cluster.storage import run_folders

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
DEPLOY = ROOT / "cluster" / "deploy"
BIN = Path(sys.executable).parent
TINY = ["point-diffusion", "--preset", "tiny", "--steps", "40"]


def experiments(uri):
    return f"{uri}/api/2.0/mlflow/experiments/search?max_results=1"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """The deployment of one machine, started by its one command."""
    if answer("http://127.0.0.1:8265/api/version"):
        pytest.skip("port 8265 is taken: there is a Ray on this machine already")
    folder, port, ray_port = tmp_path_factory.mktemp("machine"), free_port(), free_port()
    command = [sys.executable, str(DEPLOY / "machine" / "serve.py"), str(folder), "--port", str(port),
               "--ray-port", str(ray_port), "--cpus", "1"]  # fmt: skip
    with open(folder / "said.txt", "w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment(), start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        assert wait_for(lambda: answer(f"{uri}/health") == 200, 180, step=0.5), (
            folder / "log" / "mlflow.txt"
        ).read_text()
        assert wait_for(lambda: answer("http://127.0.0.1:8265/api/version") in (200, 401), 120, step=0.5)
        assert wait_for(lambda: list((folder / "runs" / ".mirror").glob("*/lease/*.json")), 60, step=0.5)
        yield process, folder, uri, f"127.0.0.1:{ray_port}"
    finally:
        process.terminate()
        process.wait(90)


def password_of(folder):
    return (folder / "secrets" / "mlflow_password").read_text()


def test_nothing_answers_without_its_secret(machine):
    _, folder, uri, _ = machine
    token = (folder / "secrets" / "ray_token").read_text()
    assert answer(experiments(uri)) == 401
    assert answer(experiments(uri), "wrong") == 401
    assert answer(experiments(uri), password_of(folder)) == 200
    assert answer(experiments(uri), password_of(folder), Host="evil.example.com") == 403
    jobs = "http://127.0.0.1:8265/api/jobs/"
    assert answer(jobs) == 401
    assert answer(jobs, Authorization="Bearer wrong") in (401, 403)
    assert answer(jobs, Authorization=f"Bearer {token}") == 200


def test_what_listens_is_on_the_list(machine):
    process, *_ = machine
    found = doors_of(psutil.Process(process.pid))
    assert {"mlflow", "gcs_server", "raylet"} <= {door.what for door in found}
    unknown = [door for door in found if door.anywhere and door.what not in ANYWHERE]
    assert not unknown, f"reachable from beyond this machine: {unknown}"
    assert {door.what for door in found} <= DOORS.keys()


def submitted(machine, *words):
    """A job, to its end."""
    _, folder, _, _ = machine
    token = str(folder / "secrets" / "ray_token")
    env = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=token, RAY_USAGE_STATS_ENABLED="0")
    command = [BIN / "ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--", sys.executable, *words]
    until = time.monotonic() + 90
    while True:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env, timeout=300)
        if "No available agent" not in done.stderr or time.monotonic() > until:  # Ray's agent starts a while after it
            return done
        time.sleep(1)


def shown(uri, password):
    """The runs in MLflow: run key → status."""
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/experiments/search?max_results=100",
        headers={"Authorization": "Basic " + b64encode(f"admin:{password}".encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        ids = [found["experiment_id"] for found in json.load(reply).get("experiments", ())]
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/runs/search", json.dumps({"experiment_ids": ids, "max_results": 100}).encode(),
        {"Authorization": request.get_header("Authorization"), "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=20) as reply:
        runs = json.load(reply).get("runs", ())
    tags = [({tag["key"]: tag["value"] for tag in run["data"]["tags"]}, run["info"]["status"]) for run in runs]
    return {words["genlib.run"].rpartition("/")[2]: status for words, status in tags if "genlib.run" in words}


def test_a_job_is_run_and_shown_by_the_service(machine):
    _, folder, uri, _ = machine
    mirror = newest_holder(folder)
    done = submitted(machine, ROOT / "experiments" / "train.py", *TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = run_folders(folder / "runs")
    assert read_result(path).status == "FINISHED"
    assert wait_for(lambda: shown(uri, password_of(folder)) == {path.name: "FINISHED"}, 60, step=0.5)
    assert newest_holder(folder) == mirror  # the job started none of its own


def newest_holder(folder):
    newest = max((folder / "runs" / ".mirror").glob("*/lease/*.json"))
    return json.loads(newest.read_text()).get("pid")


def test_a_local_session_beside_it_is_one_of_its_own(machine):
    code = "import ray\nfrom cluster.session import *\nwith ray_session(3): print(ray.cluster_resources()['CPU'])"
    here = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=here)
    assert done.stdout == "3.0\n", done.stderr


def test_no_secret_is_in_an_argument_or_on_the_disk(machine):
    process, folder, *_ = machine
    secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except psutil.Error:
            continue
        assert not [name for name, value in secrets.items() if value in words], words
    for path in folder.rglob("*"):
        if path.parent.name != "secrets":
            try:
                content = path.read_bytes()
            except OSError:  # a folder, or a journal of SQLite's that has just gone
                continue
            assert not [name for name, value in secrets.items() if value.encode() in content], path


def test_a_part_that_dies_is_started_again(machine):
    process, folder, *_ = machine
    before = newest_holder(folder)
    os.kill(before, signal.SIGKILL)
    assert wait_for(lambda: newest_holder(folder) not in (before, None), 90, step=0.2)
    (head,) = (child for child in psutil.Process(process.pid).children() if "--head" in child.cmdline())
    os.killpg(head.pid, signal.SIGKILL)
    time.sleep(2)
    assert wait_for(lambda: answer("http://127.0.0.1:8265/api/version"), 120, step=0.5)
    done = submitted(machine, ROOT / "experiments" / "train.py", *TINY, "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
