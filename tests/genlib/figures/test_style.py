"""What every plane shares: points out of view are counted, and a reader can tell how long a length is."""

import numpy as np
import pytest

from genlib.figures.style import OUTSIDE, SCALE, Plane, dots, panels, show_plane

PLANE = Plane((-2.0, 2.0), (-2.0, 2.0), np.zeros((4, 4)))


@pytest.fixture
def axes():
    axes = panels(1, 1)[1][0]
    show_plane(axes, PLANE, ticks=False)
    return axes


def notes(axes, mark):
    return [text.get_text() for text in axes.texts if text.get_gid() == mark]


def test_points_in_view_need_no_note(axes):
    dots(axes, np.array([[0.0, 0.0], [2.0, -2.0]]))
    assert not notes(axes, OUTSIDE)


def test_points_out_of_view_are_counted_over_all_clouds(axes):
    dots(axes, np.array([[0.0, 0.0], [3.0, 0.0]]))
    assert notes(axes, OUTSIDE) == ["1 of 2 outside"]
    dots(axes, np.array([[0.0, -9.0], [0.0, 1.0], [np.nan, 0.0]]), "red")
    assert notes(axes, OUTSIDE) == ["3 of 5 outside"]
    dots(axes, np.full((3_000, 2), 40.0))
    assert notes(axes, OUTSIDE) == ["3,003 of 3,005 outside"]


def test_a_cloud_without_points_needs_no_note(axes):
    dots(axes, np.empty((0, 2)))
    assert not notes(axes, OUTSIDE)


@pytest.mark.parametrize(("half", "length"), [(0.6, 0.1), (1.5, 1), (5.0, 1), (40.0, 10)])
def test_planes_without_ticks_have_a_bar_as_long_as_it_says(half, length):
    axes = panels(1, 1)[1][0]
    show_plane(axes, Plane((1 - half, 1 + half), (-half, half), np.zeros((4, 4))), ticks=False)
    assert notes(axes, SCALE) == [f"{length:g}"]
    (bar,) = (line for line in axes.lines if line.get_gid() == SCALE)
    assert np.ptp(bar.get_xdata()) == pytest.approx(length)
