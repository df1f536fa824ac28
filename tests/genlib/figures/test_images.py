"""Codes out of view are counted."""

import numpy as np
import pytest

from genlib.figures import images
from genlib.figures.style import OUTSIDE


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
