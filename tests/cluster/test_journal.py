"""The journal: half-written lines do not count, damage is noticed, gaps are filled, nothing stands twice."""

import json

import pytest

from cluster.journal import Journal, read_rows
from cluster.lease import Lease


def journal(folder, force=True):
    return Journal(folder / "journal", Lease.claim(folder / "lease", force=force))


def seen(folder):
    return [(row["step"], row["metrics"]["loss"]) for row in read_rows(folder / "journal")]


def test_a_half_written_line_does_not_count(tmp_path):
    first = journal(tmp_path)
    first.append(10, {"loss": 1.0})
    first.append(20, {"loss": 0.5})
    path = tmp_path / "journal" / "00000001.jsonl"
    with open(path, "a") as file:
        file.write('{"step": 30, "metr')
    assert seen(tmp_path) == [(10, 1.0), (20, 0.5)]
    second = journal(tmp_path)
    assert second.last_step == 20
    second.append(20, {"loss": 9.0})
    second.append(30, {"loss": 0.25})
    assert seen(tmp_path) == [(10, 1.0), (20, 0.5), (30, 0.25)]


def test_a_flipped_bit_is_noticed_and_what_follows_is_written_again(tmp_path):
    first = journal(tmp_path)
    for step in (10, 20, 30):
        first.append(step, {"loss": 1 / step})
    path = tmp_path / "journal" / "00000001.jsonl"
    path.write_text(path.read_text().replace('"step": 20', '"step": 21'))
    assert [step for step, _ in seen(tmp_path)] == [10]
    second = journal(tmp_path)
    for step in (10, 20, 30):
        second.append(step, {"loss": 1 / step})
    assert [step for step, _ in seen(tmp_path)] == [10, 20, 30]


def test_a_lost_end_leaves_no_gap(tmp_path):
    first = journal(tmp_path)
    for step in (10, 20):
        first.append(step, {"loss": 1.0})
    journal(tmp_path).append(30, {"loss": 1.0})
    path = tmp_path / "journal" / "00000001.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")  # step 20 is gone, 30 stands behind a gap
    assert [step for step, _ in seen(tmp_path)] == [10]
    third = journal(tmp_path)
    third.append(20, {"loss": 1.0})
    third.append(30, {"loss": 1.0})
    assert [step for step, _ in seen(tmp_path)] == [10, 20, 30]


def test_numbers_that_are_none_survive_json(tmp_path):
    journal(tmp_path).append(10, {"loss": float("inf"), "gap": float("nan")})
    (row,) = read_rows(tmp_path / "journal")
    assert row["metrics"]["loss"] == float("inf")
    assert row["metrics"]["gap"] != row["metrics"]["gap"]
    json.loads((tmp_path / "journal" / "00000001.jsonl").read_text().splitlines()[1], parse_constant=pytest.fail)
