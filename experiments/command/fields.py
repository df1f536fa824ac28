"""The fields of a study in words, from its declarations: what `--help` shows, for the pages."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from genlib.settings import allowed, is_evaluation

if TYPE_CHECKING:
    from genlib import Study


class Described(NamedTuple):
    """One field: its name, its default, what it may be, what it means."""

    name: str
    default: Any
    allowed: str
    meaning: str
    evaluation: bool


def described(kind: type[Study[Any]]) -> list[Described]:
    """Every field of a study, in the order of its declaration."""
    meanings = field_docs(kind)
    return [
        Described(f.name, f.default, allowed(kind, f.name), meanings[f.name], is_evaluation(f)) for f in fields(kind)
    ]


def field_docs(kind: type) -> dict[str, str]:
    """The string under every field, of the class itself and of those it is made of."""
    docs: dict[str, str] = {}
    for cls in filter(is_dataclass, reversed(kind.__mro__)):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(definition, ast.ClassDef)
        for item, below in pairwise(definition.body):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docs[item.target.id] = " ".join(str(below.value.value).split())
    return docs
