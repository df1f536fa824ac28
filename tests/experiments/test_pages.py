"""The pages are up to date with what they are made of, and a stale one is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import Run
from experiments.claims import ClaimOptions, chosen_claims, effects, with_news
from experiments.command import record
from experiments.command.fields import described
from experiments.pages import write
from genlib import STUDIES, Claim, FlowMatching, InputError, views_of

ROOT = Path(__file__).parents[2]


def test_the_pages_are_what_would_be_written_now():
    command = [sys.executable, str(ROOT / "experiments" / "pages" / "write.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_stale_fails_the_check_and_is_written(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("Prose.\n\n<!-- verdict-counts -->\nOf 3 findings all hold.\n<!-- end -->\n\nMore prose.\n")
    monkeypatch.setattr(write, "PAGES", (page,))
    monkeypatch.setattr(write, "ROOT", tmp_path)
    with pytest.raises(SystemExit):
        write.main(write.Options(check=True))
    assert "stale: page.md" in capsys.readouterr().err
    write.main(write.Options())
    assert page.read_text().startswith("Prose.\n\n<!-- verdict-counts -->\nOf ")
    assert page.read_text().endswith("undecided at three seeds.\n<!-- end -->\n\nMore prose.\n")
    write.main(write.Options(check=True))


def test_a_number_that_changes_makes_its_page_stale(tmp_path, monkeypatch):
    before = write.written("<!-- results: text -->\n<!-- end -->")
    for path in record.RECORDED.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(record, "RECORDED", tmp_path)
    numbers = record.read_record("results")
    numbers["TinyGPT, report"]["nats_per_char"]["mean"] += 0.1
    record.write_record("results", numbers)
    after = write.written("<!-- results: text -->\n<!-- end -->")
    assert before != after
    assert f"{numbers['TinyGPT, report']['nats_per_char']['mean']:.3f}" in after


def test_an_unknown_block_is_named():
    with pytest.raises(InputError, match="there is no block 'weather'"):
        write.written("<!-- weather -->\n<!-- end -->")


def test_every_claim_has_its_verdict_and_every_verdict_follows_from_its_interval():
    recorded = record.read_record("claims")
    claims = [(kind.title(), claim) for kind in STUDIES for claim in views_of(kind).claims]
    claimed = {(study, claim.text, claim.measure) for study, claim in claims}
    known = {(one["study"], one["claim"], one["measure"]) for one in recorded}
    assert known == claimed
    for one in recorded:
        expected = "undecided"
        if one["low"] > one["margin"]:
            expected = "supported"
        elif one["high"] < one["margin"]:
            expected = "refuted"
        assert one["verdict"] == expected, one["claim"]


def test_new_verdicts_take_the_places_of_old_ones_and_stale_ones_go():
    recorded = record.read_record("claims")
    study, text = recorded[1]["study"], recorded[1]["claim"]
    stale = {**recorded[0], "claim": "what nobody claims any more"}
    news = [{**recorded[1], "mean": 7.0, "effects": (7.0, 7.0)}, {**recorded[0], "study": "mine.py:Mine"}]
    merged = with_news([recorded[0], stale, *recorded[2:]], news)
    assert [(one["study"], one["claim"]) for one in merged] == [(one["study"], one["claim"]) for one in recorded]
    assert merged[1] == {**recorded[1], "mean": 7.0}
    assert merged[0] == recorded[0]
    chosen = chosen_claims(ClaimOptions(studies=(study,), only=(text,)))
    assert [claim.text for claim in chosen[study]] == [text]


def test_a_claim_measures_a_run_under_its_own_evaluation_fields(tmp_path):
    Run(FlowMatching.preset("tiny", samples=120), tmp_path).execute(figures=False)
    study = FlowMatching.preset("tiny", samples=70)
    claim = Claim("as many are drawn", (study,), lambda runs: len(runs[0].evaluation.samples["x"]), "samples")
    assert effects(Run(study, tmp_path), claims=[(0, claim)], storage=str(tmp_path)) == {0: 70}


def test_a_summary_is_a_mean_with_its_interval():
    assert record.summary([1.0]) == {"mean": 1.0, "seeds": 1}
    numbers = record.summary([1.0, 2.0, 3.0])
    assert (numbers["mean"], numbers["seeds"]) == (2.0, 3)
    assert numbers["half"] == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert record.cell(numbers, 2) == "2.00 ± 2.48"
    assert record.cell(None, 2) == "–"
    json.dumps(numbers)


def test_every_field_is_described(kind):
    fields = described(kind)
    assert [field.name for field in fields] == list(kind().fields())
    for field in fields:
        first, *_ = field.meaning.split()
        assert field.meaning.endswith((".", ")")), field
        assert first not in {"Of", "Those", "Whose", "Their", "Its", "And"}, f"{kind.title()} {field.name}"
