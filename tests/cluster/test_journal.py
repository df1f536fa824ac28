"""The journal: half-written lines do not count, damage is noticed, gaps are filled, nothing stands twice."""

import json
import random

import pytest

import cluster.journal as journal_module
from cluster.journal import Journal, Tail, read_rows
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


@pytest.mark.parametrize("seed", range(20))
def test_a_tail_tells_every_row_once_and_reads_only_what_is_new(tmp_path, monkeypatch, seed):
    chance, told, tail = random.Random(seed), [], Tail(tmp_path / "journal")
    writer, step, read = journal(tmp_path), 0, [0]
    unsealed = journal_module.unsealed

    def counted(line):
        read[0] += 1
        return unsealed(line)

    monkeypatch.setattr(journal_module, "unsealed", counted)
    for _ in range(60):
        what = chance.choice(["row", "row", "row", "look", "look", "half", "writer", "damage"])
        newest = max((tmp_path / "journal").glob("*.jsonl"), default=None)
        if what == "row":
            step += 10
            writer.append(step, {"loss": 1 / step})
        elif what == "look":
            read[0], before = 0, list(told)
            told += tail.rows()
            if told == before and newest and chance.random() < 0.5:
                read[0] = 0
                assert tail.rows() == []
                assert read[0] <= 1  # nothing is read again, but for a first line that is still to come
        elif what == "half" and newest:
            with open(newest, "a") as file:
                file.write('{"step": 9')
            writer = journal(tmp_path)
            step = writer.last_step
        elif what == "writer":
            writer = journal(tmp_path)
            step = writer.last_step
        elif what == "damage" and newest and chance.random() < 0.3:
            lines = newest.read_text().splitlines(keepends=True)
            place = chance.randrange(1, len(lines) + 1) - 1
            newest.write_text("".join([*lines[:place], lines[place].replace('"', "'", 1), *lines[place + 1 :]]))
            writer = journal(tmp_path)
            step = writer.last_step
    told += tail.rows()
    steps = [row["step"] for row in told]
    assert steps == sorted(set(steps))
    now = {row["step"]: row["metrics"] for row in read_rows(tmp_path / "journal")}
    assert {row["step"]: row["metrics"] for row in told if row["step"] in now} == now


def test_a_tail_does_not_tell_what_stands_behind_a_gap(tmp_path):
    first = journal(tmp_path)
    for step in (10, 20):
        first.append(step, {"loss": 1.0})
    journal(tmp_path).append(30, {"loss": 1.0})
    path = tmp_path / "journal" / "00000001.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    tail = Tail(tmp_path / "journal")
    assert [row["step"] for row in tail.rows()] == [10]
    with open(tmp_path / "journal" / "00000002.jsonl", "a") as file:
        file.write(journal_module.sealed({"step": 40, "time": 1.0, "metrics": {"loss": 1.0}}) + "\n")
    assert tail.rows() == []
    third = journal(tmp_path)
    third.append(20, {"loss": 1.0})
    assert [row["step"] for row in tail.rows()] == [20]


def test_a_long_journal_costs_what_was_added(tmp_path, monkeypatch):
    writer, tail = journal(tmp_path), Tail(tmp_path / "journal")
    for step in range(1, 2_001):
        writer.append(step, {"loss": 1.0}, synced=False)
    assert len(tail.rows()) == 2_000
    read = []
    unsealed = journal_module.unsealed
    monkeypatch.setattr(journal_module, "unsealed", lambda line: read.append(line) or unsealed(line))
    writer.append(2_001, {"loss": 1.0})
    assert [row["step"] for row in tail.rows()] == [2_001]
    assert len(read) == 1
