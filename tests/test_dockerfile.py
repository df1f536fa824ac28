"""The image cannot be built here; what can be read of it is checked: its versions are those tested, its files exist."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def steps(name):
    return re.findall(rf"^{name} (.+)$", DOCKERFILE.replace("\\\n", " "), re.M)


EXTRAS = PROJECT["optional-dependencies"]


def test_every_package_comes_from_the_lock():
    installs = [step for step in steps("RUN") if "pip install" in step]
    assert installs == [
        "pip install --no-cache-dir --require-hashes -r requirements.lock",
        "pip install --no-cache-dir --no-deps --no-build-isolation .",
    ]
    assert "==" not in DOCKERFILE


@pytest.mark.parametrize("needed", [*PROJECT["dependencies"], *EXTRAS["optuna"], *EXTRAS["deploy"]])
def test_what_the_project_needs_is_pinned_to_what_is_tested(needed):
    name = re.match(r"[\w.-]+", needed)[0]
    pinned = {key.lower().replace("_", "-"): pin for key, pin in PINS.items()}[name.lower()]
    assert version(name).partition("+")[0] == pinned


def test_its_python_is_one_that_is_supported():
    (base,) = steps("FROM")
    major, minor = map(int, re.match(r"python:(\d+)\.(\d+)", base).groups())
    least = tuple(map(int, re.search(r">=(\d+)\.(\d+)", PROJECT["requires-python"]).groups()))
    assert (major, minor) >= least
    assert (major, minor) == sys.version_info[:2] or sys.version_info[:2] > least


def test_it_runs_without_root_what_exists():
    assert steps("USER") == ["genlib"]
    assert DOCKERFILE.index("USER genlib") < DOCKERFILE.index("ENTRYPOINT")
    (command,) = steps("CMD")
    assert (ROOT / command.strip('[]"')).exists()
    for copied in steps("COPY"):
        assert (ROOT / copied.split()[0]).exists()


def test_what_stays_out_of_the_image_and_of_jobs():
    for name in (".dockerignore", ".rayignore"):
        ignored = (ROOT / name).read_text().split()
        assert {"runs/", ".venv/", "tests/", "cluster/deploy/*/secrets/"} <= set(ignored)
