"""What listens on this machine, read from the kernel's tables, against the list of what may."""

from contextlib import suppress
from typing import NamedTuple

import psutil

DOORS = {
    "mlflow": "MLflow: asks for its password",
    "gcs_server": "Ray's head: asks for the token",
    "raylet": "Ray on a machine: asks for the token",
    "dashboard": "Ray's jobs and its dashboard: asks for the token",
    "dashboard agent": "Ray's agent on a machine: asks for the token; its metrics answer anyone",
    "runtime env agent": "Ray's agent of environments: asks for the token",
    "worker": "a process of Ray's that works: asks for the token",
    "client server": "Ray's server of remote clients: asks for the token",
    "driver": "the command itself, to Ray: asks for the token",
}
"""What may listen, and what it asks for."""
ANYWHERE = {
    "gcs_server",
    "raylet",
    "dashboard agent",
    "runtime env agent",
    "worker",
    "client server",
    "dashboard",
    "driver",
}
"""What Ray binds to every address of the machine, whatever it is told: shut by networks and policies."""


class Door(NamedTuple):
    """A socket that listens."""

    what: str
    address: str
    port: int

    @property
    def anywhere(self) -> bool:
        """Whether it is reached from other machines."""
        return not self.address.startswith("127.") and self.address != "::1"


def doors_of(process: psutil.Process) -> list[Door]:
    """Every socket that a process and its children listen on."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            for connection in one.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(Door(_what(one), connection.laddr.ip, connection.laddr.port))
    return sorted(found)


def _what(process: psutil.Process) -> str:
    """What a process is, in a word of the list."""
    words = " ".join(process.cmdline())
    known = {
        "gcs_server": "gcs_server", "raylet/raylet": "raylet", "dashboard/agent.py": "dashboard agent",
        "runtime_env/agent": "runtime env agent", "dashboard/dashboard.py": "dashboard",
        "util.client.server": "client server",
        "default_worker": "worker", "ray::": "worker", "mlflow": "mlflow", "uvicorn": "mlflow",
    }  # fmt: skip
    return next((name for part, name in known.items() if part in words), "driver")
