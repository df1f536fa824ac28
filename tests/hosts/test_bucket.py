"""Hosts that share nothing but a bucket: sweeps and trainings over several of them, through the same faults."""

import json
import sys
import time
from pathlib import Path

import pytest
from support.bucket import KEYS, wait_for_port
from support.evidence import wait_for
from support.hosts import Network, network, why_not
from support.ray_hosts import ray_on
from support.scripts import ROOT
from support.small_sweep import SWEEP, assert_whole
from support.two_workers import COMMAND, STUDY, close, recovered

from cluster.directory import read_result
from cluster.journal import last_row
from cluster.storage import run_folders

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SMALL = ROOT / "tests" / "support" / "small_sweep.py"
COPIES, PORT = "/dev/shm/copies", 9000
READ = "import sys; from cluster.storage import storage_from; print(storage_from(sys.argv[1]))"
MAKE = """
import sys, boto3
boto3.client("s3", endpoint_url=sys.argv[1], region_name="us-east-1").create_bucket(Bucket="runs")
"""


class Shared:
    """A cluster of three hosts, and a fourth that serves the bucket."""

    def __init__(self, cluster, keeper):
        self.cluster, self.hosts, self.keeper = cluster, cluster.hosts, keeper

    def launch(self, script, *arguments, storage, said):
        return self.cluster.launch(script, *arguments, "--storage", f"s3://runs/{storage}", said=said)

    def copy(self, host, storage):
        """A host's copy, as this machine sees its files."""
        return host.scratch / "dev-shm" / "copies" / "genlib-s3-copies" / "runs" / storage

    def fetched(self, storage):
        """The whole storage, on the host that nothing else runs on."""
        done = self.keeper.run(sys.executable, "-c", READ, f"s3://runs/{storage}", **self.cluster.settings)
        assert done.returncode == 0, done.stdout
        return self.copy(self.keeper, storage)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    pytest.importorskip("moto")
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("bucket")
    with network(4, tmp_path_factory.mktemp("hosts")) as hosts:
        *three, keeper = hosts
        address = f"http://{keeper.address}:{PORT}"
        more = {**KEYS, "AWS_ENDPOINT_URL": address, "GENLIB_COPIES": COPIES}
        server = Path(sys.executable).with_name("moto_server")
        keeper.popen(sys.executable, server, "-H", keeper.address, "-p", PORT, said=folder / "moto.txt")
        wait_for_port(keeper, keeper.address, PORT)
        assert keeper.run(sys.executable, "-c", MAKE, address, **more).returncode == 0
        with ray_on(Network(three, hosts.shared), folder, **more) as cluster:
            yield Shared(cluster, keeper)


@pytest.fixture
def whole(shared):
    """The cluster, mended after the test."""
    yield shared
    for host in shared.hosts:
        host.thaw()
        host.join()
        host.kill()
        host.boot()
    for host in shared.hosts:
        shared.cluster.start(host)
    shared.cluster.wait(len(shared.hosts))


def rows_of(whole, storage):
    """The sum of the furthest updates of all runs, wherever they are."""
    reached = {}
    for host in whole.hosts:
        folder = whole.copy(host, storage)
        for path in run_folders(folder) if folder.exists() else ():
            row = last_row(path / "journal") if (path / "journal").exists() else None
            reached[path.name] = max(reached.get(path.name, 0), row["step"] if row else 0)
    return sum(reached.values())


def test_a_sweep_over_three_hosts_survives_a_dead_one(whole, swept, tmp_path):
    said = tmp_path / "said.txt"
    job = whole.launch(SMALL, "--no-packs", "--tracking", "none", storage="sweep", said=said)
    assert wait_for(lambda: rows_of(whole, "sweep") > 2_000 or job.poll() is not None, 180), said.read_text()
    whole.hosts[2].kill()
    assert job.wait(300) == 0, said.read_text()
    assert_whole(whole.fetched("sweep"), swept)


def test_a_dead_head_that_lost_its_disk_and_the_same_command_again(whole, swept, tmp_path):
    said = tmp_path / "said.txt"
    job = whole.launch(SMALL, "--no-packs", "--tracking", "none", storage="head", said=said)
    assert wait_for(lambda: rows_of(whole, "head") > 2_000 or job.poll() is not None, 180), said.read_text()
    began, reached = time.monotonic(), rows_of(whole, "head")
    for host in whole.hosts:
        host.kill()
        for path in sorted((host.scratch / "dev-shm").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        host.boot()
        whole.cluster.start(host)
    whole.cluster.wait(3)
    again = whole.launch(SMALL, "--no-packs", "--tracking", "none", storage="head", said=said)
    assert wait_for(lambda: rows_of(whole, "head") > reached or again.poll() is not None, 180), said.read_text()
    recovered("sweep in a bucket: all machines and their disks are lost", time.monotonic() - began)
    assert again.wait(300) == 0, said.read_text()
    assert_whole(whole.fetched("head"), swept)


def test_a_training_over_two_hosts_survives_a_killed_one(whole, alone, tmp_path):
    said, name = tmp_path / "said.txt", f"{STUDY.title()}/{STUDY.key()}"
    job = whole.launch(*COMMAND, storage="two", said=said)
    assert wait_for(lambda: rows_of(whole, "two") > 300 or job.poll() is not None, 180), said.read_text()
    victim = next(host for host in whole.hosts[1:] if (whole.copy(host, "two") / name).exists())
    reached, began = rows_of(whole, "two"), time.monotonic()
    victim.kill()
    assert wait_for(lambda: rows_of(whole, "two") > reached + 40 or job.poll() is not None, 180), said.read_text()
    recovered("training on two hosts, in a bucket: a worker's host is killed", time.monotonic() - began)
    assert job.wait(300) == 0, said.read_text()
    path = whole.fetched("two") / name
    assert read_result(path).status == "FINISHED"
    close(path, alone)


def test_a_host_that_was_cut_off_from_the_bucket_is_replaced_and_finds_out(whole, swept, tmp_path):
    """A driver whose cable is out goes on alone; another takes the sweep over, and the first one ends."""
    said, other_said = tmp_path / "said.txt", tmp_path / "other.txt"
    one, other = whole.hosts[1], whole.hosts[2]
    settings = {**whole.cluster.settings, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "none"}

    def local(host, said):
        return host.popen(sys.executable, SMALL, "--storage", "s3://runs/cut", "--no-packs", said=said, **settings)

    first = local(one, said)
    assert wait_for(lambda: rows_of(whole, "cut") > 2_000 or first.poll() is not None, 180), said.read_text()
    one.cut()
    second = local(other, other_said)
    lease = whole.copy(other, "cut") / SWEEP.slug / "lease" / "00000002.json"
    assert wait_for(lambda: lease.exists() or second.poll() is not None, 120), other_said.read_text()
    assert "place" in json.loads(lease.read_text())
    one.join()
    assert first.wait(120) == 1, said.read_text()
    assert "has taken over" in said.read_text()
    assert second.wait(300) == 0, other_said.read_text()
    assert_whole(whole.fetched("cut"), swept)
