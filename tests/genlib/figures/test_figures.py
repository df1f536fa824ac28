"""Every figure draws, is labelled, keeps its arrays, and leaves matplotlib as it found it."""

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from support.legible import cut, overlaid, words
from support.variants import every_tiny

from genlib import fit
from genlib.data.points import density
from genlib.figures.planes import plane_of
from genlib.figures.style import OUTSIDE, SCALE

ALIKE = {
    "point-diffusion best",
    "point-diffusion by class",
    "flow-matching optimal",
    "spiral-diffusion fresh",
    "vicreg labels",
    "vicreg resnet four views",
}
"""Variants that draw what others draw."""


@pytest.fixture(params=[name for name in every_tiny() if name not in ALIKE])
def tiny(request):
    """Every study that draws something of its own."""
    return every_tiny()[request.param]


@pytest.fixture(scope="module")
def drawn():
    """Draws a study's figures, once."""
    made = {}

    def draw(study):
        if study not in made:
            before = dict(matplotlib.rcParams)
            run = fit(study)
            made[study] = (run.figures, before == dict(matplotlib.rcParams))
        return made[study]

    return draw


@pytest.fixture(scope="module")
def read(drawn):
    """Renders a study's figures, once, and says where their words are."""
    known = {}

    def rendered(study):
        if study not in known:
            known[study] = {name: words(figure) for name, (figure, _) in drawn(study)[0].items()}
        return known[study]

    return rendered


def test_figures_draw_and_leave_no_trace(tiny, drawn, read):
    figures, untouched = drawn(tiny)
    assert untouched
    for name, (figure, arrays) in figures.items():
        assert read(tiny)[name], name
        assert arrays, name
        assert all(np.isfinite(array).all() for array in arrays.values() if name != "point_likelihoods"), name
        shown = [axes for axes in figure.axes if axes.get_visible()]
        words = [axes.get_title(loc="left") + axes.get_xlabel() + axes.get_ylabel() for axes in shown]
        assert all(words), name


def test_planes_have_equal_axes(tiny, drawn):
    for name, (figure, _) in drawn(tiny)[0].items():
        for axes in figure.axes:
            if axes.images:
                assert axes.get_aspect() == 1.0, name


def test_no_words_are_cut_or_lie_over_each_other(tiny, drawn, read):
    for name, (figure, _) in drawn(tiny)[0].items():
        assert not cut(figure, read(tiny)[name]), name
        assert not overlaid(figure, read(tiny)[name]), name


def test_words_that_are_cut_or_overlaid_are_found():
    figure = Figure(figsize=(2, 2))
    figure.text(0.1, 0.5, "within")
    assert [word for word, _ in words(figure)] == ["within"]
    assert not cut(figure)
    assert not overlaid(figure)
    figure.text(0.9, 0.9, "over the edge")
    figure.text(0.2, 0.5, "over it")
    assert cut(figure) == ["over the edge"]
    assert overlaid(figure) == [("within", "over it")]


def test_points_out_of_view_are_counted(tiny, drawn):
    for name, (figure, _) in drawn(tiny)[0].items():
        for axes in figure.axes:
            clouds = [np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections if isinstance(c, PathCollection)]
            if not clouds:
                continue
            x, low, high = np.concatenate(clouds), *zip(axes.get_xlim(), axes.get_ylim(), strict=True)
            outside = (~((x >= low) & (x <= high)).all(1)).sum()
            notes = [text.get_text() for text in axes.texts if text.get_gid() == OUTSIDE]
            assert notes == ([f"{outside:,} of {len(x):,} outside"] if outside else []), name


