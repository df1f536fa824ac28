"""CONTRIBUTING's recipe for a new study, followed to the letter with a toy one, in a copy of the tree."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("genlib", "cluster", "tuning", "experiments", "tests", "pyproject.toml", "README.md", "constraints.txt")

STUDY = '''
"""A straight line through noisy points, whose slope is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genlib.draws import Draws
from genlib.study import Data, Evaluation, Loss, Study, Tensors, setting


@dataclass(frozen=True, kw_only=True)
class StraightLine(Study[nn.Linear]):
    """Linear regression of points around a line."""

    objective: ClassVar[tuple[str, Literal["min", "max"]]] = ("validation/error", "min")
    slope: float = setting(2.0)
    """Slope of the line that the points lie around."""
    points: int = setting(200, low=2)
    """Number of training points."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "report": {},
        "best": {"learning_rate": 1e-2},
        "tiny": {"steps": 20, "batch_size": 20, "learning_rate": 0.03, "validate_every": 10},
    }

    def data(self) -> Data:
        draws = self.draws("data", device="cpu")
        x = draws.normal(self.points, 1)
        return Data({"x": x, "y": self.slope * x + 0.1 * draws.normal(self.points, 1)}, {})

    def model(self) -> nn.Linear:
        with self.draws("model").default_generator():
            return nn.Linear(1, 1)

    def loss(self, model: nn.Linear, batch: Tensors, draws: Draws) -> Loss:
        return Loss({"squares": (model(batch["x"]) - batch["y"]).square().mean()})

    def validate(self, model: nn.Linear, draws: Draws) -> dict[str, float]:
        return {"validation/error": abs(model.weight.item() - self.slope)}

    def evaluate(self, model: nn.Linear, draws: Draws) -> Evaluation:
        return Evaluation({"slope_error": abs(model.weight.item() - self.slope)}, {}, {})

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(4, 1),)
'''
FIGURES = '''
"""The figures of `StraightLine`."""

from __future__ import annotations

from torch import nn

from genlib.drawing import Drawing
from genlib.history import History
from genlib.studies.losses import draw_loss
from genlib.studies.straight_line.study import StraightLine


def draw(study: StraightLine, model: nn.Linear, history: History) -> dict[str, Drawing]:
    """The loss by update."""
    return {"loss": draw_loss(history, label="squared error")}
'''
CLAIMS = '''
"""What the toy should show."""

from __future__ import annotations

from genlib.claims import Claim
from genlib.studies.straight_line.study import StraightLine

CLAIMS = (
    Claim(
        "The slope is found",
        (StraightLine.preset("best"),),
        lambda runs: -float(runs[0].evaluation.metrics["slope_error"]),
        "minus the error of the slope",
        margin=-0.1,
    ),
)
'''
SWEEP = '''
"""How fast? A straight line, compared by its slope.

python experiments/sweep_straight_line.py [--storage runs] [--plan]
"""

from experiments.command.sweeps import sweep_script
from genlib import StraightLine
from tuning import Sweep

SWEEP = Sweep(
    name="rates of a line",
    study=StraightLine.preset("tiny"),
    space={"learning_rate": [1e-2, 1e-1], "epochs": [5, 25]},
    metric="slope_error",
)

if __name__ == "__main__":
    sweep_script(SWEEP, across="learning_rate", by="epochs")
'''
VIEWS = """
def _straight_line() -> Views:
    from genlib.studies.straight_line import claims, figures

    return Views(figures.draw, claims.CLAIMS)


CATALOGUE = ("""


def insert(path, *pairs):
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (path, old)
        text = text.replace(old, new)
    path.write_text(text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the tree, with the five files of the recipe."""
    tree = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "gallery"))
        else:
            shutil.copy(ROOT / name, tree)
    folder = tree / "genlib" / "studies" / "straight_line"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A line."""\n')
    for name, text in (("study", STUDY), ("figures", FIGURES), ("claims", CLAIMS)):
        (folder / f"{name}.py").write_text(text.lstrip())
    the_class = "from genlib.studies.straight_line.study import StraightLine\n"
    after = "from genlib.studies.spiral_diffusion.study import SpiralDiffusion\n"
    insert(
        tree / "genlib" / "catalogue.py",
        (after, after + the_class),
        ("\nCATALOGUE = (", VIEWS),
        (
            "    Entry(TinyGPT, _tiny_gpt),\n",
            "    Entry(TinyGPT, _tiny_gpt),\n    Entry(StraightLine, _straight_line),\n",
        ),
    )
    insert(
        tree / "genlib" / "face.py",
        (after, after + the_class),
        ('    "State",\n', '    "State",\n    "StraightLine",\n'),
    )
    (tree / "experiments" / "sweep_straight_line.py").write_text(SWEEP.lstrip())
    return tree


def there(tree, *command):
    env = os.environ | {"PYTHONPATH": str(tree), "MLFLOW_TRACKING_URI": "none"}
    return subprocess.run([sys.executable, *map(str, command)], cwd=tree, env=env, capture_output=True, text=True)


def test_it_is_trained_drawn_and_planned(tree, tmp_path):
    done = there(
        tree, "experiments/train.py", "straight-line", "--preset", "tiny", "--storage", tmp_path / "runs", "--json"
    )
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert run["metrics"]["slope_error"] < 2
    assert [path.name for path in Path(run["path"]).glob("evaluations/*/figures/*.png")] == ["loss.png"]
    planned = there(tree, "experiments/sweep_straight_line.py", "--plan", "--storage", tmp_path / "runs")
    assert "runs:     4, each evaluated 1 time" in planned.stdout, planned.stderr


@pytest.mark.slow
def test_it_is_held_to_the_laws(tree):
    laws = ["tests/genlib/test_training.py", "tests/genlib/test_study.py", "tests/genlib/test_catalogue.py"]
    done = there(tree, "-m", "pytest", "-v", "-p", "no:cacheprovider", *laws, "-k", "straight-line")
    assert done.returncode == 0, done.stdout[-3_000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) >= 9


def test_its_keys_are_asked_for(tree):
    done = there(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/genlib/test_identity.py")
    assert done.returncode == 1
    assert "straight-line report" in done.stdout


def test_nothing_below_learns_of_it(tree):
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2_000:]
