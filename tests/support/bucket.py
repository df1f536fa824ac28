"""A bucket on a server of moto's, on loopback; and machines, each with a copy and a place of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_REGION": "us-east-1"}


class Server:
    """S3 as moto plays it: objects in memory, conditional writes, listings. What it holds is gone when it ends."""

    def __init__(self, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": self.address}
        with open(log, "w") as out:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=out, stderr=out,
            )  # fmt: skip
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise TimeoutError("moto's server did not start")

    @property
    def client(self) -> Any:
        """Boto3's own client, which shares no line with what is tested."""
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.address, region_name="us-east-1",
            aws_access_key_id="a-key", aws_secret_access_key="a-secret",
        )  # fmt: skip

    def keys(self, bucket: str) -> dict[str, int]:
        """Every key and its size."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", ())}

    def pause(self) -> None:
        """Let it answer nobody: connections are taken by the system, and wait."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def wait_for_port(host: Any, address: str, port: int) -> None:
    """Wait until something listens at an address that a host of the tests' network reaches."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
    until = time.monotonic() + 60
    while host.run(sys.executable, "-c", code).returncode:
        if time.monotonic() > until:
            raise TimeoutError(f"nothing listens at {address}:{port}")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server, for as long as the block runs."""
    server = Server(folder / "moto.log")
    try:
        yield server
    finally:
        server.end()


class Machine:
    """Processes that share a copy and a place, which no others share.

    Arguments:
        preamble: what each of them does first.
    """

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], preamble: str = "") -> None:
        self.copies = folder / name
        self.environment = {**os.environ, **environment, "GENLIB_COPIES": str(self.copies), "OMP_NUM_THREADS": "1"}
        self.environment |= {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "none"}
        self._preamble = f"import cluster.processes\ncluster.processes._place = lambda: {name!r}\n{preamble}\n"

    def begin(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """Run some code in a process of this machine; what it prints can be read."""
        command = [sys.executable, "-c", self._preamble + code, *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)

    def run(self, code: str, *arguments: object) -> str:
        """Run some code to its end; returns what it printed."""
        with self.begin(code, *arguments) as process:
            said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said
