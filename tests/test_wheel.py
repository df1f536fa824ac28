"""The wheel holds every module of the tree, and each can be imported from it, away from the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("genlib", "cluster", "tuning", "experiments")
MODULES = {str(path.relative_to(ROOT)) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
IMPORT = """
import importlib, sys
from pathlib import Path
place = Path(sys.argv[1])
sys.path.insert(0, str(place))
for name in sys.argv[2:]:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in ("genlib", "cluster", "tuning", "experiments"):
            raise
        print(f"{name} needs {error.name}, which is not installed")  # a peer of the bench
        continue
    assert Path(module.__file__).is_relative_to(place), module.__file__
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, built and laid out as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: what an earlier build left behind would be packed too
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, source / layer, ignore=shutil.ignore_patterns("__pycache__", "gallery"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
    built = subprocess.run([*command, str(folder), str(source)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "site")
    return folder / "site"


def test_no_module_is_missing(installed):
    packed = {str(path.relative_to(installed)) for path in installed.rglob("*.py")}
    assert packed == MODULES
    assert (installed / "genlib" / "py.typed").exists()


def test_every_module_can_be_imported(installed, tmp_path):
    names = [path[:-3].replace("/", ".").removesuffix(".__init__") for path in sorted(MODULES)]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(installed), *(name for name in names if not name.endswith("__main__"))],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
