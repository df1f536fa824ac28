"""A study of a user's own, in a file outside the project, gets everything that ours get."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.scripts import ROOT, finish

from cluster import Run, execute, open_run
from cluster.journal import read_rows
from cluster.mirror import tracking_uri, wait_until_shown
from genlib import InputError, find_study, views_of
from tuning import Sweep
from tuning.sweep import metric_names

STUDY = "from genlib import Study"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The example, copied to where nothing of the project is."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return shutil.copy(ROOT / "experiments" / "example_study.py", folder / "mine.py")


def run_own(script, *arguments, **environment):
    """Run a script to its end, where it lies; without MLflow, unless an address is given."""
    folder = Path(script).parent if "mine" in str(script) else ROOT
    done = finish(script, *arguments, cwd=folder, **{"MLFLOW_TRACKING_URI": "none"} | environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def train(*arguments, **environment):
    return run_own(ROOT / "experiments" / "train.py", *arguments, **environment)


def shown_in_mlflow(storage):
    from mlflow import MlflowClient

    assert wait_until_shown(storage) is None
    client = MlflowClient(tracking_uri=tracking_uri(storage))
    (experiment,) = (found for found in client.search_experiments() if found.name == "perceptron")
    return [client.get_run(found.info.run_id) for found in client.search_runs([experiment.experiment_id])]


def test_its_help_is_made_of_its_docstrings(mine):
    said = " ".join(train(f"{mine}:Perceptron", "--help").stdout.split())
    assert "--width an integer of at least 1 [32] Features of the hidden layer." in said


def test_it_is_trained_drawn_mirrored_opened_and_not_done_twice(mine, tmp_path):
    asked = (f"{mine}:Perceptron", "--preset", "tiny", "--epochs", 2, "--storage", tmp_path, "--json")
    done = train(*asked, MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    kind = find_study(f"{mine}:Perceptron")
    assert found["key"] == kind.preset("tiny", epochs=2).key()
    assert [path.name for path in Path(found["path"]).glob("evaluations/*/figures/*.png")] == ["accuracy.png"]
    opened = open_run(found["path"])
    assert opened.study == kind.preset("tiny", steps=29)
    assert opened.evaluation.metrics["accuracy"] == found["metrics"]["accuracy"]
    assert set(opened.figures) == {"accuracy"}
    (shown,) = shown_in_mlflow(tmp_path)
    assert shown.info.status == "FINISHED"
    assert shown.data.params["width"] == "32"
    assert shown.data.params["epochs"] == "2.02"
    assert shown.data.tags["genlib.own"] == f"{mine}:Perceptron"
    assert shown.outputs.model_outputs
    before = (Path(found["path"]) / "result.json").stat().st_mtime_ns
    assert train(*asked).returncode == 0
    assert (Path(found["path"]) / "result.json").stat().st_mtime_ns == before


WORK = """
import sys
from cluster import Run, execute
from genlib import find_study
execute(Run(find_study(sys.argv[1]).preset("tiny", steps=4_000), sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_it_goes_on_where_it_was(mine, tmp_path):
    named = f"{mine}:Perceptron"
    with subprocess.Popen([sys.executable, "-c", WORK, named, str(tmp_path)]) as process:
        while not list(tmp_path.glob("perceptron/*/checkpoints/step-*")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    study = find_study(named).preset("tiny", steps=4_000)
    run = Run(study, tmp_path)
    assert run.result().status == "KILLED"
    execute(run)
    assert len(list((run.path / "journal").iterdir())) == 2
    undisturbed = Run(study, tmp_path / "undisturbed")
    execute(undisturbed)
    assert rows_of(run) == rows_of(undisturbed)


def rows_of(run):
    return [(row["step"], row["metrics"]) for row in read_rows(run.path / "journal")]


@pytest.mark.slow
def test_its_file_is_a_script_that_sweeps_it_under_tune(mine, tmp_path):
    done = run_own(mine, "--storage", tmp_path, "--json", MLFLOW_TRACKING_URI="")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert [found["status"] for found in runs] == ["FINISHED"] * 6
    assert f"best:     python experiments/train.py {mine}:Perceptron --preset report" in done.stderr
    assert (tmp_path / "widths-of-a-perceptron" / "comparison.png").exists()
    names = {shown.info.run_name for shown in shown_in_mlflow(tmp_path)}
    assert {"widths of a perceptron", "width 4, epochs 5, seed 0", "width 64, epochs 25, seed 0"} <= names


@pytest.mark.slow
def test_it_trains_on_several_workers(mine, tmp_path):
    done = train(f"{mine}:Perceptron", "--preset", "tiny", "--workers", 2, "--storage", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])["runs"]
    assert found["status"] == "FINISHED"
    assert found["metrics"]["accuracy"] == pytest.approx(accuracy_alone(mine), abs=0.02)


def accuracy_alone(mine):
    from genlib import fit

    return fit(find_study(f"{mine}:Perceptron").preset("tiny")).evaluation.metrics["accuracy"]


@pytest.mark.slow
def test_its_claims_are_checked(mine, tmp_path):
    done = run_own(ROOT / "experiments" / "claims.py", f"{mine}:Perceptron", "--storage", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "supported" in (tmp_path / "claims.md").read_text()


def test_its_runs_are_closed_to_who_does_not_name_it(mine, tmp_path):
    run = Run(find_study(f"{mine}:Perceptron").preset("tiny"), tmp_path)
    execute(run)
    code = "import sys; from cluster import open_run; open_run(sys.argv[1])"
    stranger = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True)
    assert "holds the study Perceptron, which is none of genlib's" in stranger.stderr
    named = "import sys; from genlib import find_study; from cluster import open_run\n"
    named += "print(open_run(sys.argv[1], find_study(sys.argv[2])).study.title())"
    known = subprocess.run([sys.executable, "-c", named, str(run.path), str(mine)], capture_output=True, text=True)
    assert known.stdout == "perceptron\n"


def test_a_changed_file_is_said_aloud(mine, tmp_path, capsys):
    changed = Path(shutil.copy(mine, tmp_path / "mine.py"))
    run = Run(find_study(f"{changed}:Perceptron").preset("tiny"), tmp_path / "runs")
    execute(run)
    assert "Perceptron's file" not in capsys.readouterr().err
    changed.write_text(changed.read_text() + "\n# a remark\n")
    execute(Run(find_study(f"{changed}:Perceptron").preset("tiny"), tmp_path / "runs"))  # finished, and of the old file
    said = capsys.readouterr().err
    assert said.count("Perceptron's file has changed since") == 1
    assert "raise the study's `version`, or give --fresh" in said


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        (None, "nowhere.py:Mine", "cannot be read: give the place of your study as path/to/mine.py:Mine"),
        ("x = 1\n", "mine.py:Mine", "has no study 'Mine': it has none"),
        ("def broken(:\n", "mine.py:Mine", "line 1: SyntaxError"),
        ("x = 1\ny = x / 0\n", "mine.py:Mine", "line 2: ZeroDivisionError: division by zero"),
        (f"{STUDY}\nclass A(Study): pass\nclass B(Study): pass\n", "mine.py", "2 studies: name one of A, B"),
        (f"{STUDY}\nclass TinyGPT(Study): pass\n", "mine.py", "the name TinyGPT is taken by a study of"),
    ],
)
def test_what_is_no_study_is_one_sentence(tmp_path, text, named, said):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError) as refused:
        find_study(str(tmp_path / named))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_script_that_works_when_it_is_imported_is_refused(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        (ROOT / "experiments" / "example_study.py").read_text().replace('if __name__ == "__main__":', "if True:")
    )
    done = run_own(script, "--storage", tmp_path / "runs")
    assert done.returncode == 2
    assert 'put that under `if __name__ == "__main__":`' in done.stderr


