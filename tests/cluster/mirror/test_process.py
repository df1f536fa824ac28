"""The mirror's process: it imports nothing from the storage that it shows, and takes no core from training."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from cluster.lease import Lease, is_alive, read_holder
from cluster.mirror import NOWHERE, mirror_folder, process, start_mirror, wait_until_shown
from cluster.storage import open_storage


def end(folder):
    """End the mirror that holds a folder."""
    holder = read_holder(folder / "lease")
    while holder is not None and is_alive(folder / "lease"):
        os.kill(holder["pid"], signal.SIGTERM)
        time.sleep(0.05)
        holder = read_holder(folder / "lease")


def test_files_planted_where_it_starts_are_not_run(tmp_path):
    storage = open_storage(tmp_path / "runs")
    folder = mirror_folder(storage)
    mark = tmp_path / "it-ran"
    for name in ("subprocess.py", "cluster/__init__.py", "cluster/mirror/__main__.py", "torch.py", "sitecustomize.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"open({str(mark)!r}, 'w').close()\n")
    start_mirror(storage)
    try:
        assert wait_until_shown(storage) is None
        assert not mark.exists()
    finally:
        end(folder)


def test_it_takes_little_from_who_trains(tmp_path):
    storage = open_storage(tmp_path / "runs")
    folder = mirror_folder(storage)
    start_mirror(storage)
    try:
        while not is_alive(folder / "lease"):
            time.sleep(0.05)
        process = psutil.Process(read_holder(folder / "lease")["pid"])
        assert process.nice() == 10
        assert os.getsid(process.pid) not in (process.pid, os.getsid(0))  # nobody's child, in a session of its own
        group = Path(f"/proc/{process.pid}/autogroup")
        if group.exists():  # Linux shares the cores out among sessions
            assert group.read_text().split()[-2:] == ["nice", "10"]
    finally:
        end(folder)


def test_nowhere_is_no_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOWHERE)
    storage = open_storage(tmp_path / "runs")
    start_mirror(storage)
    assert wait_until_shown(storage) is None
    assert not (storage / ".mirror").exists()


def test_nobody_waits_for_a_storage_that_was_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "AWAY", 0.2)
    monkeypatch.setattr(process, "LOOK", 0.05)
    lease = Lease.claim(tmp_path / "lease")
    process._work(tmp_path / "deleted", lease, [], stays=False)
    assert not (tmp_path / "deleted").exists()
    monkeypatch.setattr(process, "MARK", "x" * 300)  # what is asked for it answers with an error
    process._work(tmp_path / "deleted", lease, [], stays=False)


def test_who_waits_for_mlflow_is_patient(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOOK", 0.05)
    monkeypatch.setattr(process, "PATIENCE", None)  # what is compared with it fails
    lease = Lease.claim(tmp_path / "lease")
    open_storage(tmp_path / "there")
    (tmp_path / "there" / "mlflow.db").write_text("no database, " * 1_000)
    with pytest.raises(TypeError, match="NoneType"):
        process._work(tmp_path / "there", lease, [], stays=False)
