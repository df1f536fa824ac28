"""One writer: a living one is not disturbed, a dead one is replaced, who was taken over cannot write any more."""

import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from support.evidence import wait_for

import cluster.holders as holders_module
import cluster.lease as lease_module
from cluster.files import StorageFailed, sealed, unsealed
from cluster.holders import LAPSE
from cluster.journal import Journal, read_rows
from cluster.lease import Fenced, Held, Lease, are_silent, is_alive, is_held_here, read_holder


def in_another_process(code, *arguments, **pipes):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **pipes
    )


HOLD = """
import sys, time
from pathlib import Path
from cluster.lease import Lease
lease = Lease.claim(Path(sys.argv[1]), drivers={"sweep": 2}); lease.keep(); print("held", flush=True); time.sleep(60)
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
    second = Lease.claim(tmp_path / "lease", anyhow=True)
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


def elsewhere(folder, *, epoch=1, **more):
    """A lease whose holder has this process's hostname, id and start, in another place."""
    lease = Lease.claim(folder)
    holder = unsealed(lease.path.read_text()) | {"epoch": epoch, "place": "another boot pid:[1]"} | more
    lease.path.write_text(sealed(holder))
    return lease.path


@pytest.mark.parametrize("clock", [-3_600, 0, 3_600])
def test_a_holder_elsewhere_is_dead_when_it_is_silent_for_long_whatever_its_clock_says(tmp_path, monkeypatch, clock):
    passed = 0.0
    monkeypatch.setattr(holders_module, "time", SimpleNamespace(monotonic=lambda: passed))
    path = elsewhere(tmp_path)
    for beat in range(4):
        os.utime(path, (time.time() + clock + beat, time.time() + clock + beat))
        for _ in range(4):
            assert is_alive(tmp_path)
            passed += LAPSE / 5
    for _ in range(2):
        assert is_alive(tmp_path)
        passed += LAPSE / 5
    assert not is_alive(tmp_path)
    assert Lease.claim(tmp_path).epoch == 2


def test_a_holder_elsewhere_is_watched_before_it_is_refused_or_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(holders_module, "LAPSE", 3.0)
    path, ended = elsewhere(tmp_path / "beats"), threading.Event()

    def beat():
        while not ended.wait(0.1):
            os.utime(path)

    heart = threading.Thread(target=beat)
    heart.start()
    silent = elsewhere(tmp_path / "silent").parent
    with pytest.raises(Held, match="is writing"):
        Lease.claim(path.parent)
    assert are_silent([path.parent, silent], seconds=0.5) == {silent}
    ended.set()
    heart.join()
    assert Lease.claim(silent).epoch == 2


def test_equal_hostnames_and_process_ids_in_two_places_are_two_processes(tmp_path):
    elsewhere(tmp_path)
    assert not is_held_here(tmp_path)
    mine = Lease.claim(tmp_path / "mine")
    assert is_held_here(tmp_path / "mine")
    holder = unsealed(mine.path.read_text())
    mine.path.write_text(sealed(holder | {"started": holder["started"] + 1}))  # the number was given out again
    assert not is_alive(tmp_path / "mine")
    mine.path.write_text(sealed(holder).replace('"pid"', '"pit"'))  # damaged: it may be anybody's
    assert is_alive(tmp_path / "mine")


def test_only_the_same_or_a_newer_driver_takes_a_lease_by_force(tmp_path):
    with in_another_process(HOLD, tmp_path) as other:
        try:
            assert other.stdout.readline() == "held\n"  # for the driver of epoch 2
            for drivers in ({}, {"another": 9}):
                with pytest.raises(Held):
                    Lease.claim(tmp_path, drivers=drivers, force=True)
            with pytest.raises(Fenced, match="a newer driver"):
                Lease.claim(tmp_path, drivers={"sweep": 1}, force=True)
            with pytest.raises(Held):
                Lease.claim(tmp_path, drivers={"sweep": 2})
            taken = Lease.claim(tmp_path, drivers={"sweep": 2, "driver": 1}, force=True)
            assert taken.epoch == 2
        finally:
            other.kill()
    taken.release()
    with pytest.raises(Fenced, match="a newer driver"):  # also when nobody holds it any more
        Lease.claim(tmp_path, drivers={"sweep": 1})
    assert Lease.claim(tmp_path, drivers={"sweep": 3}).epoch == 3


def test_a_storage_that_is_away_for_a_moment_ends_no_heart(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT", 0.1)
    lease = Lease.claim(tmp_path / "there" / "lease")
    lease.keep()
    (tmp_path / "there").rename(tmp_path / "away")
    with pytest.raises(StorageFailed, match="is not there"):
        lease.check()
    time.sleep(0.5)
    (tmp_path / "away").rename(tmp_path / "there")
    before = lease.path.stat().st_mtime_ns
    assert wait_for(lambda: lease.path.stat().st_mtime_ns > before, 20)  # the heart may have slept before it was fast
    lease.check()
    lease.release()


def test_who_was_taken_over_hears_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT", 0.1)
    lease, heard = Lease.claim(tmp_path), threading.Event()
    lease.keep(fenced=heard.set)
    Lease.claim(tmp_path, anyhow=True)
    assert heard.wait(20)


def test_a_claim_whose_answer_was_lost_is_a_claim(tmp_path, monkeypatch):
    link = os.link

    def lost(*places):
        link(*places)
        link(*places)  # the client asks again

    monkeypatch.setattr(os, "link", lost)
    assert Lease.claim(tmp_path).epoch == 1


def test_an_orphaned_trial_ends_with_its_driver(tmp_path):
    code = "import sys,time\nfrom pathlib import Path\nfrom cluster.lease import Lease, exit_when_lapsed\n"
    driver = Lease.claim(tmp_path)
    code += "with exit_when_lapsed(Path(sys.argv[1]), 1): print('works', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as trial:
        assert trial.stdout.readline() == "works\n"
        driver.release()
        assert trial.wait(timeout=30) == 3
