"""What listens while a sweep runs here is on the list, and so is the list in SECURITY.md."""

import psutil
import ray
from support.doors import ANYWHERE, DOORS, doors_of
from support.scripts import ROOT


def test_a_local_session_opens_no_door_beyond_this_machine_but_those_that_are_named(session):
    @ray.remote
    def work():
        return 1

    assert ray.get(work.remote()) == 1
    found = doors_of(psutil.Process())
    assert {"gcs_server", "raylet"} <= {door.what for door in found}
    assert {door.what for door in found} <= DOORS.keys(), found
    assert {door.what for door in found if door.anywhere} <= ANYWHERE, found


def test_security_names_every_door():
    text = (ROOT / "SECURITY.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for what, asks in DOORS.items():
        assert asks in rows[what]
        assert ("every address" in rows[what]) == (what in ANYWHERE)
