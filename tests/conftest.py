"""Shapes and types of the functions that take arrays are checked while the tests run (jaxtyping with beartype)."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
if "GENLIB_DATA" not in os.environ:  # the judge of digits is made once for all tests, and leaves nothing in the home
    os.environ["GENLIB_DATA"] = tempfile.mkdtemp(prefix="genlib-data-")
    atexit.register(shutil.rmtree, os.environ["GENLIB_DATA"], ignore_errors=True)

import support.typecheck  # the hook looks it up by name
from jaxtyping import install_import_hook

SHAPED = ["genlib.data", "genlib.nets", "genlib.methods", "genlib.metrics", "genlib.figures"]
install_import_hook(SHAPED, f"{support.typecheck.__name__}.checked")

import pytest
import torch
from support.variants import every_tiny

from genlib import STUDIES

torch.set_num_threads(1)


@pytest.fixture(params=STUDIES, ids=lambda kind: kind.title())
def kind(request):
    """Every study, in turn."""
    return request.param


@pytest.fixture(autouse=True)
def _no_mlflow_but_the_tests_own(monkeypatch):
    """Neither that of the person who tests, nor one that MLflow has remembered in the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GENLIB_STORAGE", raising=False)


@pytest.fixture(scope="session")
def session():
    """One Ray for all tests that need it; starting it takes longer than most of them."""
    from cluster.session import ray_session

    os.environ.pop("RAY_ADDRESS", None)
    with ray_session(2):
        yield


@pytest.fixture(params=every_tiny())
def tiny(request):
    """Each of them, in turn."""
    return every_tiny()[request.param]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks when its turn comes
def pytest_collection_modifyitems(items):
    """With several processes (pytest-xdist) one of them has Ray, and tests that share a fixture of their module have
    the same one; the others go to whichever is free.
    """
    for item in items:
        known = item.session._fixturemanager
        fixtures = [found for name in item.fixturenames for found in known.getfixturedefs(name, item) or ()]
        if "session" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("ray"))
        elif any(fixture.scope == "module" for fixture in fixtures):
            item.add_marker(pytest.mark.xdist_group(item.path.name))
