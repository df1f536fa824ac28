"""A grid over a study's fields: trained once for each setting of the training fields, evaluated for every setting."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from genlib import InputError, Study
from genlib.settings import is_evaluation, refuse_unknown


def grid(study: Study[Any], space: Mapping[str, Sequence[Any]]) -> list[Study[Any]]:
    """Every combination, checked before anything starts.

    Studies that differ only in evaluation fields have the same key: they are one run, looked at several times.
    """
    refuse_unknown(type(study), space)
    for name, values in space.items():
        if not values:
            raise InputError(f"the space gives '{name}' no values: name at least one.")
    combinations = itertools.product(*space.values())
    return [replace(study, **dict(zip(space, values, strict=True))) for values in combinations]


def evaluation_fields(study: Study[Any], space: Mapping[str, Sequence[Any]]) -> list[str]:
    """The fields of a space that only look at a trained model."""
    return [declared.name for declared in fields(study) if declared.name in space and is_evaluation(declared)]
