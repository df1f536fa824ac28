"""A sweep's picture shows every setting, whatever its sign, and every interval there is."""

import math

import numpy as np
import pytest

from genlib.figures.comparison import FEW, MARKS, Row, comparison

NAMES = ("weight_decay", "kind", None)


def drawn(rows, **given):
    figure = comparison(rows, **{"names": NAMES, "metric": "nll"} | given)
    figure.draw_without_rendering()
    return figure


def points(axes):
    """Every marker of a setting: no interval, no ring and no floor."""
    named = [line for line in axes.lines if line.get_marker() in MARKS and line.get_label() != "the best"]
    return np.concatenate([np.column_stack(line.get_data()) for line in named])


@pytest.mark.parametrize("values", [(-0.02, 0.3), (0.0, 0.3), (-3.0, -0.1), (1e-3, 1e3), (2.0, 2.0)])
@pytest.mark.parametrize(
    "places", [(0.0, 1e-4, 1e-2), (-1.0, 0.0, 1.0), (5, 20, 100), (60, 64, 70), ("relu", "silu", "é")]
)
def test_every_setting_is_in_the_view(values, places):
    rows = [Row(place, "a", None, [value]) for place, value in zip(places, (*values, values[0]), strict=True)]
    axes = drawn(rows, best=rows[0]).axes[0]
    at = axes.transAxes.inverted().transform(axes.transData.transform(points(axes)))
    assert len(at) == 3
    assert np.isfinite(at).all()
    assert ((at > 0) & (at < 1)).all()


def test_a_setting_of_one_seed_takes_no_interval_from_its_neighbours():
    rows = [Row(1, "a", None, [1.0, 1.1, 0.9]), Row(2, "a", None, [1.0]), Row(3, "a", None, [2.0, 2.1])]
    bars = [
        line for line in drawn(rows).axes[0].lines if line.get_linestyle() == "-" and len(set(line.get_xdata())) == 1
    ]
    assert sorted(line.get_xdata()[0] for line in bars) == [1, 3]


def test_ticks_of_drawn_values_do_not_overlap():
    random = np.random.default_rng(0)
    drawn_values = np.exp(random.uniform(math.log(1e-4), math.log(1e-2), FEW + 20))
    figure = drawn([Row(float(value), "a", None, [1.0]) for value in drawn_values])
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
    low, high = figure.axes[0].bbox.x0, figure.axes[0].bbox.x1
    boxes = sorted((box for box in boxes if low <= (box.x0 + box.x1) / 2 <= high), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:], strict=False))


def test_the_best_has_a_ring_that_the_legend_names():
    rows = [Row(1, "a", 1, [2.0]), Row(1, "a", 2, [1.0])]
    figure = drawn(rows, names=("across", "by", "panel"), best=rows[1])
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["a", "the best"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["_"]


@pytest.mark.parametrize("values", [[math.nan], [math.inf, math.nan], []])
def test_nothing_to_show_is_an_empty_picture(values):
    rows = [Row("a", "x", None, values), Row("b", "x", None, values)]
    assert drawn(rows, best=rows[0]).axes[0].lines[:] == []


def test_lines_may_be_called_anything():
    rows = [Row(1, name, None, [float(k)]) for k, name in enumerate(("", "_hidden", None, True, 0.123456))]
    figure = drawn(rows, best=rows[0])
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["", "_hidden", "None", "True", "0.123", "the best"]


def test_a_value_that_is_not_finite_is_left_out():
    assert len(points(drawn([Row(1, "a", None, [math.nan]), Row(2, "a", None, [1.0, math.inf])]).axes[0])) == 1
