"""One writer: a living one is not disturbed, a dead one is replaced, who was taken over cannot write any more."""

import json
import os
import subprocess
import sys
import time

import pytest

from cluster.files import sealed
from cluster.journal import Journal, read_rows
from cluster.lease import Fenced, Held, Lease, is_alive, read_holder


def in_another_process(code, *arguments, **pipes):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **pipes
    )


HOLD = """
import sys, time
from pathlib import Path
from cluster.lease import Lease
lease = Lease.claim(Path(sys.argv[1])); lease.keep(); print("held", flush=True); time.sleep(60)
"""


def test_a_living_writer_is_not_disturbed_and_a_dead_one_is_replaced(tmp_path):
    with in_another_process(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Held, match=f"process {other.pid} on .* is writing"):
            Lease.claim(tmp_path)
        assert is_alive(tmp_path)
        other.kill()
    assert not is_alive(tmp_path)
    assert Lease.claim(tmp_path).epoch == 2


def test_who_was_taken_over_cannot_write_any_more(tmp_path):
    first = Lease.claim(tmp_path / "lease")
    orphan = Journal(tmp_path / "journal", first)
    orphan.append(10, {"loss": 1.0})
    second = Lease.claim(tmp_path / "lease", force=True)
    with pytest.raises(Fenced):
        orphan.append(20, {"loss": 0.5})
    heir = Journal(tmp_path / "journal", second)
    heir.append(20, {"loss": 0.25})
    # Even what the orphan wrote between its last look and its write does not count:
    with open(tmp_path / "journal" / "00000001.jsonl", "a") as file:
        file.write(sealed({"step": 20, "time": 0.0, "metrics": {"loss": 9.0}}) + "\n")
    assert [(row["step"], row["metrics"]["loss"]) for row in read_rows(tmp_path / "journal")] == [(10, 1.0), (20, 0.25)]


CLAIM = """
import os, sys, time
from pathlib import Path
from cluster.lease import Held, Lease
folder, go = map(Path, sys.argv[1:])
for _ in range(6):
    if os.fork() == 0:
        os.write(1, b"ready\\n")
        while not go.exists():
            time.sleep(0.001)
        try:
            lease = Lease.claim(folder)
        except Held:
            os.write(1, b"refused\\n")
        else:
            lease.keep()
            os.write(1, b"held\\n")
            sys.stdin.read()
        os._exit(0)
for _ in range(6):
    os.wait()
"""


def test_of_many_claimers_one_gets_the_lease(tmp_path):
    with in_another_process(CLAIM, tmp_path / "lease", tmp_path / "go", stdin=subprocess.PIPE) as claimers:
        assert [claimers.stdout.readline() for _ in range(6)] == ["ready\n"] * 6
        (tmp_path / "go").touch()
        said = [claimers.stdout.readline() for _ in range(6)]
        claimers.communicate()
    assert sorted(said) == ["held\n", *["refused\n"] * 5]


def test_a_lease_that_was_released_is_nobodys(tmp_path):
    lease = Lease.claim(tmp_path)
    lease.keep()
    assert read_holder(tmp_path)["pid"] == os.getpid()
    lease.release()
    assert read_holder(tmp_path) is None
    assert Lease.claim(tmp_path).epoch == 2


def test_a_heartbeat_from_elsewhere_counts_for_twenty_seconds(tmp_path):
    tmp_path.joinpath("00000001.json").write_text(json.dumps({"epoch": 1, "host": "elsewhere", "pid": 1, "started": 0}))
    assert is_alive(tmp_path)
    old = time.time() - 30
    os.utime(tmp_path / "00000001.json", (old, old))
    assert not is_alive(tmp_path)


def test_an_orphaned_trial_ends_with_its_driver(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease, exit_when_lapsed\n"
    driver = Lease.claim(tmp_path)
    code += "with exit_when_lapsed(Path(sys.argv[1]), 1): print('works', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as trial:
        assert trial.stdout.readline() == "works\n"
        driver.release()
        assert trial.wait(timeout=30) == 3