PLAIN = """
from dataclasses import dataclass
import torch
from genlib import Claim, Data, Entry, Evaluation, Loss, Study, Views, setting
from tuning import Sweep
{above}
@dataclass(frozen=True, kw_only=True)
class Plain(Study):
    {field}
    def data(self): return Data({{"x": torch.zeros(8, 1)}}, {{}})
    def model(self): return torch.nn.Linear(1, 1)
    def loss(self, model, batch, draws): return Loss({{"squares": model(batch["x"]).square().mean()}})
    def validate(self, model, draws): return {{"validation/loss": 0.0}}
    def evaluate(self, model, draws): return Evaluation({{"one": 1.0}}, {{}}, {{}})
SWEEP = Sweep(name="early", study=Plain(), space={{"learning_rate": [1e-3]}}, metric="one")
CLAIM = Claim("it is one", (Plain(),), lambda runs: 1.0, "one")
ENTRY = Entry(Plain, views=lambda: Views(None, (CLAIM,)))
"""


def plain(folder, *, above="", field="pass"):
    folder.mkdir(exist_ok=True)
    (folder / "plain.py").write_text(PLAIN.format(above=above, field=field))
    return find_study(f"{folder / 'plain.py'}:Plain")


def test_what_is_given_beside_a_study_is_found_wherever_in_the_file_it_stands(tmp_path):
    kind = plain(tmp_path)
    assert [claim.text for claim in views_of(kind).claims] == ["it is one"]


def test_a_study_without_a_tiny_preset_is_swept_too(tmp_path):
    sweep = Sweep(name="plain ones", study=plain(tmp_path)(), space={"learning_rate": [1e-3]}, metric="one")
    assert metric_names(sweep, sweep.study) >= {"one"}


@pytest.mark.parametrize(
    ("field", "said"),
    [("epochs: int = setting(3)", "has a field 'epochs', which is a word of every study"),
     ("rows: int = setting(3)", "has a field 'rows', which is a word of every study")],
)  # fmt: skip
def test_a_field_that_would_be_taken_for_another_is_refused(tmp_path, field, said):
    with pytest.raises(InputError, match=said):
        plain(tmp_path, field=field)


def test_a_field_that_is_an_option_is_refused_on_the_command_line(tmp_path):
    plain(tmp_path, field="device: str = setting('mine')")
    done = train(f"{tmp_path / 'plain.py'}:Plain", "--storage", tmp_path / "runs")
    assert done.returncode == 2
    assert "Plain has a field 'device', which is an option of this script" in done.stderr


def test_neighbours_come_before_all_else(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "constants_of_this_lab.py").write_text("WIDTH = 7\n")
    kind = plain(folder, above="from constants_of_this_lab import WIDTH", field="width: int = setting(WIDTH)")
    assert kind().width == 7
    assert sys.path[0] != str(folder)


def test_samples_of_an_own_run_are_asked_for_by_naming_it(mine, tmp_path):
    run = Run(find_study(f"{mine}:Perceptron").preset("tiny"), tmp_path)
    execute(run)
    script = ROOT / "experiments" / "sample.py"
    done = run_own(script, run.key, "--storage", tmp_path, "--own", f"{mine}:Perceptron")
    assert "perceptron is no generative study: it draws no samples" in done.stderr
