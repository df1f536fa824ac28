"""The public face of every layer is a promise apart from its files: what may be imported by name, and that it works."""

import subprocess
import sys

import pytest

FACES = {
    "genlib": {
        "CATALOGUE", "STUDIES", "CheckpointDamaged", "CheckpointError", "Claim", "ColourTransfer",
        "ContinuousVAE", "CouplingFlow", "Data", "DigitJudge", "DiscreteVAE", "Diverged", "Drawing", "Draws",
        "Entry", "Evaluation", "Film", "Finding", "FlowMatching", "History", "ImageDiffusion", "InputError",
        "JointVAE", "Launch", "Loss", "PointDiffusion", "Progress", "SpiralDiffusion", "State", "Study",
        "TinyGPT", "Trained", "VICReg", "Views", "checkpoints", "find_study", "fit", "load_checkpoint",
        "needed", "save_checkpoint", "setting", "start", "train", "views_of", "weigh",
    },
    "cluster": {
        "Origin", "Result", "Run", "Workers", "execute", "find_run", "open_run", "open_storage", "open_study",
        "read_result", "run_folders",
    },
    "tuning": {"Placement", "Sweep", "Swept", "gathering", "plan", "run_many", "run_sweep"},
}  # fmt: skip


@pytest.mark.parametrize("layer", FACES)
def test_the_face_is_what_was_promised(layer):
    module = __import__(layer)
    assert set(module.__all__) == FACES[layer]
    assert all(hasattr(module, name) for name in module.__all__)


def test_reading_runs_needs_neither_ray_nor_mlflow():
    code = "import sys; from cluster import open_run; print([n for n in ('ray', 'mlflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
