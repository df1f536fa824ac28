"""Every study: its class, what draws it, what it claims. Command line, help, tests, results and reports read this list.

To add a study: import its class, say which figures and claims belong to it, and enter it in `CATALOGUE`. Figures are
imported when something is drawn, for matplotlib takes most of a second.

A study of your own needs no place here. Its figures and claims are given beside it, in its own file:

    ENTRY = Entry(Mine, views=lambda: Views(draw, CLAIMS))

Without that it is drawn as a loss curve and claims nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from genlib.claims import Claim
from genlib.drawing import Draw
from genlib.errors import InputError
from genlib.studies.autoencoders.continuous import ContinuousVAE
from genlib.studies.autoencoders.discrete import DiscreteVAE
from genlib.studies.autoencoders.joint import JointVAE
from genlib.studies.colour_transfer.study import ColourTransfer
from genlib.studies.coupling_flow.study import CouplingFlow
from genlib.studies.digit_judge.study import DigitJudge
from genlib.studies.flow_matching.study import FlowMatching
from genlib.studies.image_diffusion.study import ImageDiffusion
from genlib.studies.point_diffusion.study import PointDiffusion
from genlib.studies.spiral_diffusion.study import SpiralDiffusion
from genlib.studies.tiny_gpt.study import TinyGPT
from genlib.studies.vicreg.study import VICReg
from genlib.study import Study


class Views(NamedTuple):
    """What looks at a study from above: a function that draws it, and its claims."""

    draw: Draw
    claims: tuple[Claim, ...] = ()


class Entry(NamedTuple):
    """A study, and a function that gives its views."""

    study: type[Study[Any]]
    views: Callable[[], Views]


def _losses() -> Views:
    from genlib.studies import losses

    return Views(losses.draw)


def _point_diffusion() -> Views:
    from genlib.studies.point_diffusion import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _spiral_diffusion() -> Views:
    from genlib.studies.spiral_diffusion import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _coupling_flow() -> Views:
    from genlib.studies.coupling_flow import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _flow_matching() -> Views:
    from genlib.studies.flow_matching import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _continuous_vae() -> Views:
    from genlib.studies.autoencoders import claims, figures

    return Views(figures.draw, claims.CONTINUOUS_CLAIMS)


def _discrete_vae() -> Views:
    from genlib.studies.autoencoders import claims, figures

    return Views(figures.draw, claims.DISCRETE_CLAIMS)


def _joint_vae() -> Views:
    from genlib.studies.autoencoders import claims, figures

    return Views(figures.draw, claims.JOINT_CLAIMS)


def _colour_transfer() -> Views:
    from genlib.studies.colour_transfer import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _tiny_gpt() -> Views:
    from genlib.studies.tiny_gpt import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _vicreg() -> Views:
    from genlib.studies.vicreg import claims, figures

    return Views(figures.draw, claims.CLAIMS)


def _image_diffusion() -> Views:
    from genlib.studies.image_diffusion import claims, figures

    return Views(figures.draw, claims.CLAIMS)


CATALOGUE = (
    Entry(PointDiffusion, _point_diffusion),
    Entry(SpiralDiffusion, _spiral_diffusion),
    Entry(CouplingFlow, _coupling_flow),
    Entry(FlowMatching, _flow_matching),
    Entry(ContinuousVAE, _continuous_vae),
    Entry(DiscreteVAE, _discrete_vae),
    Entry(JointVAE, _joint_vae),
    Entry(ColourTransfer, _colour_transfer),
    Entry(TinyGPT, _tiny_gpt),
    Entry(VICReg, _vicreg),
    Entry(ImageDiffusion, _image_diffusion),
    Entry(DigitJudge, _losses),
)
STUDIES = tuple(entry.study for entry in CATALOGUE)


def views_of(kind: type[Study[Any]]) -> Views:
    """The views of a study: from the catalogue, or from beside an own study's class; else a curve of its losses."""
    for entry in CATALOGUE:
        if entry.study is kind:
            return entry.views()
    return (kind.__dict__.get(CARRIED) or views_beside(kind))()


CARRIED = "_views"
"""Name of the attribute by which a class of a user's own carries its views to other processes."""


def views_beside(kind: type[Study[Any]]) -> Callable[[], Views]:
    """The views that an own study's file gives beside its class."""
    beside = vars(sys.modules.get(kind.__module__, sys)).values()
    entries = [value for value in beside if isinstance(value, Entry) and value.study is kind]
    return entries[0].views if entries else _losses


def study_named(title: str) -> type[Study[Any]]:
    """A study of the catalogue by its name on the command line."""
    by_title = {kind.title(): kind for kind in STUDIES}
    if title not in by_title:
        raise InputError(
            f"unknown study '{title}': the studies are {', '.join(by_title)}; one of your own is named by its place, "
            "path/to/mine.py:Mine."
        )
    return by_title[title]
