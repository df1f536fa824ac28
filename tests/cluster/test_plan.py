"""The plan: what cannot be placed is refused with both numbers, what is uploaded is counted."""

import pytest

from cluster.plan import Plan, upload_bytes
from cluster.workers import Workers
from genlib import InputError


def test_the_plan_refuses_what_cannot_be_placed_with_both_numbers():
    with pytest.raises(InputError, match=r"a run needs 8 CPUs .* there are 2"):
        Plan(1, 1, Workers(8, 8), {"CPU": 2.0, "GPU": 0.0}, 0.0).check()
    with pytest.raises(InputError, match=r"needs 1 GPUs .* there are 0"):
        Plan(1, 1, Workers(gpus=1), {"CPU": 2.0, "GPU": 0.0}, 0.0).check()


def test_the_upload_leaves_out_what_the_ignore_files_name(tmp_path):
    (tmp_path / "code.py").write_bytes(b"x" * 100)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "big").write_bytes(b"x" * 10_000)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "objects").write_bytes(b"x" * 10_000)
    (tmp_path / ".rayignore").write_text("runs/\n")
    assert upload_bytes(tmp_path) == 100 + 6
