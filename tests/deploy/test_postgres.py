"""MLflow as deployments run it: on PostgreSQL, behind its password; killed, with its database, while runs are shown."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support.doors import answer, free_port
from support.evidence import dice, mlflow_equals_journal, wait_for
from support.scripts import ROOT, environment

from cluster.run import Run
from cluster.storage import run_folders
from genlib import PointDiffusion

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
BIN, DEPLOY = Path(sys.executable).parent, ROOT / "cluster" / "deploy"
STUDY = PointDiffusion.preset("tiny", steps=12_000, log_every=10, validate_every=500)
LONG = ["point-diffusion", "--preset", "tiny", "--steps", "12000", "--log-every", "10", "--validate-every", "500"]


def binaries():
    """Where PostgreSQL is installed; None where it is not."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    return places[-1] if places else Path(found).parent if found else None


class Database:
    """A PostgreSQL of our own on loopback, as a user who is not root."""

    def __init__(self, folder, password):
        self.where, self.folder, self.port = binaries(), folder, free_port()
        if self.where is None:
            pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        folder.mkdir()
        (folder / "password").write_text(password)
        if self.user:
            shutil.chown(folder, "postgres", "postgres")
            shutil.chown(folder / "password", "postgres", "postgres")
        made = [self.where / "initdb", "--pgdata", folder / "data", "--username=mlflow", "--auth=scram-sha-256",
                f"--pwfile={folder / 'password'}", "--no-sync"]  # fmt: skip
        subprocess.run(list(map(str, made)), check=True, capture_output=True, cwd=folder, **self.user)
        self.start()
        create = [str(self.where / "createdb"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", "mlflow"]
        subprocess.run(create, check=True, env=os.environ | {"PGPASSWORD": password})

    def start(self):
        command = [self.where / "postgres", "-D", self.folder / "data", "-h", "127.0.0.1", "-p", self.port,
                   "-k", self.folder, "-c", "fsync=off"]  # fmt: skip
        with open(self.folder / "said.txt", "a") as said:
            self.process = subprocess.Popen(list(map(str, command)), stdout=said, stderr=said, **self.user,
                                            cwd=self.folder, start_new_session=True)  # fmt: skip
        ready = [str(self.where / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        assert wait_for(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 60, step=0.2)

    def kill(self):
        """It and its children, as a machine does that loses power."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()


class Deployed:
    """MLflow by `mlflow.sh`, and what its clients are told."""

    def __init__(self, folder):
        self.folder, self.secrets = folder, folder / "secrets"
        subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(self.secrets)], check=True)
        self.database = Database(folder / "postgres", (self.secrets / "postgres_password").read_text())
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.usual = environment(
            SECRETS=str(self.secrets), PATH=f"{BIN}:{os.environ['PATH']}", PYTHONPATH=str(ROOT),
            MLFLOW_TRACKING_URI=self.uri, MLFLOW_TRACKING_USERNAME="admin",
        )  # fmt: skip
        self.start()

    def start(self):
        served = {
            "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(self.database.port), "WORKERS": "1",
            "ARTIFACTS": str(self.folder / "artifacts"), "LISTEN": "127.0.0.1", "PORT": str(self.port),
            "ALLOWED_HOSTS": f"127.0.0.1:{self.port}",
        }  # fmt: skip
        with open(self.folder / "mlflow.txt", "a") as said:
            self.process = subprocess.Popen(
                ["sh", str(DEPLOY / "mlflow.sh")], stdout=said, stderr=said, env=self.usual | served,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip

    def wait(self):
        said = self.folder / "mlflow.txt"
        assert wait_for(lambda: answer(f"{self.uri}/health"), 180, step=0.5), said.read_text()[-3_000:]

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def client(self, script, *arguments):
        """A script's command line, with MLflow's password in its environment."""
        ours = ["sh", str(DEPLOY / "with-secrets.sh"), sys.executable, str(ROOT / "experiments" / script)]
        return [*ours, *map(str, arguments)]

    def run(self, script, *arguments):
        done = subprocess.run(
            self.client(script, *arguments), env=self.usual, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3_000:]

    @contextmanager
    def password(self, monkeypatch):
        """Let this very process speak to it."""
        with monkeypatch.context() as told:
            told.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            told.setenv("MLFLOW_TRACKING_PASSWORD", (self.secrets / "mlflow_password").read_text())
            yield


@pytest.fixture
def deployed(tmp_path):
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if parent.name.startswith("pytest-") and parent.stat().st_uid == os.geteuid():
            parent.chmod(0o755)
    made = Deployed(tmp_path)
    try:
        made.wait()
        yield made
    finally:
        made.kill()
        made.database.kill()


def test_runs_are_kept_in_postgresql_behind_the_password(deployed, tmp_path, monkeypatch):
    assert answer(f"{deployed.uri}/api/2.0/mlflow/experiments/search?max_results=1") == 401
    deployed.run("train.py", "point-diffusion", "--preset", "tiny", "--storage", tmp_path / "runs")
    deployed.run("mirror.py", "--storage", tmp_path / "runs")
    with deployed.password(monkeypatch):
        mlflow_equals_journal(tmp_path / "runs", deployed.uri, "PostgreSQL")
    values = {file.name: file.read_text() for file in deployed.secrets.iterdir()}
    server = psutil.Process(deployed.process.pid)
    words = [" ".join(child.cmdline()) for child in [server, *server.children(recursive=True)]]
    assert not [name for name, value in values.items() for line in words if value in line]
    said = (tmp_path / "mlflow.txt").read_text()
    assert not [name for name, value in values.items() if value in said]


def test_the_server_and_its_database_are_killed_while_a_run_is_shown(deployed, tmp_path, monkeypatch):
    chance, storage = dice("PostgreSQL"), tmp_path / "runs"
    with open(tmp_path / "said.txt", "w") as said:
        trains = subprocess.Popen(
            deployed.client("train.py", *LONG, "--storage", storage), env=deployed.usual, stdout=said, stderr=said
        )
    assert wait_for(lambda: trains.poll() is not None or Run(STUDY, storage).result().status == "RUNNING", 120)
    during = 0
    for victim in (deployed, deployed.database, deployed):
        time.sleep(3 * chance.random())
        during += trains.poll() is None
        victim.kill()
        time.sleep(2 * chance.random())
        victim.start()
    deployed.wait()
    assert trains.wait(300) == 0, (tmp_path / "said.txt").read_text()
    assert during
    deployed.run("mirror.py", "--storage", storage)
    assert len(list(run_folders(storage))) == 1
    with deployed.password(monkeypatch):
        mlflow_equals_journal(storage, deployed.uri, "PostgreSQL")
