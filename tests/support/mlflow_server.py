"""An MLflow server of ours."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.evidence import wait_for
from support.scripts import environment


class Server:
    """It can be killed, and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        place = ["--workers=1", "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        place += ["--artifacts-destination", str(self.folder / "artifacts")]
        with open(self.folder / "server.txt", "a") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self.port}", *place],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd=self.folder,
                env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            )  # fmt: skip

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait(self) -> None:
        assert wait_for(self.answers, 120, step=0.2), (self.folder / "server.txt").read_text()[-2_000:]

    def kill(self) -> None:
        """It and the workers that it started, all in its own session."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def server_in(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()
