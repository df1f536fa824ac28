"""What a model says stays on the canvas, and is seen to go on where it is shortened."""

import numpy as np
from support.legible import cut, words

from genlib.figures import text


def test_a_long_saying_is_shortened_in_sight():
    losses = np.linspace(3, 1, 5)
    figure = text.inversion(losses, losses - 2, {1: "short", 5: "word " * 40}, exact=3)
    assert not cut(figure)
    said = [word for word, _ in words(figure)]
    assert "short" in said
    assert [len(word) for word in said if word.endswith("…")] == [text.WIDTH]