def test_planes_say_their_scale(tiny, drawn, read):
    if not hasattr(tiny, "truth"):
        pytest.skip("a study without a plane")
    for name, (figure, _) in drawn(tiny)[0].items():
        assert read(tiny)[name], name
        for axes in figure.axes:
            if not axes.images:
                continue
            bar = any(text.get_gid() == SCALE for text in axes.texts)
            ticks = [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
            assert bar != any(ticks), name
            assert bar == (not axes.get_xlabel()), name


def test_panels_are_named_by_what_they_show(drawn):
    from genlib import ContinuousVAE, CouplingFlow, PointDiffusion

    def titles(study, name):
        return [axes.get_title(loc="left") for axes in drawn(study)[0][name].figure.axes]

    assert titles(PointDiffusion.preset("tiny"), "samples") == [f"draw {k}" for k in range(1, 10)]
    assert titles(CouplingFlow.preset("tiny"), "samples") == ["data", *(f"samples, draw {k}" for k in (1, 2, 3))]
    assert titles(ContinuousVAE.preset("tiny"), "controlled") == ["controlled generation: digits in hues"]
    assert titles(ContinuousVAE.preset("tiny", pixels="binary"), "controlled") == ["controlled generation: digits"]


def test_studies_draw_what_the_reports_showed(drawn):
    from genlib import CouplingFlow, FlowMatching, PointDiffusion, SpiralDiffusion

    plain = drawn(PointDiffusion.preset("tiny"))[0]
    assert set(plain) == {
        "loss", "forward_and_reverse", "one_step_denoising", "samples", "sampling_steps", "schedules", "one_noise",
        "reverse_paths", "starting_variance",
    }  # fmt: skip
    by_class = drawn(every_tiny()["point-diffusion best by class"])[0]
    assert set(by_class) - set(plain) == {
        "classes", "class_paths", "class_samples", "class_likelihoods", "point_likelihoods",
    }  # fmt: skip
    assert set(drawn(SpiralDiffusion.preset("tiny"))[0]) == {"loss", "noising", "samples", "denoising"}
    flow = drawn(CouplingFlow.preset("tiny"))[0]
    assert set(flow) == {"loss", "samples", "layers", "paths", "inverse_paths"}
    matching = drawn(FlowMatching.preset("tiny"))[0]
    assert set(matching) == {"loss", "samples", "cloud", "paths", "step_lengths", "inverse_paths"}
    by_ring = drawn(every_tiny()["flow-matching best by class"])[0]
    assert set(by_ring) - set(matching) == {"classes", "class_paths", "class_samples"}


@pytest.mark.parametrize("name", ["square", "checkerboard", "gaussians"])
def test_flows_draw_on_every_density(name, drawn):
    from genlib import CouplingFlow, FlowMatching

    assert drawn(CouplingFlow.preset("tiny", density=name))[0]
    assert drawn(FlowMatching.preset("tiny", density=name))[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"density": "moons", "classes": 2, "sampling_steps": 1},
        {"density": "rings", "classes": 5, "schedule": "edm"},
    ],
)
def test_unusual_studies_draw_too(fields, drawn):
    from genlib import PointDiffusion

    assert drawn(PointDiffusion.preset("tiny", **fields))[0]


@pytest.mark.parametrize("name", ["square", "spiral", "moons", "gaussians", "rings", "course_rings", "checkerboard"])
def test_planes_hold_the_density(name):
    from genlib import Draws

    d = density(name)
    plane = plane_of(d, classes=bool(d.classes))
    x = d.sample(2_000, Draws(0, "x")).x.numpy()
    assert (x[:, 0] > plane.xlim[0]).all() and (x[:, 0] < plane.xlim[1]).all()  # noqa: PT018
    assert (x[:, 1] > plane.ylim[0]).all() and (x[:, 1] < plane.ylim[1]).all()  # noqa: PT018
    height, width = plane.region.shape
    column = ((x[:, 0] - plane.xlim[0]) / (plane.xlim[1] - plane.xlim[0]) * width).astype(int)
    row = ((x[:, 1] - plane.ylim[0]) / (plane.ylim[1] - plane.ylim[0]) * height).astype(int)
    assert (plane.region[row, column] >= 0).mean() > 0.93
