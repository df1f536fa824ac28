"""Every example in a docstring runs; every field has its docstring."""

import ast
import doctest
import importlib
import inspect
import pkgutil
from dataclasses import fields

import pytest
import torch

import genlib
from genlib import Draws

MODULES = ["genlib", *(module.name for module in pkgutil.walk_packages(genlib.__path__, "genlib."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    names = {"torch": torch, "Draws": Draws, "np": __import__("numpy")}
    failed, _ = doctest.testmod(module, extraglobs=names)
    assert failed == 0


def test_every_field_has_a_docstring(kind):
    documented = set()
    for cls in kind.__mro__[:-2]:
        if not cls.__module__.startswith("genlib"):
            continue
        (definition,) = (
            node
            for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(cls))))
            if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        )
        for item, following in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(item, ast.AnnAssign) and isinstance(following, ast.Expr):
                documented.add(item.target.id)
    assert {f.name for f in fields(kind)} <= documented
