"""A Ray cluster over several hosts, under token authentication, and what is submitted to it."""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.hosts import Host, Network
from support.scripts import ROOT

RAY = Path(sys.executable).with_name("ray")
PORT = 6379
QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
}
"""A host that does not answer is given up after some ten seconds; Ray's own settings take half a minute and more."""
NODES = """
import sys, time
import ray
ray.init(address="auto", logging_level="ERROR")
until = time.monotonic() + 120
while sum(node["Alive"] for node in ray.nodes()) != int(sys.argv[1]):
    if time.monotonic() > until:
        sys.exit(f"there are {ray.nodes()}")
    time.sleep(0.2)
"""


class Cluster:
    """Ray on the hosts of a network; the first one is the head."""

    def __init__(self, hosts: Network, folder: Path, more: Mapping[str, str]) -> None:
        self.hosts, self.folder = hosts, folder
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o400)
        self.settings = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
            "HOME": str(folder),
            "GLOO_SOCKET_IFNAME": "eth0",  # their names are nobody's to look up
            **QUICK,
            **more,
        }
        self.address = f"{hosts[0].address}:{PORT}"

    def start(self, host: Host) -> None:
        """Start a host's part of the cluster."""
        usual = ["--node-ip-address", host.address, "--num-cpus", 1, "--num-gpus", 0, "--block"]
        usual += ["--object-store-memory", 100 << 20, "--disable-usage-stats"]
        if host is self.hosts[0]:
            usual += ["--head", "--port", PORT, "--dashboard-host", "127.0.0.1"]
        else:
            usual += ["--address", self.address]
        host.popen(RAY, "start", *usual, said=self.folder / f"ray-{host.name}.txt", **self.settings)

    def wait(self, count: int) -> None:
        """Wait until so many hosts are part of it."""
        done = self.hosts[0].run(
            sys.executable, "-c", NODES, count, seconds=180, **self.settings, RAY_ADDRESS=self.address
        )
        assert done.returncode == 0, done.stdout

    def launch(self, script: Path, *arguments: object, said: Path) -> "subprocess.Popen[str]":
        """Start a script on the head, as a job is."""
        settings = self.settings | {"RAY_ADDRESS": self.address, "RAY_JOB_ID": "test"}
        return self.hosts[0].popen(sys.executable, script, *arguments, said=said, **settings)


@contextmanager
def ray_on(hosts: Network, folder: Path, **more: str) -> Iterator[Cluster]:
    """A cluster of all hosts for as long as the block runs.

    Arguments:
        more: what the environment of all its processes holds besides.
    """
    cluster = Cluster(hosts, folder, more)
    try:
        for host in hosts:
            cluster.start(host)
        cluster.wait(len(hosts))
        yield cluster
    finally:
        for host in hosts:
            host.kill()
            host.boot()
