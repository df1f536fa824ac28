"""Ray's head, MLflow and the mirror on this machine: started, started again when they end, ended together.

    python cluster/deploy/machine/serve.py FOLDER [--port 5000] [--cpus N]

FOLDER holds all there is: secrets/, runs/ (the storage), mlflow.db, artifacts/, log/. Everything listens on loopback;
Ray asks for its token, MLflow for its password.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

HERE = "127.0.0.1"
DEPLOY = Path(__file__).resolve().parent.parent
ROOT = DEPLOY.parent.parent
JOBS = 8265
"""The port that takes jobs."""
GRACE = 15.0
"""Seconds that a part has to end by itself."""
SOON, LATE = 1.0, 60.0
"""Seconds before a part that ended is started again, the first time and at most."""


class Part:
    """One process with its children, which is to run for as long as this one does."""

    def __init__(self, name: str, command: list[str], folder: Path, settings: Mapping[str, str]) -> None:
        self.name, self.command, self.folder = name, command, folder
        self.settings = os.environ | settings
        self.process: subprocess.Popen[bytes] | None = None
        self._pause, self._again = SOON, 0.0

    def look(self) -> None:
        """Start it, where it does not run and its turn has come."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            _say(f"{self.name} has ended ({code}) and is started again: {self.log}")
            self.end()
            if time.monotonic() - self._again > LATE:  # it had run for a while
                self._pause = SOON
            self._again, self._pause = time.monotonic() + self._pause, min(2 * self._pause, LATE)
        if time.monotonic() >= self._again:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                    env=self.settings, start_new_session=True,
                )  # fmt: skip

    @property
    def log(self) -> Path:
        """The file that takes what it says."""
        return self.folder / "log" / f"{self.name}.txt"

    def end(self) -> None:
        """End it and its children; who does not listen is killed."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.process = None


def parts(folder: Path, *, port: int, ray_port: int, cpus: int | None) -> list[Part]:
    """What a machine needs."""
    python, secrets = sys.executable, folder / "secrets"
    path = os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", "")])
    usual = {"PATH": path, "PYTHONPATH": str(ROOT), "SECRETS": str(secrets), "OMP_NUM_THREADS": "1"}
    token = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(secrets / "ray_token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    tracking = {"MLFLOW_TRACKING_URI": f"http://{HERE}:{port}", "MLFLOW_TRACKING_USERNAME": "admin"}
    storage = {"GENLIB_STORAGE": str(folder / "runs")}
    with_secrets = ["sh", str(DEPLOY / "with-secrets.sh")]
    head = [
        *with_secrets, "ray", "start", "--head", "--block", f"--port={ray_port}", f"--node-ip-address={HERE}",
        f"--dashboard-host={HERE}", f"--dashboard-port={JOBS}", "--dashboard-agent-listen-port=0",
        "--disable-usage-stats",
        *([f"--num-cpus={cpus}"] if cpus else []),
    ]  # fmt: skip
    served = {
        "ARTIFACTS": str(folder / "artifacts"), "DATABASE": f"sqlite:///{folder / 'mlflow.db'}", "LISTEN": HERE,
        "USERS": f"sqlite:///{folder / 'users.db'}", "PORT": str(port), "WORKERS": "1",
        "ALLOWED_HOSTS": f"localhost:{port},{HERE}:{port}", "ALLOWED_ORIGINS": f"http://localhost:{port}",
    }  # fmt: skip
    return [
        Part("ray", head, folder, usual | token | tracking | storage),
        Part("mlflow", ["sh", str(DEPLOY / "mlflow.sh")], folder, usual | served),
        Part(
            "mirror",
            [*with_secrets, python, "-P", "-m", "cluster.mirror", str(folder / "runs"), "--stay"],
            folder,
            usual | tracking,
        ),
    ]


def serve(folder: Path, *, port: int, ray_port: int, cpus: int | None) -> None:
    """Keep all parts running until a signal ends this process."""
    folder = folder.resolve()
    for place in ("runs", "artifacts", "log"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(folder / "secrets")], check=True)
    running = parts(folder, port=port, ray_port=ray_port, cpus=cpus)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _say(
        f"jobs:    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={folder}/secrets/ray_token\n"
        f"         ray job submit --address http://{HERE}:{JOBS} --working-dir . -- python SCRIPT\n"
        f"MLflow:  http://localhost:{port}, user admin, password in {folder}/secrets/mlflow_password\n"
        f"runs:    {folder}/runs; logs: {folder}/log"
    )
    try:
        while True:
            for part in running:
                part.look()
            time.sleep(0.5)
    finally:
        for part in reversed(running):
            part.end()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path, help="where everything is kept")
    options.add_argument("--port", type=int, default=5000, help="MLflow's port (5000)")
    options.add_argument("--ray-port", type=int, default=6379, help="Ray's port (6379)")
    options.add_argument("--cpus", type=int, help="cores that Ray gives out; all, where it is not said")
    given = options.parse_args()
    serve(given.folder, port=given.port, ray_port=given.ray_port, cpus=given.cpus)
