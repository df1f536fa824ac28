"""What listens on this machine, read from the kernel's tables, against the list of what may."""

import socket
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import suppress
from typing import NamedTuple

import psutil

DOORS = {
    "mlflow": "its password",
    "dashboard": "the token, but for metrics, which answer anyone",
    "monitor": "nothing: its metrics answer anyone",
    "gcs_server": "the token",
    "raylet": "the token",
    "driver": "the token",
    "worker": "the token",
    "client server": "the token",
    "runtime env agent": "the token",
    "dashboard agent": "the token, but for metrics, which answer anyone",
}
"""What may listen, and what it asks for."""
ANYWHERE = DOORS.keys() - {"mlflow"}
"""What Ray binds to the machine's address, or to every one, whatever it is told: networks and policies shut it."""
KINDS = {
    "gcs_server": "gcs_server",
    "raylet/raylet": "raylet",
    "DashboardAgent": "dashboard agent",
    "dashboard/agent.py": "dashboard agent",
    "RuntimeEnvAgent": "runtime env agent",
    "runtime_env/agent": "runtime env agent",
    "dashboard/dashboard.py": "dashboard",
    "_private/monitor.py": "monitor",
    "util.client.server": "client server",
    "default_worker": "worker",
    "ray::": "worker",
    "mlflow": "mlflow",
}
"""A part of a command line, and what kind of process it tells; the first that fits."""


class Door(NamedTuple):
    """A socket that listens."""

    what: str
    address: str
    port: int

    @property
    def anywhere(self) -> bool:
        """Whether it is reached from other machines."""
        return not self.address.removeprefix("::ffff:").startswith("127.") and self.address != "::1"


def doors_of(process: psutil.Process) -> list[Door]:
    """Every socket that a process and its children listen on."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            words = " ".join(one.cmdline())
            what = next((kind for part, kind in KINDS.items() if part in words), "driver" if one == process else "?")
            for connection in one.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(Door(what, connection.laddr.ip, connection.laddr.port))
    return sorted(found)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answer(url: str, password: str | None = None, **headers: str) -> int:
    """The status with which an address answers; 0 where nobody does."""
    if password is not None:
        headers["Authorization"] = "Basic " + b64encode(f"admin:{password}".encode()).decode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
