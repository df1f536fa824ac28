"""Hosts that die, sleep and lose their cable: the plain same command ends in the undisturbed run's journal and weights.

How long each recovery took is said at the end of the test (`pytest -s`), and kept where GENLIB_RECOVERY names a file.
"""

import json
import sys
import time
from pathlib import Path

import pytest
from support.evidence import dice, mlflow_equals_journal, mlflow_runs, wait_for
from support.ray_hosts import ray_on
from support.scripts import ROOT
from support.small_sweep import SWEEP, assert_whole
from support.two_workers import COMMAND, STUDY, close, recovered

from cluster.directory import read_result
from cluster.journal import last_row
from cluster.mirror import tracking_uri
from cluster.run import Run
from cluster.storage import run_folders

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SMALL = ROOT / "tests" / "support" / "small_sweep.py"


@pytest.fixture(scope="module")
def cluster(hosts, tmp_path_factory):
    with ray_on(hosts, tmp_path_factory.mktemp("ray")) as made:
        yield made


@pytest.fixture
def whole(cluster):
    """The cluster, mended after the test."""
    yield cluster
    for host in cluster.hosts:
        host.thaw()
        host.join()
    for host in cluster.hosts:
        host.kill()
        host.boot()
        cluster.start(host)
    cluster.wait(len(cluster.hosts))


def step_of(path):
    row = last_row(path / "journal") if (path / "journal").exists() else None
    return row["step"] if row else 0


