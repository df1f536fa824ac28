"""Panels of paths say their scale, and what is out of view; nothing that is written about them is cut."""

import numpy as np
import pytest
from support.legible import cut, overlaid, words

from genlib.figures import paths
from genlib.figures.style import Plane

PLANE = Plane((-2.5, 2.5), (-2.5, 2.5), np.zeros((4, 4)))
TIMES = np.linspace(1, 0, 5)


def to(*ends):
    """Straight paths from the origin."""
    return np.linspace(0, 1, 5)[None, :, None] * np.array(ends, dtype=float)[:, None, :]


def is_number(word):
    return word.replace("−", "").replace(".", "").isdigit()


@pytest.mark.parametrize("far", [1.0, 3.0, 5e4])
def test_inverse_paths_say_where_they_end(far):
    on = np.array([True, True, True, False, False])
    ends = to((1, 0), (0, 1), (-1, 1), (-far, 0), (0, -1))
    figure = paths.inverse_paths(ends, on, np.array([-2.5, -3.25, -3.0, -far * far, -1.0]), PLANE)
    assert not cut(figure)
    assert not overlaid(figure)
    lines = [word for word, _ in words(figure) if "‖z‖" in word]
    assert len(lines) == 5
    assert ["out of view" in line for line in lines] == [False, False, False, far > 100, False]


def test_every_panel_of_paths_has_numbers_on_its_axes():
    groups = {"one": to((3, 0), (0, 3)), "another": to((1, 1), (2, 1))}
    figure = paths.path_groups(groups, PLANE, np.array([0.1, 1.0]), np.array([[0.1, 0.2], [1.0, 2.0]]))
    words(figure)
    for axes in figure.axes[:2]:
        assert axes.get_xlabel() == "$x_1$"
        assert sum(is_number(label.get_text()) for label in axes.get_xticklabels()) >= 3
        assert sum(is_number(label.get_text()) for label in axes.get_yticklabels()) >= 3


def test_nothing_written_about_paths_is_cut():
    several = to((3, 0), (0, 3), (-1, -2))
    drawn = {
        "one noise": paths.one_noise(
            np.repeat(several[:1], 10, 0) * (1 + 1e-7 * np.eye(10)[:, :1, None]), TIMES, PLANE
        ),
        "forward": paths.forward_reverse(several[0], several[1], TIMES[::-1].copy(), PLANE),
        "classes": paths.class_paths(several, PLANE, ["0", "a long name of a class", "2"]),
        "timed": paths.timed_paths(several, TIMES, PLANE, title="three paths"),
        "layers": paths.layer_paths(several, PLANE, title="three points"),
    }
    for name, figure in drawn.items():
        assert not cut(figure), name
        assert not overlaid(figure), name


def test_layers_are_counted_in_full_numbers():
    figure = paths.layer_paths(to((3, 0)), PLANE, title="a point through 4 layers")
    words(figure)
    ticks = [label.get_text() for label in figure.axes[-1].get_yticklabels()]
    assert ticks
    assert all(tick.isdigit() for tick in ticks)
