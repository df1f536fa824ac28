"""What a sweep says while it runs and when it has ended."""

from dataclasses import replace
from pathlib import Path

from genlib import PointDiffusion
from tuning.report import draw_comparison, leader
from tuning.sweep import Measured, Sweep, Swept

STUDY = PointDiffusion.preset("tiny")


def swept(folder, **values):
    """Settings of the width, each with its metric by seed."""
    rows = [
        Measured({"width": int(name[1:]), "depth": 2}, replace(STUDY, width=int(name[1:])), dict(enumerate(measured)))
        for name, measured in values.items()
    ]
    return Swept(
        [], [replace(row, metrics={s: {"nll": v} for s, v in row.metrics.items()}) for row in rows], {}, folder
    )


def test_the_best_so_far_does_not_jump_when_a_second_seed_arrives():
    sweep = Sweep(name="widths", study=STUDY, space={"width": [8, 16], "depth": [2]}, metric="nll", seeds=(0, 1))
    before = leader(sweep, swept(Path(), w8=[0.2], w16=[0.1]))
    assert before == " · best nll 0.1 (width 16, depth 2)"
    assert leader(sweep, swept(Path(), w8=[0.2, 0.3], w16=[0.1])) == before
    assert leader(sweep, swept(Path(), w16=[float("nan")])) == ""


def test_the_comparison_of_words_is_drawn_too(tmp_path):
    sweep = Sweep(name="words", study=STUDY, space={"width": [8, 16], "depth": [2]}, metric="nll")
    picture = draw_comparison(sweep, swept(tmp_path, w8=[-0.2], w16=[0.1]), "width", "depth")
    assert picture == tmp_path / "comparison.png"
    assert picture.stat().st_size > 1_000
    assert draw_comparison(sweep, swept(tmp_path, w8=[-0.2]), "schedule", "depth") is None
