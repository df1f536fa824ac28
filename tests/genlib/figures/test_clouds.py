"""Clouds that lie far off are told of, in points and in densities; legends of classes stay on the canvas."""

import numpy as np
import pytest
from support.legible import cut, words

from genlib.figures import clouds
from genlib.figures.style import OUTSIDE, Plane

PLANE = Plane((-2.0, 2.0), (-2.0, 2.0), np.arange(16).reshape(4, 4) % 5)
FAR = np.full((100, 2), 50.0)


def notes(axes):
    return [text.get_text() for text in axes.texts if text.get_gid() == OUTSIDE]


def test_an_empty_panel_says_where_its_points_are():
    figure = clouds.cloud_panels({"data": FAR * 0, "model": FAR}, PLANE)
    assert [notes(axes) for axes in figure.axes[:2]] == [[], ["100 of 100 outside"]]


def test_clouds_over_each_other_are_counted_together():
    figure = clouds.overlay(FAR * 0, FAR, FAR, PLANE, sigma=1.0)
    assert notes(figure.axes[3]) == ["200 of 300 outside"]


def test_densities_of_starts_are_those_of_all_points():
    near = np.linspace(-1, 1, 200).reshape(100, 2)
    figure = clouds.starts({"half": np.concatenate((near, FAR)), "σ": near}, near, PLANE)
    axes = figure.axes[-1]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label for label in labels if "outside" in label] == ["half, 50 % outside"]
    areas = []
    for patch in axes.patches:
        if len(outline := patch.get_path().vertices) > 5:  # a line of steps
            areas.append(np.trapezoid(outline[:, 1], outline[:, 0]))
    assert sorted(np.abs(areas)) == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("names", [["0", "1"], ["a class with a name", "and another one of them"]])
def test_classes_stay_on_the_canvas(names):
    x, y = np.zeros((200, 2)), np.arange(200) % 2
    figure = clouds.class_cloud(x, y, PLANE, title="points", names=names)
    assert not cut(figure)
    assert f"{names[1]} (100)" in [word for word, _ in words(figure)]