FAULTS = {
    "a worker's host is killed": (lambda host: host.kill(), lambda host: host.boot(), 5),
    "a worker's cable is cut for 40 s": (lambda host: host.cut(), lambda host: host.join(), 40),
    "a worker's host is frozen for 30 s": (lambda host: host.freeze(), lambda host: host.thaw(), 30),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_training_over_two_hosts_survives(whole, fault, alone, tmp_path):
    harm, mend, seconds = FAULTS[fault]
    storage = whole.hosts.shared / f"training-{list(FAULTS).index(fault)}"
    path = Run(STUDY, storage).path
    job = whole.launch(*COMMAND, "--storage", storage, said=tmp_path / "said.txt")
    at = dice(fault).randrange(200, 1_200)
    assert wait_for(lambda: step_of(path) >= at or job.poll() is not None, 180), (tmp_path / "said.txt").read_text()
    assert job.poll() is None, (tmp_path / "said.txt").read_text()
    victim = next(host for host in whole.hosts[1:] if any("RayTrainWorker" in name for name in names(host)))
    harm(victim)
    began, reached = time.monotonic(), step_of(path)
    mended = False
    recovery = None
    while job.poll() is None:
        if not mended and time.monotonic() - began > seconds:
            mend(victim)
            mended = True
        # What was under way at the moment of the fault may still arrive.
        if recovery is None and step_of(path) > reached + 2 * STUDY.log_every:
            recovery = time.monotonic() - began
        assert time.monotonic() - began < 300, (tmp_path / "said.txt").read_text()
        time.sleep(0.1)
    assert job.returncode == 0, (tmp_path / "said.txt").read_text()
    assert recovery is not None
    recovered(f"training on two hosts: {fault}", recovery)
    assert read_result(path).status == "FINISHED"
    close(path, alone)


def names(host):
    """What runs there."""
    found = []
    for process in host.processes():
        try:
            found.append(Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def rows_of(storage):
    return sum(step_of(path) for path in run_folders(storage)) if storage.exists() else 0


def sweep(cluster, storage, said):
    return cluster.launch(SMALL, "--storage", storage, "--no-packs", "--tracking", "none", said=said)


def test_a_sweep_over_three_hosts_survives_a_dead_one(whole, swept, tmp_path):
    storage, said = whole.hosts.shared / "sweep", tmp_path / "said.txt"
    job = sweep(whole, storage, said)
    assert wait_for(lambda: rows_of(storage) > 2_000 or job.poll() is not None, 180), said.read_text()
    whole.hosts[2].kill()
    assert job.wait(300) == 0, said.read_text()
    assert_whole(storage, swept)


def test_a_dead_head_and_the_same_command_again(whole, swept, tmp_path):
    storage, said = whole.hosts.shared / "head", tmp_path / "said.txt"
    job = sweep(whole, storage, said)
    assert wait_for(lambda: rows_of(storage) > 2_000 or job.poll() is not None, 180), said.read_text()
    began = time.monotonic()
    whole.hosts[0].kill()
    for host in whole.hosts:  # the raylets end with their head: deployments start them again
        host.kill()
        host.boot()
    reached = rows_of(storage)
    for host in whole.hosts:
        whole.start(host)
    whole.wait(3)
    again = sweep(whole, storage, said)
    assert wait_for(lambda: rows_of(storage) > reached or again.poll() is not None, 180), said.read_text()
    recovered("sweep: the head is killed, and the same command given again", time.monotonic() - began)
    assert again.wait(300) == 0, said.read_text()
    assert_whole(storage, swept)


def test_of_two_drivers_at_the_same_instant_one_drives(whole, swept, tmp_path):
    storage = whole.hosts.shared / "two"
    said = [tmp_path / "one.txt", tmp_path / "two.txt"]
    jobs = [sweep(whole, storage, file) for file in said]
    codes = sorted(job.wait(300) for job in jobs)
    assert codes == [0, 2], [file.read_text() for file in said]
    assert "is being driven already" in "".join(file.read_text() for file in said)
    assert_whole(storage, swept)


def test_a_driver_that_slept_is_fenced(whole, swept, tmp_path):
    storage, said = whole.hosts.shared / "slept", tmp_path / "said.txt"
    one, other = whole.hosts[1], whole.hosts[2]

    def local(host):
        return host.popen(sys.executable, SMALL, "--storage", storage, "--no-packs", said=said,
                          **{**whole.settings, "OMP_NUM_THREADS": "1"})  # fmt: skip

    first = local(one)
    assert wait_for(lambda: rows_of(storage) > 2_000 or first.poll() is not None, 180), said.read_text()
    one.freeze()
    second = local(other)
    assert wait_for(lambda: "epoch" in (newest := newest_lease(storage)) and newest["epoch"] == 2, 60), said.read_text()
    time.sleep(5)
    one.thaw()
    assert first.wait(60) == 1, said.read_text()
    assert second.wait(300) == 0, said.read_text()
    assert "has taken over" in said.read_text()
    assert_whole(storage, swept)
    uri = tracking_uri(storage)
    mlflow_equals_journal(storage, uri, "a driver that slept")
    assert len(mlflow_runs(uri)[1]) == len(swept) + 1


def newest_lease(storage):
    paths = sorted((storage / SWEEP.slug / "lease").glob("*.json"))
    try:
        return json.loads(paths[-1].read_text()) if paths else {}
    except (OSError, ValueError):
        return {}


@pytest.mark.parametrize("state", ["full", "read_only"])
def test_a_shared_folder_that_takes_nothing_for_a_while(whole, state, swept, tmp_path):
    storage, said = whole.hosts.shared / state, tmp_path / "said.txt"
    job = sweep(whole, storage, said)
    assert wait_for(lambda: rows_of(storage) > 2_000 or job.poll() is not None, 180), said.read_text()
    with getattr(whole.hosts, state)():
        before = rows_of(storage)
        time.sleep(10)
        # It was noticed, on each host at its run's next checkpoint: a line may fit where a file does not.
        assert rows_of(storage) <= before + len(whole.hosts) * SWEEP.study.validate_every
    code = job.wait(300)
    if code:  # what could not go on has failed with a sentence
        assert code == 1, said.read_text()
        again = sweep(whole, storage, said)
        assert again.wait(300) == 0, said.read_text()
    assert "Traceback" not in said.read_text()
    assert_whole(storage, swept)
