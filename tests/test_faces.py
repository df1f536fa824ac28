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


@pytest.mark.parametrize("layer", FACES)
def test_what_a_layer_does_not_offer_is_no_attribute_of_it(layer):
    with pytest.raises(AttributeError, match=f"'{layer}' has no attribute 'nonsense'"):
        getattr(__import__(layer), "non" + "sense")


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("from cluster import open_run; open_run", {"ray", "mlflow"}),
        ("import genlib; genlib.InputError; genlib.CheckpointDamaged; genlib.__version__", {"torch"}),
        ("from cluster import read_result, find_run, run_folders", {"torch", "ray", "mlflow"}),
    ],
)
def test_what_is_not_needed_is_not_imported(code, without):
    code = f"import sys; {code}; print(sorted({without} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_and_modules_are_there_however_they_are_asked_for():
    code = (
        "import genlib; assert genlib.settings.coerce; assert 'train' in dir(genlib); from genlib import own\n"
        "import cluster, tuning; assert 'Run' in dir(cluster); assert 'run_sweep' in dir(tuning)\n"
        "assert not hasattr(genlib, '__wrapped__')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
