"""Names of rows stay on the canvas; codes out of view are counted."""

import numpy as np
import pytest
from support.legible import cut

from genlib.figures import images
from genlib.figures.style import OUTSIDE


@pytest.mark.parametrize("title", ["rows", "a title\nof several\nlines"])
@pytest.mark.parametrize("side", [16, 28, 32])
@pytest.mark.parametrize("names", [["A", "B"], ["A", "B", "the truth in B", "A → B → A"], ["W" * 24, "i"]])
def test_names_of_rows_are_not_cut(title, side, names):
    row = np.zeros((10, 3, side, side), np.uint8)
    figure = images.named_rows(dict.fromkeys(names, row), title=title)
    assert not cut(figure)


@pytest.mark.parametrize("hues", [None, np.linspace(0, 1, 1_000)])
def test_codes_out_of_view_are_counted(hues):
    z = np.random.default_rng(0).normal(size=(1_000, 2))
    z[:3] = 1e3
    figure = images.coloured_planes(z, np.arange(1_000) % 10, hues, axis="$z_{}$")
    for axes in figure.axes[: 1 if hues is None else 2]:
        (note,) = (text.get_text() for text in axes.texts if text.get_gid() == OUTSIDE)
        beyond = (np.abs(z) > axes.get_xlim()[1]).any(1).sum()
        assert note == f"{beyond} of 1,000 outside"
        assert beyond >= 3
