"""One writer, on several hosts: neither names nor process ids nor a nap make two of them."""

import sys
import time

import pytest
from support.scripts import ROOT

from cluster.files import read_json
from cluster.journal import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HOLD = """
import sys, time
from pathlib import Path
from cluster.lease import Held, Lease
try:
    lease = Lease.claim(Path(sys.argv[1]))
except Held as error:
    print(error, flush=True)
    sys.exit(2)
lease.keep()
print("held", lease.epoch, flush=True)
time.sleep(600)
"""
TRAIN = ["point-diffusion", "--preset", "tiny", "--steps", "1500", "--validate-every", "100", "--log-every", "20",
         "--samples", "100", "--likelihood-points", "20", "--width", "128", "--batch-size", "1000"]  # fmt: skip


def hold(host, folder):
    return host.popen(sys.executable, "-c", HOLD, folder, PYTHONPATH=str(ROOT))


def test_a_writer_elsewhere_of_the_same_name_and_number_is_not_robbed(hosts, tmp_path):
    folder = hosts.shared / "held"
    one, other, _ = hosts
    for host in (one, other):
        assert host.run("hostname", "the-same").returncode == 0
    first = hold(one, folder)
    try:
        assert first.stdout.readline() == "held 1\n"
        second = hold(other, folder)
        assert "the-same is writing to" in second.communicate(timeout=60)[0]
        assert second.returncode == 2
    finally:
        one.kill()
        one.boot()
    began = time.monotonic()
    third = hold(other, folder)
    try:
        lines = [third.stdout.readline(), third.stdout.readline()]
        assert "watching for 20 seconds whether it still does" in lines[0]
        assert lines[1] == "held 2\n"
        assert time.monotonic() - began > 19
    finally:
        other.kill()
        other.boot()


def test_a_trainer_that_slept_is_fenced_and_the_run_is_the_undisturbed_one(hosts, tmp_path):
    from support.evidence import assert_same_run, wait_for

    from cluster.directory import read_result

    def train(host, storage):
        script = ROOT / "experiments" / "train.py"
        said = tmp_path / f"{host.name}.txt"
        return host.popen(sys.executable, script, *TRAIN, "--storage", storage, said=said, MLFLOW_TRACKING_URI="none")

    one, other, third = hosts
    assert train(third, hosts.shared / "undisturbed").wait(300) == 0
    (undisturbed,) = (hosts.shared / "undisturbed").glob("point-diffusion/*")
    first = train(one, hosts.shared / "runs")
    path = hosts.shared / "runs" / "point-diffusion" / undisturbed.name
    assert wait_for(lambda: len(read_rows(path / "journal")) > 10, 120)
    one.freeze()
    slept = read_rows(path / "journal")[-1]["step"]
    assert slept < 1_500, "it was too fast for this test"
    second = train(other, hosts.shared / "runs")
    try:
        assert wait_for(lambda: read_rows(path / "journal")[-1]["step"] > slept, 120)
        one.thaw()
        assert first.wait(60) == 1
        assert second.wait(300) == 0
    finally:
        one.thaw()
    assert "has taken over" in (tmp_path / f"{one.name}.txt").read_text()
    assert read_result(path).status == "FINISHED"
    assert_same_run(path, undisturbed, "a trainer that slept")
    assert read_json(path / "result.json")["status"] == "FINISHED"
