"""Densities in the plane with known truth, by the name a study's `density` field gives them."""

from collections.abc import Callable
from functools import cache
from typing import Literal

from genlib.data.points.checkerboard import Checkerboard
from genlib.data.points.curves import moons, spiral
from genlib.data.points.density import PointDensity, Points, Standardised
from genlib.data.points.gaussians import Gaussians
from genlib.data.points.rings import Rings, RingsUnion
from genlib.data.points.square import Square

DensityName = Literal["square", "spiral", "moons", "gaussians", "rings", "course_rings", "checkerboard"]


@cache
def density(name: DensityName) -> PointDensity:
    """The density of that name. All but the square are standardised (their titles say so)."""
    if name == "square":
        return Square()
    raw: dict[str, Callable[[], PointDensity]] = {
        "spiral": spiral,
        "moons": moons,
        "gaussians": Gaussians,
        "rings": Rings,
        "course_rings": RingsUnion,
        "checkerboard": Checkerboard,
    }
    return Standardised(raw[name]())


__all__ = ["DensityName", "PointDensity", "Points", "Square", "density"]
