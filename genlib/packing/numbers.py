"""What members of a pack differ in: numbers that their loss is given as tensors, and fields that it may not read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from genlib.errors import InputError
from genlib.settings import carried_fields
from genlib.study import Study, Tensors


def carried_numbers(studies: list[Study[Any]], device: str) -> Tensors:
    """The fields of the loss that differ from member to member, a value each."""
    usual = {declared.name for declared in fields(Study)}
    names = sorted(carried_fields(type(studies[0])) - usual)
    values = {name: [getattr(study, name) for study in studies] for name in names}
    return {name: torch.tensor(found, device=device) for name, found in values.items() if len(set(found)) > 1}


class _Differs:
    """The value of a field in which members differ, and which their loss cannot be given: what uses it fails."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        raise InputError(f"the loss reads '{self._name}', in which members of a pack differ: say packs = False.")

    __repr__ = __str__


def without_what_differs(studies: list[Study[Any]]) -> Study[Any]:
    """The first study, but for the fields of optimisation in which they differ: a loss that reads them cannot pack."""
    names = {declared.name for declared in fields(Study)} & carried_fields(type(studies[0]))
    differing = [name for name in names if len({getattr(study, name) for study in studies}) > 1]
    return with_numbers(studies[0], {name: _Differs(name) for name in differing})


def with_numbers(study: Study[Any], numbers: Mapping[str, Any]) -> Study[Any]:
    """A study whose fields hold other things, tensors above all, which its loss then computes with."""
    if not numbers:
        return study
    changed = copy.copy(study)
    for name, value in numbers.items():
        object.__setattr__(changed, name, value)
    return changed
